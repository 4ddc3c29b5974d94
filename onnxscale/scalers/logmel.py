"""Log-mel spectra under the top of their own clip, max(x, top - below), then shifted and divided, as Whisper takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.instance import axes
from onnxscale.scalers.values import divisor, numbers
from onnxscale.step import Step, constant
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class LogMel:
    """max(x, top - below), then (x + shift) / divisor, top the largest value of the clip. x: log10 of mel energies. Whisper's
    (transformers, feature_extraction_whisper.py) is 8, 4, 4. over: the axes of a clip, mel bins and frames."""

    over: Any = (-2, -1)
    below: float = 8.0
    shift: float = 4.0
    divisor: float = 4.0
    kind: ClassVar[str] = "logmel"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        axes(self.over)
        numbers(self.below, "below"), numbers(self.shift, "shift"), divisor(self.divisor, "divisor")

    def transform(self) -> Transform:
        floor = Step("TopFloor", (), {"over": axes(self.over), "below": float(self.below)})
        return Transform((floor, Step("Add", (constant(self.shift),)), Step("Div", (constant(self.divisor),))))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> LogMel:
        raise StatisticsError("no scikit-learn class is a scaler of sound")
