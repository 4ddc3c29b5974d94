"""The stages of Spark ML that scale, as steps in Spark's own formula and order.

Sources (mllib/src/main/scala/org/apache/spark/ml/feature): StandardScaler.scala, RobustScaler.scala and MaxAbsScaler.scala
share StandardScalerModel.getTransformFunc, (x - shift) * scale with scale = 1 / spread, and 0 where the spread is 0 (1 for
MaxAbs); MinMaxScaler.scala; Imputer.scala. Spark 1 and 2 divide in MaxAbsScaler and MinMaxScaler instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers import Imputer
from onnxscale.scalers.values import numbers
from onnxscale.statistics import Reading
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

Values = Callable[[str], Array]


@dataclass(frozen=True)
class Stage:
    """A stage's metadata. name: of its class, without the package. params: what was set, over the class's own defaults.
    row: the one row of its data, or {}. notes: grows by what was taken for granted."""

    name: str
    package: str
    uid: str
    version: str
    params: Mapping[str, Any]
    row: Mapping[str, Any]
    reading: Reading
    notes: list[str]

    def param(self, key: str, default: Any, sort: type | tuple[type, ...]) -> Any:
        """A parameter. Raises StatisticsError where it is missing (unless defaults are accepted) or of another type."""
        if key not in self.params:
            if not self.reading.accept_defaults or default is None:
                rest = "" if default is None else f" Its default is {default!r}: accept it with --accept-defaults"
                raise StatisticsError(f"the metadata of the {self.name} has no {key!r}.{rest}")
            self.notes.append(f"{key} of the {self.name} is missing: taken as {default!r} (--accept-defaults)")
            return default
        value = self.params[key]
        if not isinstance(value, sort) or (isinstance(value, bool) and sort is not bool):
            raise StatisticsError(f"{key} of the {self.name} is {str(value)[:60]!r}, which Spark would not write")
        return value

    def columns(self, one: str, several: str) -> tuple[str, ...]:
        """The names of its columns: the parameter for several, else the one for one."""
        if several in self.params:
            listed = self.param(several, None, list)
            if not listed or not all(isinstance(n, str) for n in listed):
                raise StatisticsError(f"{several} of the {self.name} is {str(listed)[:60]}; expected names")
            return tuple(listed)
        return (str(self.param(one, None, str)),)

    @property
    def old(self) -> bool:
        """Whether it is of Spark 1 or 2, which divided where Spark 3 and later multiply."""
        first = self.version.partition(".")[0]
        if not first.isdigit():
            raise StatisticsError(
                f"sparkVersion of the {self.name} is {self.version[:40]!r}; its formula cannot be told"
            )
        return int(first) < 3

    def vector(self, key: str) -> Array:
        """A vector of its data, dense. Raises StatisticsError for a struct that is not Spark's."""
        return vector(self.row.get(key), f"{key} of the {self.name}")


def vector(given: Any, name: str) -> Array:
    """Spark's struct of a vector, (type, size, indices, values), as a dense array: type 0 is sparse, 1 is dense."""
    if not isinstance(given, Mapping) or given.get("type") not in (0, 1):
        raise StatisticsError(f"{name} is missing or no vector of Spark's (type, size, indices, values)")
    values = given.get("values")
    if given["type"] == 1:
        return numbers(values, name)
    size, at = given.get("size"), given.get("indices")
    if (
        not isinstance(size, int)
        or not 0 < size <= 10_000_000
        or not isinstance(at, list)
        or not isinstance(values, list)
    ):
        raise StatisticsError(f"{name}: a sparse vector without size, indices or values")
    if (
        len(at) != len(values)
        or any(not isinstance(i, int) or not 0 <= i < size for i in at)
        or len(set(at)) != len(at)
    ):
        raise StatisticsError(f"{name}: a sparse vector of {size} whose indices and values do not fit")
    dense = np.zeros(size)
    if at:
        dense[at] = numbers(values, name)
    return dense


