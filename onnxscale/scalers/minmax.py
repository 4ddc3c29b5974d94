"""Min-max: x * scale + min, clipped where asked. scikit-learn's MinMaxScaler (sklearn/preprocessing/_data.py):

scale = (high - low) / (data_max - data_min), with a range under 10 eps taken as 1
min   = low - data_min * scale
transform: X *= scale; X += min; clip: X = clip(X, low, high)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers, optional, same_shape
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class MinMax:
    """data_min, data_max: shapes () or (F,), float64. feature_range: (low, high). clip: cut to the feature range.

    scale, min: scikit-learn's scale_ and min_ where they are known; else computed from the range by its formula.
    """

    data_min: Array
    data_max: Array
    feature_range: tuple[float, float] = (0.0, 1.0)
    clip: bool = False
    scale: Array | None = None
    min: Array | None = None
    kind: ClassVar[str] = "minmax"
    sklearn: ClassVar[str] = "MinMaxScaler"

    def __post_init__(self) -> None:
        low, high = self._range()
        data_min, data_max = numbers(self.data_min, "data_min"), numbers(self.data_max, "data_max")
        same_shape(data_min=data_min, data_max=data_max)
        if (data_max < data_min).any():
            raise StatisticsError("data_max is below data_min: are the two exchanged?")
        if not isinstance(self.clip, bool | np.bool_):
            raise StatisticsError(f"clip: expected true or false, got {self.clip!r}")
        spread = data_max - data_min
        spread = np.where(spread < 10 * np.finfo(np.float64).eps, 1.0, spread)
        scale = optional(numbers, self.scale, "scale")
        scale = constant((high - low) / spread) if scale is None else scale
        shift = optional(numbers, self.min, "min")
        shift = constant(low - data_min * scale) if shift is None else shift
        same_shape(data_min=data_min, scale=scale, min=shift)
        made = {"data_min": data_min, "data_max": data_max, "feature_range": (low, high), "clip": bool(self.clip)}
        for name, value in (made | {"scale": scale, "min": shift}).items():
            object.__setattr__(self, name, value)

    def _range(self) -> tuple[float, float]:
        pair = numbers(self.feature_range, "feature_range")
        if pair.shape != (2,) or not pair[0] < pair[1]:
            raise StatisticsError(f"feature_range: expected two numbers, low then high, got {self.feature_range!r}")
        return float(pair[0]), float(pair[1])

    def transform(self) -> Transform:
        assert self.scale is not None and self.min is not None
        low, high = self.feature_range
        clip = (Step("Max", (constant(low),)), Step("Min", (constant(high),))) if self.clip else ()
        return Transform((Step("Mul", (self.scale,)), Step("Add", (self.min,)), *clip))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> MinMax:
        if "scale_" not in state:
            raise StatisticsError("this MinMaxScaler is not fitted: it has no scale_")
        return cls(
            state["data_min_"],
            state["data_max_"],
            tuple(state["feature_range"]),
            bool(state.get("clip", False)),
            state["scale_"],
            state["min_"],
        )
