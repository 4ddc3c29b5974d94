"""Quantile: the value's rank among the training quantiles, uniform in [0, 1] or as a normal variable; and its inverse.

scikit-learn's QuantileTransformer._transform_col (sklearn/preprocessing/_data.py). Operands: the quantiles q of shape
(Q, *features), rising, and their references r of shape (Q,), from 0 to 1. With the interval q_i <= x < q_(i+1) and
s = (r_(i+1) - r_i) / (q_(i+1) - q_i), the mean of an ascending and a descending numpy.interp is

    y = ((s (x - q_i) + r_i) - (s (q_(i+1) - x) - r_(i+1))) / 2           strictly inside the interval
    y = (r_i - -r_k) / 2, k the first with q_k = q_i                      on a quantile: ties give the middle of their ranks
uniform: y = r_last for x >= q_last; y = 0 for x <= q_0
normal:  y = 1 where x + 1e-7 > q_last; y = 0 where x - 1e-7 < q_0; then the normal quantile of y, cut to [1e-7 - eps, 1 - 1e-7 + eps]
inverse: p = x, or the normal distribution of x; the ends as above with 0 and 1; interp(p, r, q): s' (p - r_i) + q_i

Where an end applies twice the lower one wins. i is found by an unrolled binary search: a Gather and a comparison per bit of Q.
NaN stays NaN; infinity goes to the ends. Monotone, but it jumps at ties and at the ends.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps import normal
from onnxscale.steps.functions import clamp, features_of, flat, gather, is_nan, look_up, scalar, search, where

THRESHOLD = 1e-7
LOWEST = THRESHOLD - float(np.spacing(1))
HIGHEST = 1 - LOWEST


def _normal(step: Step) -> bool:
    return step.options.get("output", "uniform") == "normal"


def _ranks(quantiles: Array, references: Array) -> Array | None:
    """The value on each quantile, (Q, *features): the middle of the ranks of its ties; None where there are none."""
    wide = np.broadcast_to(references.reshape(-1, *(1,) * (quantiles.ndim - 1)), quantiles.shape)
    if (quantiles[1:] != quantiles[:-1]).all():
        return None
    first = np.array(wide)
    for i in range(1, len(quantiles)):
        first[i] = np.where(quantiles[i] == quantiles[i - 1], first[i - 1], wide[i])
    return np.asarray(0.5 * (wide - -first))


def _evaluate(x: Array, step: Step, place: Place) -> Array:
    kind = x.dtype.type
    quantiles, references = step.operands
    at, start = look_up(x, quantiles, place)
    q = np.append(flat(quantiles), np.inf).astype(x.dtype)
    r = np.append(references, references[-1]).astype(x.dtype)
    low, high, begin, end = q[at], q[at + 1], r[at - start], r[at - start + 1]
    slope = (end - begin) / (high - low)
    y = kind(0.5) * ((slope * (x - low) + begin) - (slope * (high - x) - end))
    ranks = _ranks(quantiles, references)
    y = np.where(x == low, begin if ranks is None else flat(ranks).astype(x.dtype)[at], y)
    bottom, top = place(quantiles[0]), place(quantiles[-1])
    if _normal(step):
        y = np.where(x + kind(THRESHOLD) > top, kind(1), y)
        y = np.where(x - kind(THRESHOLD) < bottom, kind(0), y)
        y = normal.quantile(np.clip(y, kind(LOWEST), kind(HIGHEST)))
    else:
        y = np.where(x >= top, kind(references[-1]), y)
        y = np.where(x <= bottom, kind(0), y)
    return np.where(np.isnan(x), x, y)


def _nodes(build: Builder, x: str, step: Step) -> str:
    quantiles, references = step.operands
    values = build.tensor(np.append(flat(quantiles), np.inf).astype(build.dtype), "quantiles")
    at, start = search(build, x, quantiles, values)
    rank = build.node("Sub", at, start)
    next_at, next_rank = (build.node("Add", i, build.tensor(np.array(1), "one")) for i in (at, rank))
    steps = build.tensor(np.append(references, references[-1]).astype(build.dtype), "references")
    low, high = build.node("Gather", values, at), build.node("Gather", values, next_at)
    begin, end = build.node("Gather", steps, rank), build.node("Gather", steps, next_rank)
    slope = build.node("Div", build.node("Sub", end, begin), build.node("Sub", high, low))
    up = build.node("Add", build.node("Mul", slope, build.node("Sub", x, low)), begin)
    down = build.node("Sub", build.node("Mul", slope, build.node("Sub", high, x)), end)
    inside = build.node("Mul", scalar(build, 0.5), build.node("Sub", up, down))
    ranks = _ranks(quantiles, references)
    on = begin if ranks is None else gather(build, flat(ranks), at, "ranks")
    y = where(build, build.node("Less", low, x), inside, on)
    if _normal(step):
        y = normal.quantile_nodes(build, clamp(build, y, LOWEST, HIGHEST, "a normal quantile"))
        least, most = normal.quantile(np.array([LOWEST, HIGHEST]))
        upper, lower = _beyond(build, x, quantiles[0], quantiles[-1])
        y = where(build, lower, scalar(build, least), where(build, upper, scalar(build, most), y))
    else:
        below_top = build.node("Less", x, build.constant(quantiles[-1], "highest"))
        y = where(build, below_top, y, scalar(build, float(references[-1])))
        above_bottom = build.node("Greater", x, build.constant(quantiles[0], "lowest"))
        y = where(build, above_bottom, y, scalar(build, 0.0))
    return where(build, is_nan(build, x), x, y)


def _beyond(build: Builder, x: str, bottom: Array, top: Array) -> tuple[str, str]:
    """Whether x + 1e-7 > top and x - 1e-7 < bottom. float32 cannot hold that sum; there x is compared with the last
    float32 number for which it is false."""
    if build.dtype == np.float64:
        near = scalar(build, THRESHOLD)
        upper = build.node("Greater", build.node("Add", x, near), build.constant(top, "highest"))
        return upper, build.node("Less", build.node("Sub", x, near), build.constant(bottom, "lowest"))
    high, low = (v.astype(build.dtype) for v in (top - THRESHOLD, bottom + THRESHOLD))
    kind = build.dtype.type
    high = np.where(high.astype(np.float64) + THRESHOLD > top, np.nextafter(high, kind(-np.inf)), high)
    low = np.where(low.astype(np.float64) - THRESHOLD < bottom, np.nextafter(low, kind(np.inf)), low)
    upper = build.node("Greater", x, build.constant(high, "highest"))
    return upper, build.node("Less", x, build.constant(low, "lowest"))


def _inverse(x: Array, step: Step, place: Place) -> Array:
    kind = x.dtype.type
    quantiles, references = step.operands
    p = normal.distribution(x) if _normal(step) else np.clip(x, kind(0), kind(1))
    at, _ = look_up(p, references, lambda v: v)
    start = place(features_of(quantiles)).astype(np.int64) * len(quantiles)
    q = np.append(flat(quantiles), 0.0).astype(x.dtype)
    r = np.append(references, 2.0).astype(x.dtype)
    low, high, begin, end = q[start + at], q[start + at + 1], r[at], r[at + 1]
    y = (high - low) / (end - begin) * (p - begin) + low
    if _normal(step):
        y = np.where(p + kind(THRESHOLD) > 1, place(quantiles[-1]), y)
        y = np.where(p - kind(THRESHOLD) < 0, place(quantiles[0]), y)
    return np.asarray(y)


def _inverse_nodes(build: Builder, x: str, step: Step) -> str:
    quantiles, references = step.operands
    p = normal.distribution_nodes(build, x) if _normal(step) else clamp(build, x, 0.0, 1.0, "undoing a quantile")
    steps = build.tensor(np.append(references, 2.0).astype(build.dtype), "references")
    values = build.tensor(np.append(flat(quantiles), 0.0).astype(build.dtype), "quantiles")
    rank, _ = search(build, p, references, steps)
    start = build.node("Cast", build.constant(features_of(quantiles), "feature"), to=np.int64)
    start = build.node("Mul", start, build.tensor(np.array(len(quantiles)), "stride"))
    at = build.node("Add", rank, start)
    next_at, next_rank = (build.node("Add", i, build.tensor(np.array(1), "one")) for i in (at, rank))
    low, high = build.node("Gather", values, at), build.node("Gather", values, next_at)
    begin, end = build.node("Gather", steps, rank), build.node("Gather", steps, next_rank)
    slope = build.node("Div", build.node("Sub", high, low), build.node("Sub", end, begin))
    y = build.node("Add", build.node("Mul", slope, build.node("Sub", p, begin)), low)
    if _normal(step):
        near, one, zero = (scalar(build, v) for v in (THRESHOLD, 1.0, 0.0))
        upper = build.node("Greater", build.node("Add", p, near), one)
        y = where(build, upper, build.constant(quantiles[-1], "highest"), y)
        lower = build.node("Less", build.node("Sub", p, near), zero)
        y = where(build, lower, build.constant(quantiles[0], "lowest"), y)
    return y


def _prose(step: Step) -> str:
    kind = "a normal variable" if _normal(step) else "[0, 1]"
    return f"rank among {len(step.operands[0])} quantiles, as {kind}"


def _slope(step: Step) -> Array:
    return np.ones(step.operands[0].shape[1:])


QUANTILE = {
    "Quantile": Operator(
        _evaluate,
        _nodes,
        _prose,
        # a single quantile maps everything to 0
        inverse=lambda step: (
            (Step("QuantileInverse", step.operands, step.options),) if len(step.operands[1]) > 1 else None
        ),
        slope=_slope,
        shape=lambda step: step.operands[0].shape[1:],
        continuous=False,
        ulps=16.0,
    ),
    "QuantileInverse": Operator(
        _inverse,
        _inverse_nodes,
        lambda step: f"undo: {_prose(step)}",
        inverse=lambda step: (Step("Quantile", step.operands, step.options),),
        slope=_slope,
        shape=lambda step: step.operands[0].shape[1:],
        continuous=False,
        ulps=16.0,
    ),
}
