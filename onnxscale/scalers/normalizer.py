"""Normalizer: each row divided by its own norm. scikit-learn's Normalizer (sklearn/preprocessing/_data.py, normalize)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.step import Option, Step
from onnxscale.transform import Transform

NORMS = ("l1", "l2", "max")


@dataclass(frozen=True, eq=False)
class Normalizer:
    """norm: "l1", "l2" or "max". features: how many a row has, or None where any number will do."""

    norm: str = "l2"
    features: int | None = None
    kind: ClassVar[str] = "normalizer"
    sklearn: ClassVar[str] = "Normalizer"

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise StatisticsError(f"norm: expected one of {', '.join(NORMS)}, got {self.norm!r}")
        if self.features is not None and (not isinstance(self.features, int) or self.features < 1):
            raise StatisticsError(f"features: expected a number from 1 on, got {self.features!r}")

    def transform(self) -> Transform:
        options: dict[str, Option] = {"norm": self.norm}
        return Transform((Step("RowNorm", (), options | ({"features": self.features} if self.features else {})),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Normalizer:
        # nothing is fitted, so an estimator that never saw data is fine too
        features = state.get("n_features_in_")
        return cls(str(state.get("norm", "l2")), None if features is None else int(features))
