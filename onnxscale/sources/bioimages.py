"""bioimage.io: the preprocessing of a model's inputs, in rdf.yaml, format 0.4 and 0.5 (bioimageio/core/proc_ops.py).

fixed_zero_mean_unit_variance is (x - mean) / (std + 1e-6) in bioimageio.core, scale_linear x * gain + offset. What is computed
from each sample or from a data set has no numbers in the file, and is refused by its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

EPS = 1e-6  # of FixedZeroMeanUnitVariance in bioimageio.core, whatever the file says


@dataclass(frozen=True)
class Tensor:
    """axes: their names in order. old: format 0.4, where axes are letters and statistics are per axis that is not named."""

    name: str
    axes: tuple[str, ...]
    channels: tuple[str, ...]
    old: bool


@dataclass(frozen=True)
class Done:
    """What one processing does: steps, the axis that their constants lie along ("" for one value), and a note."""

    steps: tuple[Step, ...] = ()
    axis: str = ""
    note: str = ""


def is_bioimage(content: Mapping[Any, Any]) -> bool:
    return "format_version" in content and isinstance(content.get("inputs"), list) and "weights" in content


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of each input. Raises StatisticsError naming the input and the processing."""
    del reading
    version = str(content["format_version"])
    parts = [int(p) for p in version.split(".")[:2] if p.isdecimal()]
    if len(parts) != 2 or not (0, 4) <= tuple(parts) <= (0, 5):
        raise StatisticsError(f"format_version {version[:20]!r} of bioimage.io; known are 0.4 and 0.5")
    old = parts[1] == 4
    made: dict[str | None, Fitted] = {}
    for given in content["inputs"]:
        tensor = _tensor(given, old)
        fitted = _fitted(tensor, given.get("preprocessing") or [])
        if fitted is not None:
            made[tensor.name] = fitted
    if not made:
        raise StatisticsError("no input has a preprocessing that scales")
    ids = {p.get("id", p.get("name")) for t in content["inputs"] for p in t.get("preprocessing") or []}
    eps = EPS if "fixed_zero_mean_unit_variance" in ids else None
    if len(content["inputs"]) == 1:
        made = {None: next(iter(made.values()))}
    return Statistics(made, {}, dataclasses.replace(source, framework="bioimage.io", version=version, eps=eps))


def _tensor(given: Any, old: bool) -> Tensor:
    if not isinstance(given, Mapping):
        raise StatisticsError(f"an input is {type(given).__name__}; expected an object")
    name, axes = str(given.get("name" if old else "id", "input")), given.get("axes")
    channels: tuple[str, ...] = ()
    if old:
        if not isinstance(axes, str):
            raise StatisticsError(f"input {name!r}: axes: expected letters such as bcyx, got {str(axes)[:40]!r}")
        return Tensor(name, tuple(axes), (), old)
    if not isinstance(axes, list) or not all(isinstance(a, Mapping) for a in axes):
        raise StatisticsError(f"input {name!r}: axes: expected a list of objects, got {str(axes)[:40]!r}")
    for axis in axes:
        if axis.get("type") == "channel" and isinstance(axis.get("channel_names"), list):
            channels = tuple(map(str, axis["channel_names"]))
    return Tensor(name, tuple(str(a.get("id", a.get("type"))) for a in axes), channels, old)


def _fitted(tensor: Tensor, processings: Any) -> Fitted | None:
    done: list[Done] = []
    for item in processings if isinstance(processings, list) else [processings]:
        key = "name" if tensor.old else "id"
        what = item.get(key) if isinstance(item, Mapping) else None
        kwargs = (item.get("kwargs") or {}) if isinstance(item, Mapping) else None
        if not isinstance(what, str) or not isinstance(kwargs, Mapping):
            raise StatisticsError(
                f"input {tensor.name!r}: a preprocessing without {key!r} and kwargs: {str(item)[:60]}"
            )
        row = _KNOWN.get(what)
        if row is None:
            raise StatisticsError(
                f"input {tensor.name!r}: the preprocessing {what!r} is not known; known are {names(_KNOWN)}"
            )
        try:
            done.append(row(kwargs, tensor))
        except StatisticsError as error:
            raise StatisticsError(f"input {tensor.name!r}: {what}: {error}") from None
    steps = tuple(s for d in done for s in d.steps)
    if not steps:
        return None
    axes = {d.axis for d in done if d.axis}
    if len(axes) > 1:
        raise StatisticsError(f"input {tensor.name!r} is scaled along several axes: {names(sorted(axes))}")
    at = tensor.axes.index(next(iter(axes))) - len(tensor.axes) if axes else None
    transform = Transform(steps)
    features = tensor.channels if transform.shape == (len(tensor.channels),) else ()
    return Fitted(Steps(transform), axis=at, features=features, notes=tuple(d.note for d in done if d.note))


