"""Plain values -> scalers: every way in which people write statistics down, recognised by its keys. Never a guess:
a file that can be read in two ways is refused, with both readings and the flag that chooses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxscale import scalers
from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import KINDS, Affine, MaxAbs, MinMax, Robust, Scaler, Standard, Steps
from onnxscale.scalers.values import numbers
from onnxscale.sources import images
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

# what a key may be called -> what it means here
SYNONYMS = {
    **dict.fromkeys(("mean", "mean_", "scaler_mean", "means", "mu", "average"), "mean"),
    **dict.fromkeys(("std", "std_", "stds", "sigma", "stddev", "standard_deviation"), "std"),
    **dict.fromkeys(("scale", "scale_", "scaler_scale"), "scale"),
    **dict.fromkeys(("var", "var_", "variance"), "var"),
    **dict.fromkeys(("min", "min_"), "min"),
    **dict.fromkeys(("max", "max_"), "max"),
    **dict.fromkeys(("data_min", "data_min_"), "data_min"),
    **dict.fromkeys(("data_max", "data_max_"), "data_max"),
    **dict.fromkeys(("center", "center_"), "center"),
    **dict.fromkeys(("median", "50%"), "median"),
    **dict.fromkeys(("max_abs", "max_abs_", "maxabs"), "max_abs"),
    **{n: n for n in ("iqr", "offset", "shift", "norm_factor", "lower_bound", "upper_bound", "feature_range", "clip")},
    **dict.fromkeys(("features", "feature_names", "feature_names_in_", "columns", "names", "feature_names_in"), "features"),
    **dict.fromkeys(("units", "unit"), "units"),
    **{n: n for n in ("axis", "kind", "ddof", "steps", "data_range_", "25%", "75%")},
    "data_range_": "data_range", "data_range": "data_range",
}  # fmt: skip
INFORMATION = {
    "n_features",
    "n_features_in_",
    "n_samples_seen",
    "n_samples_seen_",
    "count",
    "version",
    "comment",
    "description",
    "n_samples",
    "framework",
    "data_range",
    "25%",
    "75%",
    "$schema",
    "dtype",
}
STATISTICS = set(SYNONYMS) | INFORMATION
_BESIDE = {"features", "units", "axis", "kind", "ddof"}


def from_mapping(content: object, reading: Reading, source: Source) -> Statistics:
    """The scalers of a parsed document. Raises StatisticsError naming the key and what to do."""
    if isinstance(content, Mapping) and ("inputs" in content or "outputs" in content):
        extra = [k for k in content if k not in ("inputs", "outputs") and str(k) not in INFORMATION]
        if extra:
            raise StatisticsError(f"has the unknown keys {names(extra)} beside 'inputs' and 'outputs'")
        parts = {part: _named(content.get(part) or {}, part, reading) for part in ("inputs", "outputs")}
        return Statistics(parts["inputs"], parts["outputs"], source)
    fitted, ddof = _fitted(content, "", reading)
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
        if isinstance(content, Mapping) and images.is_image(content):
            return images.fitted(content, reading), None
        if not isinstance(content, Mapping | list):
            raise StatisticsError(f"expected an object with statistics, got {type(content).__name__}")
        flat, named = _columns(content)
        return _plain(flat, named, reading)
    except StatisticsError as error:
        raise StatisticsError(f"{at}{error}") from None


def _columns(content: Mapping[Any, Any] | Sequence[Any]) -> tuple[dict[str, Any], bool]:
    """Per-feature objects (and pandas' tables) turned into one list per statistic."""
    if isinstance(content, Sequence):
        rows = {
            str(r.get("name", r.get("feature", i))): {k: v for k, v in r.items() if k not in ("name", "feature")}
            if isinstance(r, Mapping)
            else r
            for i, r in enumerate(content)
        }
        if len(rows) != len(content):
            raise StatisticsError("two features have the same name")
        content = rows
    if {"columns", "index", "data"} <= set(content):  # pandas, orient="split"
        content = {
            c: dict(zip(content["index"], v, strict=True))
            for c, v in zip(content["columns"], zip(*content["data"], strict=True), strict=True)
        }
    if not content or not all(isinstance(v, Mapping) for v in content.values()):
        if any(isinstance(v, Mapping) for v in content.values()) and not any(k in SYNONYMS for k in content):
            odd = [k for k, v in content.items() if not isinstance(v, Mapping)]
            raise StatisticsError(f"some keys hold objects and some do not: {names(odd)}")
        return {str(k): v for k, v in content.items()}, False
    if set(content) <= STATISTICS and not all(set(v) <= STATISTICS for v in content.values()):  # orient="index"
        content = {f: {s: row[f] for s, row in content.items()} for f in next(iter(content.values()))}
    keys = [set(v) for v in content.values()]
    if any(k != keys[0] for k in keys):
        odd = next(f for f, k in zip(content, keys, strict=True) if k != keys[0])
        raise StatisticsError(
            f"feature {odd!r} has the statistics {names(sorted(content[odd]))}, the first has {names(sorted(keys[0]))}"
        )
    flat: dict[str, Any] = {str(s): [row[s] for row in content.values()] for s in next(iter(content.values()))}
    return {**flat, "features": [str(f) for f in content]}, "count" in flat and "50%" in flat


def _plain(flat: dict[str, Any], described: bool, reading: Reading) -> tuple[Fitted, int | None]:
    unknown = [k for k in flat if k not in SYNONYMS and k not in INFORMATION]
    if "kind" in flat and flat["kind"] in KINDS:
        fields = {f.name for f in dataclasses.fields(KINDS[flat["kind"]])}  # type: ignore[arg-type]
        unknown = [k for k in unknown if k not in fields]
    if unknown:
        raise StatisticsError(
            f"has the unknown keys {names(unknown)}; known are mean, std, scale, var, data_min, data_max, center, ... (onnxscale schema stats)"
        )
    found: dict[str, Any] = {}
    for key, value in flat.items():
        meaning = SYNONYMS.get(key, key)
        if meaning in found and key not in INFORMATION:
            raise StatisticsError(f"{key!r} and another key both mean {meaning!r}; only one can be meant")
        found[meaning] = value
    about = {k: found.pop(k, None) for k in _BESIDE}
    if about["kind"] and not reading.kind:
        fields = {
            k: v
            for k, v in flat.items()
            if k not in _BESIDE and k not in INFORMATION and SYNONYMS.get(k) not in _BESIDE
        }
        scaler, keep = _of_kind(str(about["kind"]), fields, reading), found
    else:
        scaler, keep = _of_keys({k: v for k, v in found.items() if k not in INFORMATION}, reading)
    scaler, axis = _squeezed(scaler)
    given = about["axis"]
    if given is not None and (isinstance(given, bool) or not isinstance(given, int)):
        raise StatisticsError(f"axis: expected a whole number, got {given!r}")
    low, high = (keep.get("data_min", keep.get("min")), keep.get("data_max", keep.get("max")))
    notes: tuple[str, ...] = ()
    if described:
        notes = ("a pandas describe() table: its std has ddof 1",)
    shape = scaler.transform().shape
    features, units = _words(about["features"], "features", shape), _words(about["units"], "units", shape)
    ddof = about["ddof"] if isinstance(about["ddof"], int) else 1 if described else None
    made = Fitted(
        scaler,
        given if given is not None else axis,
        features,
        units,
        _range(low, shape),
        _range(high, shape),
        notes + _noted(reading, flat),
    )
    return made, ddof


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
            k: _ones(v, reading) if k in ("std", "scale", "max_abs") and kind != "affine" else v
            for k, v in fields.items()
        },
    )


