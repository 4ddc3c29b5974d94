"""Every way in which people write statistics down, recognised by its keys. Never a guess: keys that can be read in two
ways are refused, with both readings and the flag that chooses. A new dialect is one row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import KINDS, Affine, MaxAbs, MinMax, Robust, Scaler, Standard, Steps
from onnxscale.scalers.values import numbers
from onnxscale.statistics import Reading
from onnxscale.step import Step
from onnxscale.transform import Transform

CLIPPED = ("minmax", "maxabs")
Make = Callable[[dict[str, Any], Reading], Scaler]


def of_keys(found: dict[str, Any], reading: Reading) -> tuple[Scaler, dict[str, Any]]:
    if reading.kind and reading.kind not in KINDS:
        raise StatisticsError(f"--kind {reading.kind}: no kind of scaler that is known; known are {names(KINDS, 20)}")
    keys = {k for k in found if k not in ("feature_range", "clip", "data_min", "data_max")} | (
        {"data_min", "data_max"} & set(found)
    )
    for dialect in DIALECTS:
        if (
            dialect.needs <= keys <= dialect.needs | dialect.may
            and reading.kind in ("", dialect.kind)
            and reading.dialect in ("", dialect.name)
        ):
            if found.get("clip") not in (None, False) and dialect.kind not in CLIPPED:
                raise StatisticsError(
                    f"'clip' is read of min-max and max-abs scalers; of a {dialect.kind} one it would be left out. Write it as "
                    f"kind: steps, with Max and Min last (onnxscale schema stats)"
                )
            return dialect.make(found, reading), found
    fits = [d for d in DIALECTS if d.needs <= keys <= d.needs | d.may]
    if reading.dialect and fits:
        raise StatisticsError(
            f"--dialect {reading.dialect}: not a reading of the keys {names(sorted(keys))}; readings are "
            f"{names(d.name for d in fits if d.name)}"
        )
    missing = ({"mean"} <= keys and "'std' (or 'scale', 'var') is missing: the scaler divides by it") or (
        {"std"} <= keys and "'mean' is missing"
    )
    if reading.kind:
        kinds = sorted({d.kind for d in DIALECTS if d.needs <= keys <= d.needs | d.may})
        missing = (kinds and f"these are statistics of the kind {names(kinds)}, not {reading.kind!r}") or missing
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
    if divisor is None and "var" not in found:
        raise StatisticsError("the std (or scale) is null: what the scaler divides by is not known")
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
    return Standard(found["mean"], ones(divisor, reading))


def _kept(found: dict[str, Any], above: Callable[[Any, Any], Any], key: str = "std") -> Scaler:
    """A z-score whose spread an epsilon keeps above zero."""
    spread, eps = numbers(found[key], key), numbers(found["eps"], "eps")
    if (spread < 0).any() or (eps < 0).any():
        raise StatisticsError(f"{key} and eps: a value below zero")
    return Standard(found["mean"], above(spread, eps))


def _minmax(found: dict[str, Any], reading: Reading) -> Scaler:
    del reading
    low: Any = found.get("data_min", found.get("min"))
    high: Any = found.get("data_max", found.get("max"))
    pair: Any = found.get("feature_range", (0.0, 1.0))
    return MinMax(low, high, pair, found.get("clip", False))


def _quartiles(found: dict[str, Any], reading: Reading) -> Scaler:
    spread = numbers(found["75%"], "75%") - numbers(found["25%"], "25%")
    return Robust(found["median"], ones(spread, reading))


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


def _mean_and_scale(found: dict[str, Any], reading: Reading) -> Scaler:
    """scikit-learn's mean_ and scale_, as many of one as of the other; a single factor beside several means is OpenCV's or Caffe's."""
    if np.size(found["scale"]) == 1 < np.size(found["mean"]) and found["scale"] is not None:
        return _ambiguous(
            {"standard": "(x - mean) / scale", "scale-mul": "(x - mean) * scale, as OpenCV's blobFromImage"}
        )(found, reading)
    return _standard(found, reading)


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
    Dialect("", "standard", frozenset(("mean", "scale")), frozenset(("var",)), _mean_and_scale),
    Dialect("standard", "standard", frozenset(("mean", "scale")), frozenset(("var",)), _standard),
    Dialect("scale-mul", "standard", frozenset(("mean", "scale")), frozenset(), _steps(("Sub", "mean"), ("Mul", "scale"))),
    *_rows("standard", "mean istd", "", {"standard": ("(x - mean) * istd", _steps(("Sub", "mean"), ("Mul", "istd")))}),
    *_rows("standard", "mean var", "", {"standard": ("(x - mean) / sqrt(var)", _standard)}),
    *_rows("standard", "mean std eps", "", {
        "plus-eps": ("(x - mean) / (std + eps)", lambda f, r: _kept(f, lambda s, e: s + e)),
        "max-eps": ("(x - mean) / max(std, eps)", lambda f, r: _kept(f, np.maximum)),
    }),
    *_rows("standard", "mean var eps", "", {
        "eps-inside": ("(x - mean) / sqrt(var + eps)", lambda f, r: _kept(f, lambda v, e: np.sqrt(v + e), "var")),
        "plus-eps": ("(x - mean) / (sqrt(var) + eps)", lambda f, r: _kept(f, lambda v, e: np.sqrt(v) + e, "var")),
    }),
    *_rows("minmax", "data_min data_max", "feature_range clip min scale data_range", {
        "minmax": ("scikit-learn's MinMaxScaler", _minmax),
    }),
    *_rows("minmax", "min max", "feature_range clip mean std median 25% 75%", {"minmax": ("(x - min) / (max - min)", _minmax)}),
    *_rows("minmax", "min scale", "feature_range clip", {
        "sklearn": ("x * scale + min, scikit-learn's min_ and scale_", lambda f, r: Affine(f["scale"], f["min"])),
        "data-min-mul": ("(x - min) * scale, min being the smallest value", _steps(("Sub", "min"), ("Mul", "scale"))),
        "data-min-div": ("(x - min) / scale, scale being the range", _steps(("Sub", "min"), ("Div", "scale"))),
    }),
    *_rows("robust", "center scale", "", {
        "robust": ("(x - center) / scale", lambda f, r: Robust(f["center"], ones(f["scale"], r))),
    }),
    *_rows("robust", "median iqr", "", {"robust": ("(x - median) / iqr", lambda f, r: Robust(f["median"], ones(f["iqr"], r)))}),
    *_rows("robust", "median 25% 75%", f"mean std {_RANGE}", {
        "quartiles": ("(x - 50%) / (75% - 25%)", _quartiles),
    }),
    *_rows("maxabs", "max_abs", "clip", {
        "maxabs": ("x / max_abs", lambda f, r: MaxAbs(ones(f["max_abs"], r), bool(f.get("clip", False)))),
    }),
    *_rows("affine", "scale shift", "", {"affine": ("x * scale + shift", lambda f, r: Affine(f["scale"], f["shift"]))}),
    *_rows("affine", "scale shift", "", {"shift-div": ("(x - shift) / scale", _steps(("Sub", "shift"), ("Div", "scale")))}),
    *_rows("affine", "offset scale", "", {
        "onnx-scaler": ("(x - offset) * scale, as ai.onnx.ml's Scaler", _steps(("Sub", "offset"), ("Mul", "scale"))),
        "scale-then-add": ("x * scale + offset", _steps(("Mul", "scale"), ("Add", "offset"))),
        "offset-div": ("(x - offset) / scale", _steps(("Sub", "offset"), ("Div", "scale"))),
    }),
    *_rows("steps", "median norm_factor", "", {
        "robust": ("(x - median) / norm_factor", _steps(("Sub", "median"), ("Div", "norm_factor"))),
    }),
    *_rows("steps", _BOUNDED, "", {
        "clip-raw": ("clip x to the bounds, then (x - median) / norm_factor",
                     _steps(("Max", "lower_bound"), ("Min", "upper_bound"), ("Sub", "median"), ("Div", "norm_factor"))),
        "clip-scaled": ("(x - median) / norm_factor, then clip to the bounds",
                        _steps(("Sub", "median"), ("Div", "norm_factor"), ("Max", "lower_bound"), ("Min", "upper_bound"))),
    }),
)  # fmt: skip


def ones(values: Any, reading: Reading) -> Any:
    if reading.zero_std not in ("", "one"):
        raise StatisticsError(f"--zero-std {reading.zero_std}: unknown; choose 'one'")
    if reading.zero_std != "one" or values is None:
        return values
    array = numbers(values, "std")
    return np.where(array == 0, 1.0, array)
