"""KBins: the number of the bin a value falls into, or one column per bin. scikit-learn's KBinsDiscretizer
(sklearn/preprocessing/_discretization.py, transform: numpy.searchsorted(bin_edges[1:-1], x, side="right"))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import numbers
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform

ENCODES = {"ordinal": "ordinal", "onehot": "onehot", "onehot-dense": "onehot"}


@dataclass(frozen=True, eq=False)
class KBins:
    """edges: per feature the rising edges of its bins, the outer two included; a list of F lists, float64.

    encode: "ordinal" keeps the shape; "onehot" gives one column per bin, feature after feature.
    Values beyond the outer edges belong to the first and the last bin.
    """

    edges: Sequence[Array]
    encode: str = "ordinal"
    kind: ClassVar[str] = "kbins"
    sklearn: ClassVar[str] = "KBinsDiscretizer"

    def __post_init__(self) -> None:
        if self.encode not in list(ENCODES):
            raise StatisticsError(f"encode: expected one of {', '.join(ENCODES)}, got {self.encode!r}")
        try:
            edges = tuple(numbers(row, f"edges[{i}]") for i, row in enumerate(self.edges))
        except TypeError:
            raise StatisticsError("edges: expected a list of edges for each feature") from None
        for i, row in enumerate(edges):
            if row.ndim != 1 or len(row) < 2 or (np.diff(row) < 0).any():
                raise StatisticsError(f"edges[{i}]: expected at least two numbers that do not fall")
        if not edges:
            raise StatisticsError("edges: expected the edges of at least one feature, got none")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "encode", ENCODES[self.encode])

    def transform(self) -> Transform:
        inner = [row[1:-1] for row in self.edges]
        table = np.full((max(1, *(len(row) for row in inner)), len(inner)), np.inf)
        for feature, row in enumerate(inner):
            table[: len(row), feature] = row
        bins = Step("Bins", (table,))
        if self.encode == "ordinal":
            return Transform((bins,))
        counts = [len(row) - 1 for row in self.edges]
        column = constant(np.repeat(np.arange(len(counts)), counts))
        number = constant(np.concatenate([np.arange(n) for n in counts]))
        return Transform((bins, Step("Select", (column,), {"features": len(counts)}), Step("Equal", (number,))))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> KBins:
        if "bin_edges_" not in state:
            raise StatisticsError("this KBinsDiscretizer is not fitted: it has no bin_edges_")
        return cls(
            tuple(np.asarray(row, np.float64) for row in state["bin_edges_"]), str(state.get("encode", "onehot"))
        )
