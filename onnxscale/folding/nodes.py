"""A transform written as nodes after a tensor, in a given arithmetic: what a bake puts after an input, and what a fold
leaves before a node that cannot absorb."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from onnxscale import graph
from onnxscale import precision as precisions
from onnxscale.folding.base import Carried, Ints, Refusal
from onnxscale.graph import ELEMENTS, Writer
from onnxscale.step import Array, Step, align
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

DOUBLE_CLIP = 8
MOST_NAMES = 8


def emit(writer: Writer, x: str, steps: list[Step], before: str, dtype: str, after: str) -> str:
    """The nodes of the steps, in `dtype`, from a tensor of type `before` to one of type `after`; the result's name."""
    start = x
    if before != dtype:
        x = writer.node("Cast", x, to=ELEMENTS[dtype])
    late = clips_at_the_end(steps) if writer.opset < DOUBLE_CLIP and dtype == "float64" != after else []
    for step in steps[: len(steps) - len(late)]:
        x = OPERATORS[step.op].nodes(writer, x, step)
    if dtype != after:
        x = writer.node("Cast", x, to=ELEMENTS[after])
    writer.dtype = np.dtype(after) if late else writer.dtype
    for step in late:
        x = OPERATORS[step.op].nodes(writer, x, step)
    return writer.node("Identity", x) if x == start else x


def normalizes(proto: onnx.ModelProto, name: str) -> bool:
    """Whether a layer normalization written in single nodes may read the tensor. onnxruntime fuses one together with a Cast
    before it, into an operator for two types that it has no kernel of; a Concat of one tensor keeps the Cast out of that."""
    names = [name]
    for node in proto.graph.node:  # what an Identity gives is the tensor itself
        if node.op_type == "Identity" and any(n in names for n in node.input):
            names += node.output
    return {"ReduceMean", "Sub"} <= {r.node.op_type for n in names[:MOST_NAMES] for r in graph.readers(proto.graph, n)}


def clips_at_the_end(steps: list[Step]) -> list[Step]:
    """The clips after which nothing comes. Runtimes have no float64 Max and Min before opset 8; but rounding is
    monotone, so a clip after the last Cast gives the same bits as one before it."""
    late: list[Step] = []
    while len(late) < len(steps) and steps[-1 - len(late)].op in ("Max", "Min"):
        late.insert(0, steps[-1 - len(late)])
    return late


def arithmetic(precision: str, dtype: str) -> str:
    """The type the nodes compute in."""
    return "float64" if precision == "exact" or dtype == "float64" else "float32"


def trimmed(values: Array) -> tuple[Array, int]:
    """A value per position without leading dimensions of one; and the axis its first dimension lies at."""
    axis = next((i for i, d in enumerate(values.shape) if d != 1), values.ndim)
    return (values.reshape(()), -1) if axis == values.ndim else (values.reshape(values.shape[axis:]), axis)


def placed(carried: Carried) -> tuple[Transform, int] | Refusal:
    """The transform as it is at the positions of a carried tensor, and the axis it lies at there."""
    return picked(carried, carried.transform, carried.index)


def picked(carried: Carried, t: Transform, index: Ints) -> tuple[Transform, int] | Refusal:
    """As `placed`, for another transform of the same features, or an index of a larger shape."""
    if (index < 0).any():
        affine = replace(carried, transform=t, index=index).affine()
        if affine is None:
            return Refusal("a tensor that the scaler covers only in part, and a scaler that is not affine")
        scale, axis = trimmed(affine.scale)
        shift = np.broadcast_to(affine.shift, index.shape).reshape(scale.shape)
        return Transform((Step("Mul", (scale,)), Step("Add", (shift,)))), axis
    if not t.elementwise or not _per_feature(t):
        return Refusal(f"{t.prose()} cannot be written after the features were moved")
    positions, axis = trimmed(index)

    def pick(values: Array) -> Array:
        if values.ndim == 0:
            return values
        whole = np.broadcast_to(align(values, len(t.shape), -len(t.shape)), t.shape)
        return np.asarray(whole.ravel()[positions])

    return Transform(tuple(Step(s.op, tuple(pick(v) for v in s.operands), s.options) for s in t.steps)), axis


def lowered(transform: Transform, precision: str, dtype: str) -> list[Step]:
    """The steps as they are written in this arithmetic."""
    return list(precisions.lowered(transform, "exact" if dtype == "float64" else precision).steps)


def _per_feature(t: Transform) -> bool:
    """Whether every operand holds one value per feature (a quantile table does not)."""
    return all(OPERATORS[s.op].shape(s) == np.broadcast_shapes(*(v.shape for v in s.operands)) for s in t.steps)