def _ones(values: Any, reading: Reading) -> Any:
    if reading.zero_std not in ("", "one"):
        raise StatisticsError(f"--zero-std {reading.zero_std}: unknown; choose 'one'")
    if reading.zero_std != "one" or values is None:
        return values
    array = numbers(values, "std")
    return np.where(array == 0, 1.0, array)


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


Make = Callable[[dict[str, Any], Reading], Scaler]


def _of_keys(found: dict[str, Any], reading: Reading) -> tuple[Scaler, dict[str, Any]]:
    keys = {k for k in found if k not in ("feature_range", "clip", "data_min", "data_max")} | (
        {"data_min", "data_max"} & set(found)
    )
    for dialect in DIALECTS:
        if (
            dialect.needs <= keys <= dialect.needs | dialect.may
            and reading.kind in ("", dialect.kind)
            and reading.dialect in ("", dialect.name)
        ):
            return dialect.make(found, reading), found
    fits = [d for d in DIALECTS if d.needs <= keys <= d.needs | d.may]
    if reading.dialect and fits:
        raise StatisticsError(
            f"--dialect {reading.dialect}: not a reading of the keys {names(sorted(keys))}; readings are {names(d.name for d in fits)}"
        )
    missing = ({"mean"} <= keys and "'std' (or 'scale', 'var') is missing: the scaler divides by it") or (
        {"std"} <= keys and "'mean' is missing"
    )
    raise StatisticsError(
        f"{missing or 'these statistics make no scaler that is known'}; found {names(sorted(keys))}. See onnxscale schema stats"
    )


@dataclasses.dataclass(frozen=True)
class Dialect:
    """A way to write a scaler down. needs, may: the keys it must and may have. kind: which scaler it makes."""

    name: str
    kind: str
    needs: frozenset[str]
    may: frozenset[str]
    make: Make


def _standard(found: dict[str, Any], reading: Reading) -> Scaler:
    divisor = found.get("std", found.get("scale"))
    if divisor is None:
        variance = numbers(found["var"], "var")
        if (variance < 0).any():
            raise StatisticsError(f"var is {float(variance.min())!r}: a variance is not negative")
        divisor = np.sqrt(variance)
    elif "var" in found:
        expected, given = np.sqrt(numbers(found["var"], "var")), numbers(divisor, "std")
        if expected.shape != given.shape or not np.all(
            (np.abs(expected - given) <= 1e-6 * np.abs(given)) | ((given == 1) & (expected < 1e-6))
        ):
            raise StatisticsError(
                "std (or scale) is not the square root of var: which of the two was used cannot be told"
            )
    return Standard(found["mean"], _ones(divisor, reading))


