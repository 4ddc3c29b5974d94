"""Transpose: the raw tensor in another order of dimensions, as NHWC for NCHW; it comes before every other step, whose features
lie where they lie in the model. Mix: one channel of several, y = sum w_c x_c, as images are made gray.

options of Transpose: order, as text: dimension i of the result is dimension order[i] of the raw tensor (numpy.transpose).
Operand of Mix: the weights, shape (C,).
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.arithmetic import brief
from onnxscale.steps.columns import axis_in
from onnxscale.steps.reducing import reduced
from onnxscale.steps.rownorm import axis_of


def order_of(step: Step) -> tuple[int, ...]:
    return tuple(int(a) for a in str(step.options["order"]).split(","))


def _transposed(x: Array, step: Step, place: Place) -> Array:
    del place
    return np.transpose(x, order_of(step))


def _nodes(build: Builder, x: str, step: Step) -> str:
    return build.node("Transpose", x, perm=list(order_of(step)))


def _mixed(x: Array, step: Step, place: Place) -> Array:
    return np.asarray((x * place(step.operands[0])).sum(axis=axis_of(place), keepdims=True))


def _mix_nodes(build: Builder, x: str, step: Step) -> str:
    weighed = build.node("Mul", x, build.constant(step.operands[0], "weights"))
    return reduced(build, "ReduceSum", weighed, [axis_in(build)])


LAYOUT = {
    "Transpose": Operator(
        _transposed, _nodes, lambda step: f"dimensions in the order {step.options['order']}", elementwise=False,
        shape=lambda step: (), moves=True, permutes=order_of,
    ),
    "Mix": Operator(
        _mixed, _mix_nodes, lambda step: f"channels weighed by {brief(step.operands[0])} and added up", elementwise=False,
        width=lambda step: 1, ulps=4.0,
    ),
}  # fmt: skip
