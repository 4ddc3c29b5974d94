"""Clip: values below `low` raised to it, above `high` cut to it; winsorizing by fitted bounds. numpy.clip; NaN stays NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers, optional, same_shape
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Clip:
    """low, high: per feature or one for all, or None where that side is open; not both. float64."""

    low: Array | None = None
    high: Array | None = None
    kind: ClassVar[str] = "clip"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", optional(numbers, self.low, "low"))
        object.__setattr__(self, "high", optional(numbers, self.high, "high"))
        if self.low is None and self.high is None:
            raise StatisticsError("low, high: a clip needs one of them at least")
        same_shape(low=self.low, high=self.high)
        if self.low is not None and self.high is not None and np.any(self.low > self.high):
            raise StatisticsError("low is above high: nothing lies between them")

    def transform(self) -> Transform:
        bounds = (("Max", self.low), ("Min", self.high))
        return Transform(tuple(Step(op, (values,)) for op, values in bounds if values is not None))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Clip:
        raise StatisticsError("no scikit-learn class is a clip")
