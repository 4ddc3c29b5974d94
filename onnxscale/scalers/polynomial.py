"""Products and powers of features, as PolynomialFeatures makes them (sklearn/preprocessing/_polynomial.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations, combinations_with_replacement
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.step import Step
from onnxscale.transform import Transform

MOST, HIGHEST = 100_000, 64  # products of features, and the degree of one


@dataclass(frozen=True, eq=False)
class Polynomial:
    """Products of `least` to `degree` of `width` features, their powers only where not interaction_only, 1 first where
    include_bias."""

    width: int
    degree: int = 2
    least: int = 0
    interaction_only: bool = False
    include_bias: bool = True
    kind: ClassVar[str] = "polynomial"
    sklearn: ClassVar[str] = "PolynomialFeatures"

    def __post_init__(self) -> None:
        for name in ("width", "degree", "least"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise StatisticsError(f"{name}: expected a whole number, got {value!r}")
        if not self.width or not self.degree:
            raise StatisticsError("width and degree: expected numbers from 1 on")
        if self.width > MOST or max(self.degree, self.least) > HIGHEST:
            raise StatisticsError(f"expected at most {MOST:,} features and a degree of at most {HIGHEST}")

    def transform(self) -> Transform:
        rows = []
        for row in self._products():
            rows.append([*(-1 for _ in range(self.degree - len(row))), *row])
            if len(rows) > MOST:
                raise StatisticsError(f"more than {MOST:,} products of features")
        if not rows:
            raise StatisticsError("no product of features is left")
        return Transform((Step("Monomials", (np.array(rows, np.float64),), {"features": self.width}),))

    def _products(self) -> Iterator[tuple[int, ...]]:
        of = combinations if self.interaction_only else combinations_with_replacement
        listed = chain.from_iterable(of(range(self.width), d) for d in range(max(1, self.least), self.degree + 1))
        return chain([()] if self.include_bias else [], listed)

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Polynomial:
        if "n_features_in_" not in state:
            raise StatisticsError("this PolynomialFeatures is not fitted: it has no n_features_in_")
        degree = state.get("degree", 2)
        least, most = (0, degree) if isinstance(degree, int | np.integer) else degree
        return cls(
            int(state["n_features_in_"]), int(most), int(least), bool(state.get("interaction_only", False)),
            bool(state.get("include_bias", True)),
        )  # fmt: skip
