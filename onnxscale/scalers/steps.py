"""Steps: a scaler written out as its operators, in order. What a record, a composition or a hand-written file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Steps:
    """steps: a list of {"op", "operands", "options"}, or a Transform. See `Transform.to_json`."""

    steps: Transform
    kind: ClassVar[str] = "steps"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.steps, Transform):
            object.__setattr__(self, "steps", Transform.from_json(self.steps))

    def transform(self) -> Transform:
        return self.steps

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Steps:
        raise StatisticsError("no scikit-learn class is a list of steps")
