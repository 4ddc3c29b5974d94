"""Image channels: x * rescale, then (x - mean) / std. Hugging Face image processors (transformers/image_transforms.py:
rescale multiplies by rescale_factor, normalize subtracts the mean and divides by the std), torchvision's Normalize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import divisor, numbers, optional, same_shape
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Image:
    """rescale: multiplies the pixels first (1/255), or None. mean, std: per channel or one for all, or None. float64."""

    rescale: Array | None = None
    mean: Array | None = None
    std: Array | None = None
    kind: ClassVar[str] = "image"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rescale", optional(divisor, self.rescale, "rescale"))
        object.__setattr__(self, "mean", optional(numbers, self.mean, "mean"))
        object.__setattr__(self, "std", optional(divisor, self.std, "std"))
        same_shape(mean=self.mean, std=self.std)

    def transform(self) -> Transform:
        steps = (("Mul", self.rescale), ("Sub", self.mean), ("Div", self.std))
        return Transform(tuple(Step(op, (values,)) for op, values in steps if values is not None))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Image:
        raise StatisticsError("no scikit-learn class is an image scaler")