def _inverse(spread: Array, at_zero: float, name: str) -> Array:
    if (spread < 0).any():
        raise StatisticsError(f"{name} holds {float(spread.min())!r}; a spread is not negative")
    with np.errstate(over="ignore"):
        scale = np.where(spread == 0, at_zero, 1.0 / np.where(spread == 0, 1.0, spread))
    return numbers(scale, f"1 / {name}")


def _steps(*parts: tuple[str, Array | None]) -> Transform:
    return Transform(tuple(Step(op, (values,)) for op, values in parts if values is not None))


def _standard(stage: Stage) -> Transform:
    shift = stage.vector("mean") if stage.param("withMean", False, bool) else None
    scale = _inverse(stage.vector("std"), 0.0, "std") if stage.param("withStd", True, bool) else None
    return _steps(("Sub", shift), ("Mul", scale))


def _robust(stage: Stage) -> Transform:
    shift = stage.vector("median") if stage.param("withCentering", False, bool) else None
    scale = _inverse(stage.vector("range"), 0.0, "range") if stage.param("withScaling", True, bool) else None
    return _steps(("Sub", shift), ("Mul", scale))


def _max_abs(stage: Stage) -> Transform:
    spread = stage.vector("maxAbs")
    if stage.old:
        return _steps(("Div", np.where(spread == 0, 1.0, spread)))
    return _steps(("Mul", _inverse(spread, 1.0, "maxAbs")))


def _min_max(stage: Stage) -> Transform:
    low, high = (float(stage.param(k, d, (int, float))) for k, d in (("min", 0.0), ("max", 1.0)))
    first, last = stage.vector("originalMin"), stage.vector("originalMax")
    if first.shape != last.shape or (last < first).any() or not low < high:
        raise StatisticsError("originalMin and originalMax, or min and max, do not fit each other")
    spread = last - first
    flat = spread == 0
    if stage.old:
        # ((x - originalMin) / range, 0.5 where constant) * (max - min) + min
        span = high - low
        at = np.where(flat, 0.5 * span + low, low)
        return _steps(
            ("Sub", first), ("Div", np.where(flat, 1.0, spread)), ("Mul", np.where(flat, 0.0, span)), ("Add", at)
        )
    with np.errstate(over="ignore"):
        scale = numbers(
            np.where(flat, 0.0, (high - low) / np.where(flat, 1.0, spread)), "the scale of the MinMaxScaler"
        )
    return _steps(("Sub", first), ("Mul", scale), ("Add", np.where(scale == 0, (low + high) / 2, low)))


def _imputer(stage: Stage) -> Transform:
    missing = stage.param("missingValue", "NaN", (str, int, float))
    if isinstance(missing, str) and missing != "NaN":
        raise StatisticsError(f"missingValue of the {stage.name} is {missing[:40]!r}; expected NaN or a number")
    columns = stage.columns("inputCol", "inputCols")
    lacking = [c for c in columns if not isinstance(stage.row.get(c), int | float)]
    if lacking:
        raise StatisticsError(f"the {stage.name} has no value for the column {lacking[0]!r}")
    value = numbers([float(stage.row[c]) for c in columns], "surrogate")
    stage.notes.append(
        "the Imputer also fills null; its values are rounded to the column's type where that is not double"
    )
    return Imputer(value, None if missing == "NaN" or math.isnan(float(missing)) else float(missing)).transform()


ZERO = "a constant feature becomes 0 (Spark: its scale is 0)"
# class -> steps; what it does with a constant feature; ddof
SCALERS: dict[str, tuple[Callable[[Stage], Transform], str, int | None]] = {
    "StandardScalerModel": (_standard, ZERO, 1),
    "MinMaxScalerModel": (_min_max, "a constant feature becomes the middle of min and max", None),
    "MaxAbsScalerModel": (_max_abs, "a feature of zeros is divided by 1", None),
    "RobustScalerModel": (_robust, ZERO, None),
    "ImputerModel": (_imputer, "", None),
}
