"""Samples of a recording, x / 2^(bits - 1), from -1 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.step import Step, constant
from onnxscale.transform import Transform


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
        raise StatisticsError("no scikit-learn class is a scaler of sound")
