"""A projection onto components, (x - mean) @ components.T, as PCA, IncrementalPCA and TruncatedSVD fit it
(sklearn/decomposition/_base.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import divisor, numbers, optional
from onnxscale.step import Array, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Projection:
    """components: (F_out, F_in). mean: subtracted before, (F_in,), or None. scale: divides the result, (F_out,), or None. float64."""

    components: Array
    mean: Array | None = None
    scale: Array | None = None
    kind: ClassVar[str] = "projection"
    sklearn: ClassVar[str] = "PCA IncrementalPCA TruncatedSVD"

    def __post_init__(self) -> None:
        components = numbers(self.components, "components")
        if components.ndim != 2:
            raise StatisticsError(f"components: expected a row for each result, got the shape {components.shape}")
        mean, scale = optional(numbers, self.mean, "mean"), optional(divisor, self.scale, "scale")
        for name, values, width in (("mean", mean, components.shape[1]), ("scale", scale, len(components))):
            if values is not None and values.shape != (width,):
                raise StatisticsError(f"{name}: expected {width} values, got the shape {values.shape}")
        for name, values in (("components", components), ("mean", mean), ("scale", scale)):
            object.__setattr__(self, name, values)

    def transform(self) -> Transform:
        steps = (("Sub", self.mean), ("Linear", self.components), ("Div", self.scale))
        return Transform(tuple(Step(op, (values,)) for op, values in steps if values is not None))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Projection:
        if state.get("components_") is None:
            raise StatisticsError("this estimator is not fitted: it has no components_")
        scale = None
        if state.get("whiten"):
            spread = np.sqrt(np.asarray(state["explained_variance_"], np.float64))
            scale = np.maximum(spread, np.finfo(np.asarray(state["explained_variance_"]).dtype).eps)
        return cls(np.asarray(state["components_"], np.float64), state.get("mean_"), scale)
