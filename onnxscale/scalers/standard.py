"""z-score: (x - mean) / std. scikit-learn's StandardScaler (sklearn/preprocessing/_data.py, transform: X -= mean_; X /= scale_)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import divisor, numbers, optional, same_shape
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Standard:
    """mean: subtracted, or None. std: divides, above zero, or None. Shapes () or (F,) or (T, F), float64."""

    mean: Array | None
    std: Array | None
    kind: ClassVar[str] = "standard"
    sklearn: ClassVar[str] = "StandardScaler"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", optional(numbers, self.mean, "mean"))
        object.__setattr__(self, "std", optional(divisor, self.std, "std"))
        same_shape(mean=self.mean, std=self.std)

    def transform(self) -> Transform:
        steps = (("Sub", self.mean), ("Div", self.std))
        return Transform(tuple(Step(op, (values,)) for op, values in steps if values is not None))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Standard:
        if "scale_" not in state:
            raise StatisticsError("this StandardScaler is not fitted: it has no scale_")
        return cls(
            state.get("mean_") if state.get("with_mean", True) else None,
            state["scale_"] if state.get("with_std", True) else None,
        )
