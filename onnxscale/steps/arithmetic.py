"""The elementary steps: Sub, Div, Mul, Add, Max, Min, each with one constant per feature.

Sub, Div: (x - c), x / c. Mul, Add: x * c, x + c. Max, Min: the two halves of a clip; NaN stays NaN, as in numpy.clip.
The inverse of Max and Min is the identity: on their image they change nothing. That is also what scikit-learn's
MinMaxScaler.inverse_transform does with clip=True (sklearn/preprocessing/_data.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxscale.step import Affine, Array, Builder, Operator, Place, Step, constant

BROADCAST = 8  # the opset in which Max and Min learned to broadcast


def _row(
    op: str,
    function: Callable[[Array, Array], Array],
    prose: str,
    affine: Callable[[Array], Affine] | None,
    inverse: str | None,
) -> Operator:
    def evaluate(x: Array, step: Step, place: Place) -> Array:
        return function(x, place(step.operands[0]))

    def nodes(build: Builder, x: str, step: Step) -> str:
        if op in ("Max", "Min") and build.opset < BROADCAST:
            return _clip(build, x, op, step.operands[0])
        return build.node(op, x, build.constant(step.operands[0], op.lower()))

    def as_affine(step: Step) -> Affine | None:
        return affine(step.operands[0]) if affine else None

    def undo(step: Step) -> tuple[Step, ...]:
        return (Step(inverse, step.operands),) if inverse else ()

    def slope(step: Step) -> Array:
        return np.sign(affine(step.operands[0]).scale) if affine else np.ones_like(step.operands[0])

    return Operator(evaluate, nodes, lambda step: prose.format(brief(step.operands[0])), as_affine, undo, slope)


def _clip(build: Builder, x: str, op: str, bound: Array) -> str:
    """One half of a clip before opset 8, where Max and Min neither broadcast nor take float64."""
    if bound.ndim or build.dtype != np.float32:
        raise build.refuse(
            f"a clip with a bound per feature, or in float64 before other steps, needs opset {BROADCAST}"
        )
    low, high = (float(bound), np.inf) if op == "Max" else (-np.inf, float(bound))
    return build.node("Clip", x, min=low, max=high)


def brief(values: Array, most: int = 4) -> str:
    """`3.5` or `[1, 2, 3, ... 20 values]`: constants in a line of prose."""
    flat = values.ravel()
    if values.ndim == 0:
        return f"{float(flat[0]):.6g}"
    shown = ", ".join(f"{float(v):.6g}" for v in flat[:most])
    return f"[{shown}]" if flat.size <= most else f"[{shown}, ... {flat.size} values]"


def _divided(c: Array) -> Affine:
    with np.errstate(divide="ignore", over="ignore"):
        return Affine(1.0 / c, np.zeros_like(c))


ARITHMETIC = {
    "Sub": _row("Sub", np.subtract, "subtract {}", lambda c: Affine(np.ones_like(c), -c), "Add"),
    "Add": _row("Add", np.add, "add {}", lambda c: Affine(np.ones_like(c), constant(c)), "Sub"),
    "Mul": _row("Mul", np.multiply, "multiply by {}", lambda c: Affine(constant(c), np.zeros_like(c)), "Div"),
    "Div": _row("Div", np.divide, "divide by {}", _divided, "Mul"),
    "Max": _row("Max", np.maximum, "raise to at least {}", None, None),
    "Min": _row("Min", np.minimum, "cut to at most {}", None, None),
}
