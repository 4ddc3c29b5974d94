"""Binarizer: 1 above a threshold, else 0. scikit-learn's Binarizer (sklearn/preprocessing/_data.py, binarize)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.scalers.values import numbers
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Binarizer:
    """threshold: above it is 1, at it and below it 0; shapes () or (F,), float64."""

    threshold: Array
    kind: ClassVar[str] = "binarizer"
    sklearn: ClassVar[str] = "Binarizer"

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", numbers(self.threshold, "threshold"))

    def transform(self) -> Transform:
        return Transform((Step("Binarize", (self.threshold,)),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Binarizer:
        return cls(state.get("threshold", 0.0))
