"""Plain values -> Statistics: our own statistics file and every dialect, for one tensor or several by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale import scalers
from onnxscale.errors import StatisticsError, names
from onnxscale.profile import Profile
from onnxscale.scalers import KINDS, Scaler
from onnxscale.scalers.values import numbers
from onnxscale.sources import groups
from onnxscale.sources.configs import config_of
from onnxscale.sources.dialects import of_keys, ones
from onnxscale.sources.keys import BESIDE, INFORMATION, SYNONYMS, columns, informs, worded
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


def from_mapping(content: object, reading: Reading, source: Source) -> Statistics:
    """The scalers of a parsed document. Raises StatisticsError naming the key and what to do."""
    config = config_of(content)
    if config is not None:
        return config.located(config.read(content, reading, source), content)
    if isinstance(content, Mapping):
        source = source.told(content if "framework" in content else None).told(content.get("source"))
    if isinstance(content, Mapping) and ("inputs" in content or "outputs" in content):
        extra = [k for k in content if k not in ("inputs", "outputs") and str(k) not in INFORMATION]
        if extra:
            raise StatisticsError(f"has the unknown keys {names(extra)} beside 'inputs' and 'outputs'")
        parts = {part: _named(content.get(part) or {}, part, reading) for part in ("inputs", "outputs")}
        return Statistics(parts["inputs"], parts["outputs"], source)
    fitted, ddof = _fitted(
        groups.nested(groups.prefixed(content, reading), reading) if isinstance(content, Mapping) else content,
        "",
        reading,
    )
    if ddof is not None:
        source = dataclasses.replace(source, ddof=ddof)
    return Statistics({None: fitted}, {}, source)


def _named(content: object, where: str, reading: Reading) -> dict[str | None, Fitted]:
    if not isinstance(content, Mapping):
        raise StatisticsError(f"{where}: expected an object of tensor names, got {type(content).__name__}")
    return {str(name): _fitted(item, f"{where}.{name}", reading)[0] for name, item in content.items()}


def _fitted(content: object, where: str, reading: Reading) -> tuple[Fitted, int | None]:
    at = f"{where}: " if where else ""
    try:
        config = config_of(content)
        if config is not None:
            return _only(config.read(content, reading, Source(config.name)), config.name), None
        if not isinstance(content, Mapping | list):
            raise StatisticsError(f"expected an object with statistics, got {type(content).__name__}")
        flat, named = columns(content)
        flat, said = worded(flat)
        if said and reading.kind not in ("", said):
            raise StatisticsError(f"--kind {reading.kind}: the document says {said!r} itself")
        return _plain(flat, named, dataclasses.replace(reading, kind=said or reading.kind))
    except StatisticsError as error:
        raise StatisticsError(f"{at}{error}") from None


def _only(read: Statistics, name: str) -> Fitted:
    if read.outputs or len(read.inputs) != 1:
        raise StatisticsError(f"a {name} speaks of several tensors; give it alone, not under the name of one")
    return next(iter(read.inputs.values()))


def _plain(flat: dict[str, Any], described: bool, reading: Reading) -> tuple[Fitted, int | None]:
    kind = flat.get("kind")
    if kind is not None and not isinstance(kind, str):
        raise StatisticsError(f"kind: expected the name of a scaler, got {str(kind)[:40]!r}")
    own = {f.name for f in dataclasses.fields(KINDS[kind])} if isinstance(kind, str) and kind in KINDS else set()  # type: ignore[arg-type]
    unknown = [k for k in flat if k not in SYNONYMS and not informs(k) and k not in own]
    if unknown:
        raise StatisticsError(
            f"has the unknown keys {names(unknown)}; known are mean, std, scale, var, data_min, data_max, "
            f"center, ... (onnxscale schema stats)"
        )
    found: dict[str, Any] = {}
    for key, value in flat.items():
        meaning = key if key in own - {"features"} and not reading.kind else SYNONYMS.get(key, key)
        if meaning in found and not informs(key):
            raise StatisticsError(f"{key!r} and another key both mean {meaning!r}; only one can be meant")
        found[meaning] = value
    about = {k: found.pop(k, None) for k in BESIDE}
    if about["kind"] and not reading.kind:
        beside = BESIDE | INFORMATION | ({"data_min", "data_max"} - own)
        given_fields = {
            k: v
            for k, v in flat.items()
            if (k in own and k != "features") or (k not in beside and SYNONYMS.get(k) not in BESIDE)
        }
        scaler, keep = _of_kind(str(about["kind"]), given_fields, reading), found
    else:
        scaler, keep = of_keys({k: v for k, v in found.items() if not informs(k)}, reading)
    scaler, axis = _squeezed(scaler)
    given = about["axis"]
    if given is not None and (isinstance(given, bool) or not isinstance(given, int)):
        raise StatisticsError(f"axis: expected a whole number, got {given!r}")
    if about["applied"] is not None and not isinstance(about["applied"], bool):
        raise StatisticsError(f"applied: expected true or false, got {about['applied']!r}")
    low, high = (keep.get("data_min", keep.get("min")), keep.get("data_max", keep.get("max")))
    profile = None if about["profile"] is None else Profile.from_json(about["profile"])
    notes: tuple[str, ...] = ()
    if described:
        notes = ("a pandas describe() table: its std has ddof 1",)
    shape = scaler.transform().shape
    features, units = _words(about["features"], "features", shape), _words(about["units"], "units", shape)
    ddof = about["ddof"] if isinstance(about["ddof"], int) and "ddof" not in own else 1 if described else None
    made = Fitted(
        scaler,
        given if given is not None else axis,
        features,
        units,
        _range(low, shape),
        _range(high, shape),
        notes + _noted(reading, flat),
        profile=profile,
        applied=bool(about["applied"]),
    )
    return made.profiled(), ddof


def _noted(reading: Reading, flat: Mapping[str, Any]) -> tuple[str, ...]:
    if reading.zero_std == "one":
        zero = [k for k in ("std", "scale", "std_", "scale_") if k in flat and (np.asarray(flat[k]) == 0).any()]
        if zero:
            return (
                f"--zero-std one: {int((np.asarray(flat[zero[0]]) == 0).sum())} constant feature(s) are divided by 1",
            )
    return ()


def _of_kind(kind: str, fields: Mapping[str, Any], reading: Reading) -> Scaler:
    return scalers.make(
        kind,
        {
            k: ones(v, reading) if k in ("std", "scale", "max_abs") and kind != "affine" else v
            for k, v in fields.items()
        },
    )


def _squeezed(scaler: Scaler) -> tuple[Scaler, int | None]:
    """Ones around the features, as (1, F) or (3, 1, 1), say where the features lie; the scaler is made without them."""
    shape = scaler.transform().shape
    if len(shape) < 2 or 1 not in (shape[0], shape[-1]):
        return scaler, None
    trailing = 0
    while len(shape) > 1 and shape[-1] == 1:
        shape, trailing = shape[:-1], trailing + 1
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    changed = {f.name: _reshaped(getattr(scaler, f.name), shape) for f in dataclasses.fields(scaler)}  # type: ignore[arg-type]
    return type(scaler)(**changed), -(trailing + len(shape)) if trailing else None


def _reshaped(value: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return value.reshape(shape)
    if isinstance(value, Transform):
        return Transform(
            tuple(Step(s.op, tuple(_reshaped(o, shape) for o in s.operands), s.options) for s in value.steps)
        )
    return value


def _words(given: Any, what: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    if given is None or isinstance(given, int):
        return ()
    items = (
        [given] if isinstance(given, str) else list(np.asarray(given).ravel()) if not isinstance(given, list) else given
    )
    if not all(isinstance(i, str) for i in items):
        raise StatisticsError(f"{what}: expected names, got {str(items)[:60]}")
    if any("\ud800" <= c <= "\udfff" for i in items for c in i):
        raise StatisticsError(f"{what}: a name holds half of a pair of surrogates, which is no character")
    if what == "units" and len(items) == 1:
        items = items * (shape[-1] if shape else 1)
    if shape and len(items) != shape[-1]:
        raise StatisticsError(f"{what}: {len(items)} names for {shape[-1]} features")
    return tuple(str(i) for i in items)


def _range(given: Any, shape: tuple[int, ...]) -> Array | None:
    if given is None:
        return None
    array = numbers(given, "data range")
    try:
        return np.broadcast_to(array.reshape(shape) if array.size == int(np.prod(shape)) else array, shape)
    except ValueError:
        raise StatisticsError(f"the data range has {array.shape} values, the scaler {shape}") from None
