"""Select: columns taken by number, in any order; what is not named is dropped. numpy.take along the feature axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers
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
        columns = numbers(self.columns, "columns")
        if isinstance(self.width, bool) or not isinstance(self.width, int) or self.width < 1:
            raise StatisticsError(f"width: expected a whole number from 1 on, got {self.width!r}")
        if columns.ndim != 1 or not np.isin(columns, np.arange(self.width)).all():
            raise StatisticsError(f"columns: expected a list of whole numbers from 0 to {self.width - 1}")
        object.__setattr__(self, "columns", columns)

    def transform(self) -> Transform:
        return Transform((Step("Select", (self.columns,), {"features": self.width}),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Select:
        raise StatisticsError("no scikit-learn class only selects columns")
