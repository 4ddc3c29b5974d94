"""Gray: one channel of several, y = sum w_c x_c. The weights of ITU-R BT.601 (0.299, 0.587, 0.114; Pillow's "L" rounds them to
whole numbers afterwards, torchvision's rgb_to_grayscale has 0.2989)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Gray:
    """weights: of the channels, in the order that the app feeds them, shape (C,)."""

    weights: Array = field(default_factory=lambda: constant([0.299, 0.587, 0.114]))
    kind: ClassVar[str] = "gray"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        weights = numbers(self.weights, "weights")
        if weights.ndim != 1:
            raise StatisticsError(f"weights: expected one per channel, got the shape {weights.shape}")
        object.__setattr__(self, "weights", weights)

    def transform(self) -> Transform:
        return Transform((Step("Mix", (self.weights,)),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Gray:
        raise StatisticsError("no scikit-learn class makes images gray")
