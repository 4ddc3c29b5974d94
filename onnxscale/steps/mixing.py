"""Linear: every feature made of all of them, y = W x. Monomials: products of features, as PolynomialFeatures makes them.

Operand of Linear: W, shape (F_out, F_in) (sklearn/decomposition/_base.py: X @ components_.T).
Operand of Monomials: the features that each product multiplies, shape (F_out, degree), -1 for 1; multiplied from the last to the
first, as sklearn/preprocessing/_polynomial.py does. options: features, the number before.
Both work on the last axis of what has one, and on the feature axis of the rest by way of a transposition.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.columns import axis_in
from onnxscale.steps.rownorm import axis_of


def _mixed(x: Array, step: Step, place: Place) -> Array:
    axis = axis_of(place)
    return np.asarray(np.moveaxis(np.moveaxis(x, axis, -1) @ step.operands[0].astype(x.dtype).T, -1, axis))


def _mix_nodes(build: Builder, x: str, step: Step) -> str:
    if build.rank is None and build.axis != -1:
        raise build.refuse("the rank of the tensor is unknown, so the features must lie at its end (--axis -1)")
    rank = build.rank or 2
    axis = build.axis % rank
    order = [*(i for i in range(rank) if i != axis), axis]
    last = axis == rank - 1 or build.rank is None
    moved = x if last else build.node("Transpose", x, perm=order)
    y = build.node("MatMul", moved, build.tensor(step.operands[0].T.astype(build.dtype), "weights"))
    return y if last else build.node("Transpose", y, perm=[order.index(i) for i in range(rank)])


def _mix_noise(x: Array, step: Step, place: Place, unit: float) -> Array:
    """A sum of n products is off by n units of the sum of their sizes (Higham 2002, section 3.1)."""
    sizes = _mixed(np.abs(x), Step("Linear", (np.abs(step.operands[0]),)), place)
    return np.asarray(2 * (step.operands[0].shape[1] + 2) * unit * sizes)


def _places(step: Step) -> Array:
    """The columns of each factor, the added column of ones for -1."""
    factors = step.operands[0].astype(np.int64)
    return np.where(factors < 0, int(step.options["features"]), factors)


def _products(x: Array, step: Step, place: Place) -> Array:
    axis = axis_of(place)
    shape = list(x.shape)
    shape[axis] = 1
    wide = np.concatenate([x, np.ones(shape, x.dtype)], axis=axis)
    places = _places(step)
    y = np.take(wide, places[:, -1], axis=axis)
    for k in range(places.shape[1] - 2, -1, -1):
        y = y * np.take(wide, places[:, k], axis=axis)
    return np.asarray(y)


def _product_nodes(build: Builder, x: str, step: Step) -> str:
    axis = axis_in(build)
    first = build.node("Gather", x, build.tensor(np.array([0]), "first"), axis=axis)
    ones = build.node("Add", _zeros(build, first), build.constant(np.float64(1), "one"))
    wide = build.node("Concat", x, ones, axis=axis)
    places = _places(step)
    factors = [
        build.node("Gather", wide, build.tensor(places[:, k], "factors"), axis=axis) for k in range(places.shape[1])
    ]
    y = factors[-1]
    for factor in reversed(factors[:-1]):
        y = build.node("Mul", y, factor)
    return y


def _zeros(build: Builder, x: str) -> str:
    """0 of the shape of x, whatever x holds: NaN is neither below 1 nor not."""
    below = build.node("Cast", build.node("Less", x, build.constant(np.float64(1), "one")), to=build.dtype)
    return build.node("Mul", below, build.constant(np.float64(0), "zero"))


MIXING = {
    "Linear": Operator(
        _mixed, _mix_nodes, lambda step: f"multiply by a matrix of {step.operands[0].shape[0]} x {step.operands[0].shape[1]}",
        shape=lambda step: step.operands[0].shape[1:], width=lambda step: len(step.operands[0]), elementwise=False,
        ulps=4.0, noise=_mix_noise,
    ),
    "Monomials": Operator(
        _products, _product_nodes,
        lambda step: f"{len(step.operands[0])} products of up to {step.operands[0].shape[1]} features",
        shape=lambda step: (int(step.options["features"]),), width=lambda step: len(step.operands[0]), elementwise=False,
    ),
}  # fmt: skip
