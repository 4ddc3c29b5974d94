"""Affine: x * scale + shift, written down as it is. For configurations that multiply and add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers, same_shape
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Affine:
    """scale: multiplies. shift: is added after. Shapes () or (F,), float64."""

    scale: Array
    shift: Array
    kind: ClassVar[str] = "affine"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", numbers(self.scale, "scale"))
        object.__setattr__(self, "shift", numbers(self.shift, "shift"))
        same_shape(scale=self.scale, shift=self.shift)

    def transform(self) -> Transform:
        return Transform((Step("Mul", (self.scale,)), Step("Add", (self.shift,))))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Affine:
        raise StatisticsError("no scikit-learn class is a bare affine scaler")
