"""Imputer: a value for what is missing. scikit-learn's SimpleImputer (sklearn/impute/_base.py, transform)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.states import inner
from onnxscale.scalers.values import numbers, optional, places
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Imputer:
    """value: what a missing value becomes, shapes () or (F,), float64.

    missing: what stands for "missing": a number such as -999, or None for NaN.
    indicators: numbers of the features that get a column more, 1 where they were missing, shape (K,); or None.
    dropped: numbers of the features that give no column, as none of their values was ever seen; or None.
    """

    value: Array
    missing: float | None = None
    indicators: Array | None = None
    dropped: Array | None = None
    kind: ClassVar[str] = "imputer"
    sklearn: ClassVar[str] = "SimpleImputer"

    def __post_init__(self) -> None:
        value = numbers(self.value, "value")
        indicators = optional(numbers, self.indicators, "indicators")
        missing = None if self.missing is None else float(numbers(self.missing, "missing"))
        if indicators is not None and (value.ndim != 1 or indicators.ndim != 1):
            raise StatisticsError("indicators: need one value per feature and a list of feature numbers")
        if indicators is not None and not np.isin(indicators, np.arange(len(value))).all():
            raise StatisticsError(f"indicators: expected whole numbers from 0 to {len(value) - 1}")
        dropped = optional(numbers, self.dropped, "dropped")
        if dropped is not None and (value.ndim != 1 or len(places(dropped, len(value), "dropped")[0]) >= len(value)):
            raise StatisticsError("dropped: need one value per feature and a list of feature numbers, not all of them")
        for name, made in (("value", value), ("missing", missing), ("indicators", indicators), ("dropped", dropped)):
            object.__setattr__(self, name, made)

    def transform(self) -> Transform:
        missing = math.nan if self.missing is None else self.missing
        if self.indicators is None and self.dropped is None:
            return Transform((self._step(self.value, missing, np.zeros_like(self.value)),))
        width, none = len(self.value), np.zeros(0)
        more, gone = (none if v is None else v for v in (self.indicators, self.dropped))
        kept = np.setdiff1d(np.arange(width), gone)
        columns = np.concatenate([kept, more]).astype(int)
        flags = (np.arange(len(columns)) >= len(kept)).astype(np.float64)
        select = Step("Select", (constant(columns),), {"features": width})
        return Transform((select, self._step(self.value[columns], missing, flags)))

    @staticmethod
    def _step(value: Array, missing: float, flags: Array) -> Step:
        return Step("Impute", (value, np.full_like(value, missing), flags))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Imputer:
        if "statistics_" not in state:
            raise StatisticsError("this SimpleImputer is not fitted: it has no statistics_")
        value = np.asarray(state["statistics_"])
        if value.dtype.kind == "O" and all(type(v) in (int, float) or isinstance(v, np.number) for v in value.ravel()):
            value = value.astype(np.float64)  # a constant fill_value, as scikit-learn 1.8 and later keep it
        if value.dtype.kind not in "fiu":
            raise StatisticsError("this SimpleImputer fills in something else than numbers")
        value, missing = value.astype(np.float64), state.get("missing_values", math.nan)
        dropped = np.flatnonzero(np.isnan(value))
        if len(dropped) == len(value):
            raise StatisticsError("no feature was ever observed, so scikit-learn drops every column")
        if not isinstance(missing, int | float | np.number) or isinstance(missing, bool):
            raise StatisticsError(f"missing_values: expected NaN or a number, got {missing!r}")
        indicator = state.get("indicator_") if state.get("add_indicator") else None
        features = None if indicator is None else np.asarray(inner(indicator)["features_"])
        if features is not None and features.size == 0:
            features = None
        sentinel = None if math.isnan(float(missing)) else float(missing)
        return cls(np.nan_to_num(value), sentinel, features, dropped if dropped.size else None)
