"""Select: columns taken by their number, in any order, any number of times: y[..., j] = x[..., c_j].

Drops, reorders and repeats features, so what follows may be made for another width. Operand: the numbers, shape (F_out,).
options: features, the number of features before the step.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.arithmetic import brief
from onnxscale.steps.rownorm import axis_of


def _evaluate(x: Array, step: Step, place: Place) -> Array:
    return np.take(x, step.operands[0].astype(np.int64), axis=axis_of(place))


def axis_in(build: Builder) -> int:
    """The feature axis as an attribute of a node, counted from the front where the rank is known."""
    axis = build.axis + build.rank if build.axis < 0 and build.rank is not None else build.axis
    if axis < 0 and build.opset < 11:
        raise build.refuse("the rank of the tensor is unknown, and counting axes from the end needs opset 11")
    return axis


def _nodes(build: Builder, x: str, step: Step) -> str:
    return build.node("Gather", x, build.tensor(step.operands[0].astype(np.int64), "columns"), axis=axis_in(build))


def _shape(step: Step) -> tuple[int, ...]:
    features = int(step.options.get("features", 0))
    return (features or int(step.operands[0].max()) + 1,)


COLUMNS = {
    "Select": Operator(
        _evaluate,
        _nodes,
        lambda step: f"columns {brief(step.operands[0], 8)}",
        shape=_shape,
        elementwise=False,
        width=lambda step: len(step.operands[0]),
        moves=True,
    ),
}
