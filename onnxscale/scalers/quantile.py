"""Quantile: the rank among the training quantiles. scikit-learn's QuantileTransformer (sklearn/preprocessing/_data.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers, optional
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform

OUTPUTS = ("uniform", "normal")


@dataclass(frozen=True, eq=False)
class Quantile:
    """quantiles: of the training data, not falling along the first dimension, shape (Q,) or (Q, F), float64.

    references: their ranks, shape (Q,), rising from 0 to 1; None takes Q even steps. output: "uniform" or "normal".
    """

    quantiles: Array
    references: Array | None = None
    output: str = "uniform"
    kind: ClassVar[str] = "quantile"
    sklearn: ClassVar[str] = "QuantileTransformer"

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise StatisticsError(f"output: expected one of {', '.join(OUTPUTS)}, got {self.output!r}")
        quantiles = numbers(self.quantiles, "quantiles")
        if quantiles.ndim == 0:
            raise StatisticsError("quantiles: expected a list of at least one number per feature")
        if (np.diff(quantiles, axis=0) < 0).any():
            raise StatisticsError(
                "quantiles fall somewhere along their first dimension: are rows and columns exchanged?"
            )
        references = optional(numbers, self.references, "references")
        references = constant(np.linspace(0, 1, len(quantiles))) if references is None else references
        if references.shape != quantiles.shape[:1]:
            raise StatisticsError(f"{len(quantiles)} quantiles need as many references, got shape {references.shape}")
        if references[0] != 0 or (len(references) > 1 and references[-1] != 1) or (np.diff(references) <= 0).any():
            raise StatisticsError("references: expected rising numbers from 0 to 1")
        object.__setattr__(self, "quantiles", quantiles)
        object.__setattr__(self, "references", references)

    def transform(self) -> Transform:
        assert self.references is not None
        return Transform((Step("Quantile", (self.quantiles, self.references), {"output": self.output}),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Quantile:
        if "quantiles_" not in state or "references_" not in state:
            raise StatisticsError("this QuantileTransformer is not fitted: it has no quantiles_ and references_")
        return cls(state["quantiles_"], state["references_"], str(state.get("output_distribution", "uniform")))
