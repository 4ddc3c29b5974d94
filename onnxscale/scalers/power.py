"""Power: Yeo-Johnson or Box-Cox, then a z-score where asked. scikit-learn's PowerTransformer
(sklearn/preprocessing/_data.py, transform: the power transform per feature, then its inner StandardScaler)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.standard import Standard
from onnxscale.scalers.states import inner
from onnxscale.scalers.values import divisor, numbers, optional, same_shape
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

METHODS = {"yeo-johnson": "YeoJohnson", "box-cox": "BoxCox"}


@dataclass(frozen=True, eq=False)
class Power:
    """lambdas: one power per feature, shapes () or (F,), float64. method: "yeo-johnson" or "box-cox" (x above zero).

    mean, std: of the transformed values; subtracted and divided by after it, or None. Same shape, float64.
    """

    lambdas: Array
    method: str = "yeo-johnson"
    mean: Array | None = None
    std: Array | None = None
    kind: ClassVar[str] = "power"
    sklearn: ClassVar[str] = "PowerTransformer"

    def __post_init__(self) -> None:
        if self.method not in list(METHODS):
            raise StatisticsError(f"method: expected one of {', '.join(METHODS)}, got {self.method!r}")
        object.__setattr__(self, "lambdas", numbers(self.lambdas, "lambdas"))
        object.__setattr__(self, "mean", optional(numbers, self.mean, "mean"))
        object.__setattr__(self, "std", optional(divisor, self.std, "std"))
        same_shape(lambdas=self.lambdas, mean=self.mean, std=self.std)

    def transform(self) -> Transform:
        first = Transform((Step(METHODS[self.method], (self.lambdas,)),))
        return first | Standard(self.mean, self.std).transform()

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Power:
        if "lambdas_" not in state:
            raise StatisticsError("this PowerTransformer is not fitted: it has no lambdas_")
        method = str(state.get("method", "yeo-johnson"))
        if not state.get("standardize", True):
            return cls(state["lambdas_"], method)
        if "_scaler" not in state:
            raise StatisticsError(
                "this PowerTransformer standardizes, but has no _scaler: the mean and std are missing"
            )
        after = Standard.from_sklearn(inner(state["_scaler"]))
        return cls(state["lambdas_"], method, after.mean, after.std)
