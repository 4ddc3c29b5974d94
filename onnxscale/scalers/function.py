"""Function: an elementary function by its name. scikit-learn's FunctionTransformer with a numpy function
(sklearn/preprocessing/_function_transformer.py: transform returns func(X))."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.states import function_name
from onnxscale.step import Step
from onnxscale.transform import Transform

FUNCTIONS = {
    "identity": (),
    "log": ("Log",),
    "log1p": ("Log1p",),
    "log10": ("Log10",),
    "log2": ("Log2",),
    "sqrt": ("Sqrt",),
    "arcsinh": ("Asinh",),
    "exp": ("Exp",),
    "expm1": ("Expm1",),
    "exp2": ("Pow2",),
    "square": ("Square",),
    "sinh": ("Sinh",),
}


@dataclass(frozen=True, eq=False)
class Function:
    """function: the name of the function, as numpy spells it: log1p, sqrt, arcsinh, ... ; "identity" changes nothing."""

    function: str
    kind: ClassVar[str] = "function"
    sklearn: ClassVar[str] = "FunctionTransformer"

    def __post_init__(self) -> None:
        if self.function not in list(FUNCTIONS):
            raise StatisticsError(f"function: expected one of {', '.join(FUNCTIONS)}, got {str(self.function)[:80]!r}")

    def transform(self) -> Transform:
        return Transform(tuple(Step(op) for op in FUNCTIONS[self.function]))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Function:
        full = function_name(state.get("func"))
        module, _, name = full.rpartition(".")
        if not full:
            return cls("identity")
        known = name in FUNCTIONS and name != "identity" and module in ("numpy", "numpy.core._multiarray_umath", "")
        if not known or state.get("kw_args"):
            raise StatisticsError(
                f"this FunctionTransformer calls {full[:80]!r}"
                f"{' with arguments' if state.get('kw_args') else ''}; known are numpy's {', '.join(FUNCTIONS)}"
            )
        return cls(name)
