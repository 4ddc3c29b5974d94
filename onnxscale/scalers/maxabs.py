"""Max-abs: x / max_abs, clipped to [-1, 1] where asked. scikit-learn's MaxAbsScaler (sklearn/preprocessing/_data.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import divisor
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class MaxAbs:
    """max_abs: largest absolute value, above zero, shapes () or (F,), float64. clip: cut to [-1, 1]."""

    max_abs: Array
    clip: bool = False
    kind: ClassVar[str] = "maxabs"
    sklearn: ClassVar[str] = "MaxAbsScaler"

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_abs", divisor(self.max_abs, "max_abs"))

    def transform(self) -> Transform:
        clip = (Step("Max", (constant(-1.0),)), Step("Min", (constant(1.0),))) if self.clip else ()
        return Transform((Step("Div", (self.max_abs,)), *clip))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> MaxAbs:
        if "scale_" not in state:
            raise StatisticsError("this MaxAbsScaler is not fitted: it has no scale_")
        return cls(state["scale_"], bool(state.get("clip", False)))
