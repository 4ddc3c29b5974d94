"""Select: columns taken by number, in any order; what is not named is dropped. numpy.take along the feature axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import places
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Select:
    """columns: numbers of the raw features from 0 on, shape (F_out,). width: how many raw features there are."""

    columns: Array
    width: int
    kind: ClassVar[str] = "select"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", places(self.columns, self.width)[0])

    def transform(self) -> Transform:
        return Transform((Step("Select", (self.columns,), {"features": self.width}),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Select:
        raise StatisticsError("no scikit-learn class only selects columns")
