"""Scalers of sound that nobody fits: decibels above a floor, samples of a recording, log-mel spectra under their own top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.instance import axes
from onnxscale.scalers.values import divisor, numbers
from onnxscale.step import Step, constant
from onnxscale.transform import Transform

NO_SKLEARN = "no scikit-learn class is a scaler of sound"


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
        raise StatisticsError(NO_SKLEARN)


@dataclass(frozen=True, eq=False)
class Pcm:
    """x / 2^(bits - 1): samples of a recording as values from -1 to 1. unsigned: 2^(bits - 1) is silence, as in 8-bit WAV."""

    bits: int = 16
    unsigned: bool = False
    kind: ClassVar[str] = "pcm"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 2 <= self.bits <= 32:
            raise StatisticsError(f"bits: expected a whole number from 2 to 32, got {self.bits!r}")

    def transform(self) -> Transform:
        half = constant(2.0 ** (self.bits - 1))
        silence = (Step("Sub", (half,)),) if self.unsigned else ()
        return Transform((*silence, Step("Div", (half,))))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Pcm:
        raise StatisticsError(NO_SKLEARN)


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
        raise StatisticsError(NO_SKLEARN)
