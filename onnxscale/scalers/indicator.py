"""Indicator: 1 where a value is missing, else 0. scikit-learn's MissingIndicator (sklearn/impute/_base.py, transform)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers, places
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Indicator:
    """columns: numbers of the features that get a column, shape (K,). width: how many raw features there are.

    missing: what stands for "missing": a number such as -999, or None for NaN.
    """

    columns: Array
    width: int
    missing: float | None = None
    kind: ClassVar[str] = "indicator"
    sklearn: ClassVar[str] = "MissingIndicator"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", places(self.columns, self.width)[0])
        object.__setattr__(self, "missing", None if self.missing is None else float(numbers(self.missing, "missing")))

    def transform(self) -> Transform:
        ones = np.ones(len(self.columns))
        missing = math.nan if self.missing is None else self.missing
        return Transform(
            (
                Step("Select", (self.columns,), {"features": self.width}),
                Step("Impute", (0 * ones, missing * ones, ones)),
            )
        )

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Indicator:
        features = np.asarray(state["features_"])
        missing = state.get("missing_values", math.nan)
        if not isinstance(missing, int | float | np.number) or isinstance(missing, bool):
            raise StatisticsError(f"missing_values: expected NaN or a number, got {missing!r}")
        if not features.size:
            raise StatisticsError("no feature missed a value when this MissingIndicator was fitted: it gives no column")
        width = int(state.get("n_features_in_", state.get("_n_features", 0)))
        return cls(features, width, None if math.isnan(float(missing)) else float(missing))