def _along(kwargs: Mapping[str, Any], tensor: Tensor, *values: Any) -> tuple[str, list[Array]]:
    """The axis that lists of values lie along, and the values; one value, or a list of one, is for all."""
    held = [numbers(v, "its values") for v in values]
    if any(v.ndim > 1 for v in held):
        raise StatisticsError("its values are nested lists; expected one value per channel")
    if all(v.size == 1 for v in held):
        return "", [v.reshape(()) for v in held]
    if tensor.old:
        jointly = str(kwargs.get("axes") or "")
        left = [a for a in tensor.axes if a not in jointly and a not in "bi"]
        if len(left) != 1:
            raise StatisticsError(
                f"lists of values with axes {jointly!r} of {''.join(tensor.axes)!r}; expected one axis to be left"
            )
        return left[0], held
    axis = str(kwargs.get("axis", ""))
    if axis not in tensor.axes:
        raise StatisticsError(f"its axis is {axis!r}; the input has {names(tensor.axes)}")
    return axis, held


def _fixed(kwargs: Mapping[str, Any], tensor: Tensor) -> Done:
    mode = kwargs.get("mode", "fixed")
    if mode != "fixed":
        raise StatisticsError(f"mode {str(mode)[:20]!r} computes mean and std from the data; only fixed has numbers")
    gone = [k for k in ("mean", "std") if kwargs.get(k) is None]
    if gone:
        raise StatisticsError(f"{' and '.join(gone)} are missing")
    axis, (mean, std) = _along(kwargs, tensor, kwargs["mean"], divisor(kwargs["std"], "std"))
    eps = kwargs.get("eps", EPS)
    if eps != EPS:
        raise StatisticsError(
            f"eps is {eps!r}, and bioimageio.core takes {EPS!r} for fixed statistics whatever the file says; remove it"
        )
    note = f"bioimageio.core divides by std + {EPS!r}, and so does this"
    return Done((Step("Sub", (mean,)), Step("Div", (std + EPS,))), axis, note)


def _sampled(kwargs: Mapping[str, Any], tensor: Tensor) -> Done:
    if tensor.old and kwargs.get("mode", "fixed") == "fixed":
        return _fixed(kwargs, tensor)
    mode = f" (mode {kwargs['mode']!s:.20})" if "mode" in kwargs else ""
    raise StatisticsError(f"computes mean and std from the data{mode}; the file has no numbers. It stays with the app")


def _range(kwargs: Mapping[str, Any], tensor: Tensor) -> Done:
    del kwargs, tensor
    raise StatisticsError("computes percentiles from the data; the file has no numbers. It stays with the app")


def _linear(kwargs: Mapping[str, Any], tensor: Tensor) -> Done:
    axis, (gain, offset) = _along(kwargs, tensor, kwargs.get("gain", 1.0), kwargs.get("offset", 0.0))
    return Done((Step("Mul", (gain,)), Step("Add", (offset,))), axis)


def _clip(kwargs: Mapping[str, Any], tensor: Tensor) -> Done:
    del tensor
    if kwargs.get("min_percentile") is not None or kwargs.get("max_percentile") is not None:
        raise StatisticsError("clips at percentiles of the data; the file has no numbers. It stays with the app")
    ends = (("Max", kwargs.get("min")), ("Min", kwargs.get("max")))
    return Done(tuple(Step(op, (numbers(v, op.lower()),)) for op, v in ends if v is not None))


def _binarize(kwargs: Mapping[str, Any], tensor: Tensor) -> Done:
    axis, (threshold,) = _along(kwargs, tensor, kwargs.get("threshold"))
    return Done((Step("Binarize", (threshold,)),), axis)


def _dtype(kwargs: Mapping[str, Any], tensor: Tensor) -> Done:
    del tensor
    dtype = str(kwargs.get("dtype"))
    if not dtype.startswith("float"):
        raise StatisticsError(f"casts to {dtype[:20]!r}, which cuts decimals; write the scaler as steps")
    return Done(note=f"the cast to {dtype} is the app's" if dtype != "float32" else "")


_KNOWN: dict[str, Callable[[Mapping[str, Any], Tensor], Done]] = {
    "fixed_zero_mean_unit_variance": _fixed,
    "zero_mean_unit_variance": _sampled,
    "scale_linear": _linear,
    "scale_range": _range,
    "clip": _clip,
    "binarize": _binarize,
    "ensure_dtype": _dtype,
}
