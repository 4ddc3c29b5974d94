"""Elementary functions without constants, as numpy computes them, and what undoes each.

    Log, Exp        log x, exp x                    Log1p, Expm1    log(1 + x), exp(x) - 1
    Log10, Pow10    log10 x, 10^x                   Log2, Pow2      log2 x, 2^x
    Sqrt, Square    the square root, x^2            Asinh, Sinh     arcsinh x, sinh x

Outside its domain a function is NaN, at the edge infinite, as in numpy. As nodes, where ONNX or a runtime's float64 lacks one:
    log10 x = log x / log 10
    asinh x = sign(x) (log1p(s + s^2 / (1 + sqrt(s^2 + 1))) + log max(|x| / max(s, 1), 1)),    s = min(|x|, 2^500)
    sinh x  = tanh x ((e / 2) e + 1 / 2 / e / e),     e = exp(|x| / 2), which does not overflow before sinh x does
Square undoes Sqrt on its image; nothing undoes Square, which is not monotone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.functions import clamp, expm1, log1p, scalar, sign


def _asinh(build: Builder, x: str) -> str:
    one = scalar(build, 1.0)
    size = build.node("Abs", x)
    s = clamp(build, size, None, 2.0 ** (500 if build.dtype == np.float64 else 60), "arcsinh")
    square = build.node("Mul", s, s)
    root = build.node("Sqrt", build.node("Add", square, one))
    near = log1p(build, build.node("Add", s, build.node("Div", square, build.node("Add", root, one))))
    beyond = build.node("Div", size, build.node("Max", s, one))
    far = build.node("Log", build.node("Max", beyond, one))
    return build.node("Mul", build.node("Add", near, far), sign(build, x))


def _sinh(build: Builder, x: str) -> str:
    root, half = build.node("Exp", build.node("Mul", build.node("Abs", x), scalar(build, 0.5))), scalar(build, 0.5)
    grown = build.node("Mul", build.node("Mul", half, root), root)
    shrunk = build.node("Div", build.node("Div", half, root), root)
    return build.node("Mul", build.node("Tanh", x), build.node("Add", grown, shrunk))


def _scaled_log(base: float) -> Callable[[Builder, str], str]:
    return lambda build, x: build.node("Div", build.node("Log", x), scalar(build, float(np.log(base))))


def _power_of(base: float) -> Callable[[Builder, str], str]:
    return lambda build, x: build.node("Pow", scalar(build, base), x)


def _plain(op: str) -> Callable[[Builder, str], str]:
    return lambda build, x: build.node(op, x)


def _row(
    function: Callable[[Array], Array],
    nodes: Callable[[Builder, str], str],
    prose: str,
    inverse: str,
    ulps: float = 4.0,
) -> Operator:
    def evaluate(x: Array, step: Step, place: Place) -> Array:
        del step, place
        return np.asarray(function(x))

    return Operator(
        evaluate,
        lambda build, x, step: nodes(build, x),
        lambda step: prose,
        inverse=lambda step: (Step(inverse),) if inverse else None,
        slope=lambda step: np.ones(()) if prose != "square" else None,
        ulps=ulps,
    )


ELEMENTARY = {
    "Log": _row(np.log, _plain("Log"), "natural logarithm", "Exp"),
    "Exp": _row(np.exp, _plain("Exp"), "exponential", "Log"),
    "Log1p": _row(np.log1p, log1p, "logarithm of 1 + x", "Expm1"),
    "Expm1": _row(np.expm1, expm1, "exponential less 1", "Log1p", 8.0),
    "Log10": _row(np.log10, _scaled_log(10.0), "logarithm to base 10", "Pow10"),
    "Pow10": _row(lambda x: np.power(x.dtype.type(10), x), _power_of(10.0), "10 to the power", "Log10"),
    "Log2": _row(np.log2, _scaled_log(2.0), "logarithm to base 2", "Pow2"),
    "Pow2": _row(np.exp2, _power_of(2.0), "2 to the power", "Log2"),
    "Sqrt": _row(np.sqrt, _plain("Sqrt"), "square root", "Square", 0.0),
    "Square": _row(np.square, lambda build, x: build.node("Mul", x, x), "square", "", 0.0),
    "Asinh": _row(np.arcsinh, _asinh, "inverse hyperbolic sine", "Sinh", 8.0),
    "Sinh": _row(np.sinh, _sinh, "hyperbolic sine", "Asinh", 8.0),
}
