"""The model's own arithmetic after a scaled tensor: Sub, Add, Mul, Div with a constant are steps like the scaler's.

    (a x + b - c) / d  =  (a / d) x + (b - c) / d

composed in float64, so that a layer behind them absorbs both, and the nodes themselves go. Where no layer absorbs, one
Sub and one Mul with composed constants (the zero as a pair hi + lo where it needs one) stand for the scaler and the
model's nodes together. Trees see each step rounded as the model rounds it, and absorb that exactly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxscale.folding.base import Carried, Error, Ints, Refusal
from onnxscale.folding.bound import DROPPED, Range
from onnxscale.folding.movement import Move, Moved
from onnxscale.folding.nodes import lowered, picked
from onnxscale.precision import UNIT
from onnxscale.step import Affine, Array, Step
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

MIRRORED = ("Add", "Mul", "Sub")


def arithmetic(move: Move) -> Moved:
    """The node as further steps of the carried transform."""
    op, node = move.node.op_type, move.node
    at = 0 if node.input[0] in move.carried else 1
    if len(node.input) != 2 or (at and op not in MIRRORED) or node.input[1 - at] in move.carried:
        return Refusal(f"{op} of the scaled values with something that is no constant")
    x = move.carried[node.input[at]]
    c = move.constant(node.input[1 - at])
    if isinstance(c, Refusal):
        return c
    if c.dtype.kind != "f" or c.ndim > x.index.ndim or (op == "Div" and (c == 0).any()) or not np.isfinite(c).all():
        return Refusal(f"{op} with a constant of shape {c.shape} that cannot be composed")
    c = c.astype(np.float64).reshape([1] * (x.index.ndim - c.ndim) + [*c.shape])
    try:
        dims = np.broadcast_shapes(x.index.shape, c.shape)
    except ValueError:
        return Refusal(f"{op} with a constant of shape {c.shape}, which does not fit")
    features: list[int] = [*dims]
    index = np.broadcast_to(x.index, dims)
    shape = tuple(s if d == 1 else d for s, d in zip(x.shape, features, strict=True))
    ours = picked(x, x.transform, index)
    seen = picked(x, x.seen or x.transform, index)
    if isinstance(ours, Refusal) or isinstance(seen, Refusal):
        return (
            ours
            if isinstance(ours, Refusal)
            else Refusal("the scaler cannot be followed through the model's own arithmetic")
        )
    inner = dims[next((i for i, d in enumerate(dims) if d != 1), len(dims)) :]
    values = np.broadcast_to(c, dims).reshape(inner)
    steps = (Step("Mul", (-np.ones(()),)), Step("Add", (values,))) if op == "Sub" and at else (Step(op, (values,)),)
    own = tuple(Step(s.op, tuple(_lie(v, x.index, dims) for v in s.operands), s.options) for s in x.own)
    rounded = Transform((Step("Cast", (), {"to": x.dtype}),))
    return [
        replace(
            x, name=node.output[0], alias=x.source, index=np.arange(index.size, dtype=np.int64).reshape(dims), shape=shape,
            transform=ours[0] | Transform(steps), own=(*own, *steps), seen=seen[0] | rounded | Transform(steps),
            roots=(index if x.roots is None else np.where(index < 0, -1, x.roots[np.maximum(index, 0)])).ravel(),
        )
    ]  # fmt: skip


def _lie(values: Array, index: Ints, dims: tuple[int, ...]) -> Array:
    """A value per old feature as a value per new one."""
    if values.ndim == 0:
        return values
    inner = dims[next((i for i, d in enumerate(dims) if d != 1), len(dims)) :]
    return np.asarray(np.broadcast_to(values.ravel()[index], dims).reshape(inner))


def scaler(carried: Carried) -> Affine | None:
    """The scaler alone, without the model's own arithmetic, at each position."""
    if not carried.own:
        return carried.affine()
    steps = carried.transform.steps[: len(carried.transform.steps) - len(carried.own)]
    alone = Transform((*steps, Step("Add", (np.zeros(carried.transform.shape),))))
    return replace(carried, transform=alone).affine()


def noise(carried: Carried, span: Range) -> Array:
    """What the model's own arithmetic has rounded, at each position: |error| of the scaled value in the original. Its input
    may be of a narrower type than the arithmetic is."""
    unit = UNIT[carried.passed[0]]
    if not carried.own and unit <= UNIT.get(carried.dtype, 1.0):
        return np.zeros(())
    base = scaler(carried)
    if base is None:
        return np.full((), np.inf)
    ends = [base.scale * v + base.shift for v in (span.low, span.high)]
    error = unit * np.maximum(*np.abs(ends))
    for step in carried.own:
        factor = np.abs(OPERATORS[step.op].affine(step).scale)  # type: ignore[union-attr]
        ends = [
            OPERATORS[step.op].evaluate(v, Step(step.op, (carried.at(step.operands[0], 0.0),)), np.asarray)
            for v in ends
        ]
        error = error * carried.at(factor, 1.0) + unit * np.maximum(*np.abs(ends))
    return np.asarray(error)


def nodes_of(transform: Transform, dtype: str) -> list[Step]:
    """Composed nodes in `dtype`: Sub, Mul or Div; a second Sub only where the zero needs it."""
    affine = transform.affine()
    steps = lowered(transform, "split", dtype)
    if affine is not None and [s.op for s in steps[:2]] == ["Sub", "Sub"]:
        small = np.max(np.abs(affine.scale * steps[1].operands[0])) <= DROPPED * UNIT[dtype]
        return [steps[0], *steps[2:]] if small else steps
    return steps


def composed_error(carried: Carried, span: Range) -> Error:
    """The bound where composed nodes stand for the scaler and the model's own arithmetic."""
    affine = carried.affine()
    assert affine is not None
    z = np.maximum(*(np.abs(affine.scale * v + affine.shift) for v in (span.low, span.high)))
    own = noise(carried, span)
    folded = UNIT[carried.dtype] * (6 * z + DROPPED) + 2.0**-49 * np.abs(affine.shift)
    return Error(float(np.max(own + folded)), float(np.max(own)), float(np.max(z)))