def _minmax(found: dict[str, Any], reading: Reading) -> Scaler:
    del reading
    low, high = found.get("data_min", found.get("min")), found.get("data_max", found.get("max"))
    pair = found.get("feature_range", (0.0, 1.0))
    return MinMax(low, high, pair if isinstance(pair, np.ndarray) else tuple(pair), bool(found.get("clip", False)))


def _ambiguous(readings: Mapping[str, str]) -> Make:
    listed = "; ".join(f"--dialect {name}: {formula}" for name, formula in readings.items())

    def refuse(found: dict[str, Any], reading: Reading) -> Scaler:
        del reading
        raise StatisticsError(
            f"{names(sorted(found))} can be read in {len(readings)} ways, and only you can know: {listed}"
        )

    return refuse


def _steps(*parts: tuple[str, str]) -> Make:
    def make(found: dict[str, Any], reading: Reading) -> Scaler:
        del reading
        return Steps(Transform(tuple(Step(op, (numbers(found[key], key),)) for op, key in parts)))

    return make


def _rows(kind: str, needs: str, may: str, readings: Mapping[str, tuple[str, Make]]) -> list[Dialect]:
    """One reading, or a refusal that lists several followed by each of them under its name."""
    sets = frozenset(needs.split()), frozenset(may.split())
    made = [Dialect(name, kind, *sets, make) for name, (_, make) in readings.items()]
    return (
        made
        if len(made) == 1
        else [Dialect("", kind, *sets, _ambiguous({n: f for n, (f, _) in readings.items()})), *made]
    )


_RANGE = "min max data_min data_max median 25% 75%"
_BOUNDED = "median norm_factor lower_bound upper_bound"
DIALECTS: tuple[Dialect, ...] = (
    *_rows("standard", "mean std", f"var {_RANGE}", {"standard": ("(x - mean) / std", _standard)}),
    *_rows("standard", "mean scale", "var", {"standard": ("(x - mean) / scale", _standard)}),
    *_rows("standard", "mean var", "", {"standard": ("(x - mean) / sqrt(var)", _standard)}),
    *_rows("minmax", "data_min data_max", "feature_range clip min scale data_range", {"minmax": ("scikit-learn's MinMaxScaler", _minmax)}),
    *_rows("minmax", "min max", "feature_range clip mean std median 25% 75%", {"minmax": ("(x - min) / (max - min)", _minmax)}),
    *_rows("minmax", "min scale", "feature_range clip", {
        "sklearn": ("x * scale + min, scikit-learn's min_ and scale_", lambda f, r: Affine(f["scale"], f["min"])),
        "data-min-mul": ("(x - min) * scale, min being the smallest value", _steps(("Sub", "min"), ("Mul", "scale"))),
        "data-min-div": ("(x - min) / scale, scale being the range", _steps(("Sub", "min"), ("Div", "scale"))),
    }),
    *_rows("robust", "center scale", "", {"robust": ("(x - center) / scale", lambda f, r: Robust(f["center"], _ones(f["scale"], r)))}),
    *_rows("robust", "median iqr", "", {"robust": ("(x - median) / iqr", lambda f, r: Robust(f["median"], _ones(f["iqr"], r)))}),
    *_rows("robust", "median 25% 75%", f"mean std {_RANGE}", {
        "quartiles": ("(x - 50%) / (75% - 25%)", lambda f, r: Robust(f["median"], _ones(numbers(f["75%"], "75%") - numbers(f["25%"], "25%"), r))),
    }),
    *_rows("maxabs", "max_abs", "clip", {"maxabs": ("x / max_abs", lambda f, r: MaxAbs(_ones(f["max_abs"], r), bool(f.get("clip", False))))}),
    *_rows("affine", "scale shift", "", {"affine": ("x * scale + shift", lambda f, r: Affine(f["scale"], f["shift"]))}),
    *_rows("affine", "offset scale", "", {
        "onnx-scaler": ("(x - offset) * scale, as ai.onnx.ml's Scaler", _steps(("Sub", "offset"), ("Mul", "scale"))),
        "scale-then-add": ("x * scale + offset", _steps(("Mul", "scale"), ("Add", "offset"))),
        "offset-div": ("(x - offset) / scale", _steps(("Sub", "offset"), ("Div", "scale"))),
    }),
    *_rows("steps", "median norm_factor", "", {"robust": ("(x - median) / norm_factor", _steps(("Sub", "median"), ("Div", "norm_factor")))}),
    *_rows("steps", _BOUNDED, "", {
        "clip-raw": ("clip x to the bounds, then (x - median) / norm_factor",
                     _steps(("Max", "lower_bound"), ("Min", "upper_bound"), ("Sub", "median"), ("Div", "norm_factor"))),
        "clip-scaled": ("(x - median) / norm_factor, then clip to the bounds",
                        _steps(("Sub", "median"), ("Div", "norm_factor"), ("Max", "lower_bound"), ("Min", "upper_bound"))),
    }),
)  # fmt: skip
