"""Robust: (x - center) / scale, median and quantile range. scikit-learn's RobustScaler (sklearn/preprocessing/_data.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import divisor, numbers, optional, same_shape
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Robust:
    """center: subtracted, or None. scale: divides (unit_variance already in it), above zero, or None. float64."""

    center: Array | None
    scale: Array | None
    kind: ClassVar[str] = "robust"
    sklearn: ClassVar[str] = "RobustScaler"

    def __post_init__(self) -> None:
        object.__setattr__(self, "center", optional(numbers, self.center, "center"))
        object.__setattr__(self, "scale", optional(divisor, self.scale, "scale"))
        same_shape(center=self.center, scale=self.scale)

    def transform(self) -> Transform:
        steps = (("Sub", self.center), ("Div", self.scale))
        return Transform(tuple(Step(op, (values,)) for op, values in steps if values is not None))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Robust:
        if "scale_" not in state:
            raise StatisticsError("this RobustScaler is not fitted: it has no scale_")
        return cls(
            state.get("center_") if state.get("with_centering", True) else None,
            state["scale_"] if state.get("with_scaling", True) else None,
        )
