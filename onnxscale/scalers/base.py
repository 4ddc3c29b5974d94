"""What every kind of scaler is: a frozen dataclass whose fields are its statistics, and the steps they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from onnxscale.transform import Transform


class Scaler(Protocol):
    """A fitted scaler. Its dataclass fields are the schema of its statistics file.

    kind: the name in a statistics file. sklearn: the scikit-learn class it stands for, or "".
    """

    kind: ClassVar[str]
    sklearn: ClassVar[str]

    def transform(self) -> Transform:
        """The steps, in the source framework's own formula and order."""
        ...

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Scaler:
        """From the attributes of a fitted scikit-learn estimator (`vars(estimator)`). Raises StatisticsError."""
        ...
