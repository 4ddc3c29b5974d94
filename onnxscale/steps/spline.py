"""Spline: each feature as the values of a basis of piecewise polynomials, y[f, s] = sum_d P[f, j, s, d] (x - left[f, j])^d on the
piece j whose lower bound is the last at or below x. The results of a feature follow each other.

Operands: P, shape (F, J, S, degree + 1), the highest power last; the lower bounds of the pieces, (F, J), the first -inf; left, (F, J);
for a periodic spline the start and the period of each feature, (2, F): x is start + (x - start) mod period first.
options: missing, "zeros" where NaN gives zeros.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.functions import is_nan, require
from onnxscale.steps.reducing import unsqueezed
from onnxscale.steps.rownorm import axis_of


def _wrapped(x: Array, step: Step) -> Array:
    if len(step.operands) < 4:
        return x
    start, period = step.operands[3].astype(x.dtype)
    return np.asarray(start + np.mod(x - start, period))


def _evaluate(x: Array, step: Step, place: Place) -> Array:
    raw = np.moveaxis(x, axis_of(place), -1)
    y = _wrapped(raw, step)
    powers, bounds, left = step.operands[:3]
    with np.errstate(invalid="ignore"):
        piece = (~(y[..., None] < bounds.astype(x.dtype))).sum(axis=-1) - 1
    feature = np.arange(len(left))
    u = (y - left.astype(x.dtype)[feature, piece])[..., None]
    found = powers.astype(x.dtype)[feature, piece]
    total = found[..., -1]
    for d in range(powers.shape[3] - 2, -1, -1):
        total = total * u + found[..., d]
    if powers.shape[3] == 1:
        total = total + u * 0
    if step.options.get("missing") == "zeros":
        total = np.where(np.isnan(raw)[..., None], 0, total)
    flat = total.reshape(*total.shape[:-2], total.shape[-2] * total.shape[-1])
    return np.moveaxis(flat, -1, axis_of(place))


def _nodes(build: Builder, x: str, step: Step) -> str:
    require(build, 9, "a spline")
    if build.rank is None or build.axis % build.rank != build.rank - 1:
        raise build.refuse("a spline makes several columns of each feature, so the features must lie at the last axis")
    powers, bounds, left = step.operands[:3]
    features, pieces, width, count = powers.shape
    y = _wrap_nodes(build, x, step) if len(step.operands) > 3 else x
    apart = unsqueezed(build, y, [build.rank])
    below = build.node("Less", apart, build.tensor(bounds.astype(build.dtype), "bounds"))
    counts = build.node("Cast", build.node("Not", below), to=np.float32)
    one = build.tensor(np.ones((pieces, 1), np.float32), "ones")
    at = build.node("MatMul", counts, one)  # how many bounds are at or below, less 1, is the piece
    offset = (np.arange(features) * pieces - 1).astype(np.float32).reshape(-1, 1)
    at = build.node("Cast", build.node("Add", at, build.tensor(offset, "offset")), to=np.int64)
    place = build.node("Reshape", at, build.tensor(np.array([0] * (build.rank - 1) + [features]), "shape"))
    lefts = build.node("Gather", build.tensor(left.reshape(-1).astype(build.dtype), "left"), place, axis=0)
    u = unsqueezed(build, build.node("Sub", y, lefts), [build.rank])

    def power(d: int) -> str:
        table = powers[..., d].reshape(-1, width).astype(build.dtype)
        return build.node("Gather", build.tensor(table, f"power_{d}"), place, axis=0)

    total = power(count - 1)
    for d in range(count - 2, -1, -1):
        total = build.node("Add", build.node("Mul", total, u), power(d))
    if count == 1:
        total = build.node("Add", total, build.node("Mul", u, build.constant(np.float64(0), "zero")))
    if step.options.get("missing") == "zeros":
        bad = unsqueezed(build, is_nan(build, x), [build.rank])
        total = build.node("Where", bad, build.constant(np.float64(0), "zero"), total)
    return build.node("Reshape", total, build.tensor(np.array([0] * (build.rank - 1) + [features * width]), "shape"))


def _wrap_nodes(build: Builder, x: str, step: Step) -> str:
    """start + (x - start) mod period: the remainder of a division toward zero, and one period more where it is negative."""
    require(build, 10, "a periodic spline")
    start, period = (build.tensor(v.astype(build.dtype), "period") for v in step.operands[3])
    rest = build.node("Mod", build.node("Sub", x, start), period, fmod=1)
    low = build.node("Less", rest, build.constant(np.float64(0), "zero"))
    return build.node("Add", start, build.node("Where", low, build.node("Add", rest, period), rest))


def _noise(x: Array, step: Step, place: Place, unit: float) -> Array:
    """Horner's rule of degree d is off by 2 d units of the polynomial of the sizes; a wrapped x by a unit of itself."""
    powers, bounds, left, *rest = step.operands
    sizes = Step("Spline", (np.abs(powers), bounds, left, *rest), step.options)
    span = np.abs(np.where(np.isfinite(bounds), bounds, left)).max() + 1.0
    size = np.abs(_evaluate(x, sizes, place)) + np.abs(_evaluate(x, step, place)) + 1.0
    return np.asarray(4 * (powers.shape[3] + 1) * unit * size * span)


SPLINE = {
    "Spline": Operator(
        _evaluate, _nodes,
        lambda step: f"a basis of {step.operands[0].shape[2]} splines of degree {step.operands[0].shape[3] - 1} for each feature",
        shape=lambda step: (len(step.operands[0]),),
        width=lambda step: step.operands[0].shape[0] * step.operands[0].shape[2],
        elementwise=False, ulps=64.0, noise=_noise,
    )
}  # fmt: skip
