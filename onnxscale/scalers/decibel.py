"""Decibels above a floor, (x + floor) / floor, as vocoders and speech models take spectra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import divisor
from onnxscale.step import Step, constant
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Decibel:
    """(x + floor) / floor: 0 at -floor dB, 1 at 0 dB. clip: whether what lies below the floor is raised to it first."""

    floor: float = 40.0
    clip: bool = False
    kind: ClassVar[str] = "decibel"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        divisor(self.floor, "floor")

    def transform(self) -> Transform:
        floor = constant(self.floor)
        clip = (Step("Max", (-floor,)),) if self.clip else ()
        return Transform((*clip, Step("Add", (floor,)), Step("Div", (floor,))))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Decibel:
        raise StatisticsError("no scikit-learn class is a scaler of sound")
