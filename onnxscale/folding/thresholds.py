"""Splits of the scaled value as splits of the raw value: exact, found by bisection over the floats themselves.

With g(x) = cast(f(float64(x))), f monotone, a split asks `g(x) op t`. Let D be the raw values (infinities included)
whose g is not NaN: an interval. Mirrored where f falls, g rises on D, so {g <= t} and {g < t} are lower parts of D,
each ended by one raw float, and every split is an interval [a, b] of raw floats or the complement of one:

    LEQ, LT   a lower part of D             GT, GTE   the rest of D
    EQ        {g <= t} without {g < t}      NEQ       its complement: NaN != t is true, whatever the NaN track says
    NaN       raw values outside D go where the node sends NaN: they join the interval or its complement

Such a set is a comparison with one raw float when it is a half-line, a point, or everything or nothing (an infinite
threshold and LEQ or LT: x < -inf holds for no x). Otherwise it takes two nodes: WITHIN and OUTSIDE. Raw NaN is
answered for by the track: it goes where f(NaN) went.

The end of {g <= t} is searched over u, the pattern of x as sign and magnitude: integers in the order of the floats, with
-0.0 = 0.0 = 0. Each step compares g itself, so the answer is exact however f rounds, clips or overflows; the inverse of
f only tells where to begin. A library's log or pow can fall by an ULP where it should rise: after steps that are not
correctly rounded the floats next to each end are looked at too, and a fall is a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxscale.folding.base import Refusal
from onnxscale.step import Array, Step, align
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

Ints = npt.NDArray[np.int64]
Kind = np.dtype[Any]
LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, WITHIN, OUTSIDE = range(9)  # 0 to 6: the codes of TreeEnsemble's nodes_modes
ROUNDED = {"Sub", "Div", "Mul", "Add", "Max", "Min", "Cast"}  # correctly rounded, so monotone in floats too
BITS = {2: (np.uint16, np.int64(0x7C00)), 4: (np.uint32, np.int64(0x7F800000)), 8: (np.uint64, np.int64(0x7FF0 << 48))}
FAR = 1 << 14  # beyond this distance in floats a guess is no help
BLOCK = 1 << 16  # splits at a time: what is in work stays in the cache
_AT_MOST = np.array([m in (LEQ, GT, EQ, NEQ) for m in range(7)])
_BELOW = np.array([m in (LT, GTE, EQ, NEQ) for m in range(7)])
_HOLDS = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)


@dataclass(frozen=True)
class Splits:
    """One split a row. feature: of the transform, flat. mode: LEQ to NEQ, in an answer also WITHIN and OUTSIDE. value:
    the threshold, in the dtype of the input (of an interval its lower end). upper: its upper end. track: NaN is true."""

    feature: Ints
    mode: npt.NDArray[np.uint8]
    value: Array
    track: npt.NDArray[np.bool_]
    upper: Array


def raw(splits: Splits, transform: Transform) -> Splits | Refusal:
    """The splits of the raw value that decide as `splits` do on cast(transform(float64(raw value)))."""
    size = int(np.prod(transform.shape))
    feature = np.zeros_like(splits.feature) if transform.shape == () else splits.feature
    if feature.size and (feature.min() < 0 or feature.max() >= size):
        return Refusal(f"the trees read feature {int(feature.max())} of a scaler for {size} features")
    if not transform.elementwise or transform.slope() is None:
        return Refusal(f"the scaler is not monotone feature by feature: {transform.prose()}")
    if np.isnan(splits.value).any():
        return Refusal("a threshold is NaN")
    known = _domains(transform, np.unique(feature), splits.value.dtype)
    if isinstance(known, Refusal):
        return known
    mode, value, track, upper = (a.copy() for a in (splits.mode, splits.value, splits.track, splits.value))
    step = BLOCK if _gathers(transform) else max(1, BLOCK * 32 // size)
    for start in range(0, feature.size, step):
        part = slice(start, start + step)
        rows = start + _order(feature[part], splits.value[part])
        made = _block(transform, known, feature[rows], mode[rows], value[rows], track[rows])
        if isinstance(made, Refusal):
            return made
        mode[rows], value[rows], upper[rows], track[rows] = made
    return Splits(splits.feature, mode, value, track, upper)


def _order(feature: Ints, value: Array) -> Ints:
    """By feature, then by value; float32 fits with its feature into one integer, which sorts several times faster."""
    if value.dtype.itemsize == 8:
        return np.lexsort((value, feature))
    return np.argsort((feature << 33) + places(value))


def floats(u: Ints, dtype: Kind) -> Array:
    """The floats at these places of the order: 0 is 0.0, 1 the smallest subnormal, -1 its negative."""
    kind, _ = BITS[dtype.itemsize]
    bits = np.abs(u).astype(kind)
    bits |= (u < 0).astype(kind) << kind(dtype.itemsize * 8 - 1)
    return bits.view(dtype)


def places(x: Array) -> Ints:
    """The reverse of `floats`; -0.0 lies where 0.0 does. NaN has no place (a magnitude above infinity's)."""
    kind, _ = BITS[x.dtype.itemsize]
    bits = np.ascontiguousarray(x).view(kind)
    size = (bits & kind(np.iinfo(kind).max >> 1)).astype(np.int64)
    signed: Ints = np.where(np.signbit(x), -size, size)
    return signed


def evaluator(transform: Transform, features: Ints, shape: tuple[int, ...], dtype: Kind) -> Callable[[Array], Array]:
    """x -> cast(transform(x)), where column i of the last dimension of x is of feature `features[i]`."""
    if _gathers(transform):
        inner = _gather(transform, features, shape)
    else:  # a dense block: row = which one of its feature
        inner, order = transform, np.argsort(features, kind="stable")
        row = np.empty_like(features)
        row[order] = np.arange(features.size) - np.searchsorted(features[order], features[order])

    def evaluate(x: Array) -> Array:
        x2 = np.atleast_2d(x)
        with np.errstate(all="ignore"):
            if inner is not transform:
                return inner(x2).astype(dtype).reshape(x.shape)
            dense = np.zeros((len(x2), int(row.max(initial=0)) + 1, int(np.prod(shape))), dtype=x.dtype)
            dense[:, row, features] = x2
            y = inner(dense.reshape(-1, *shape)).reshape(dense.shape)
            return y[:, row, features].astype(dtype).reshape(x.shape)

    return evaluate


def _gathers(transform: Transform) -> bool:
    """Whether every operand holds one value per feature (a quantile table does not)."""
    return all(_elementwise([v.shape for v in s.operands], OPERATORS[s.op].shape(s)) for s in transform.steps)


def _elementwise(operands: list[tuple[int, ...]], features: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(*operands) == features
    except ValueError:  # a table, and what it is looked up in
        return False


def _gather(transform: Transform, features: Ints, shape: tuple[int, ...]) -> Transform:
    def pick(values: Array) -> Array:
        if values.ndim == 0:
            return values
        return np.broadcast_to(align(values, len(shape), -len(shape)), shape).ravel()[features]

    return Transform(tuple(Step(s.op, tuple(pick(v) for v in s.operands), s.options) for s in transform.steps))


@dataclass(frozen=True)
class _Domains:
    """Per feature: sign (of the mirror), first and last u with g not NaN, and g(NaN)."""

    feature: Ints
    sign: Ints
    first: Ints
    last: Ints
    nan: Array

    def at(self, feature: Ints) -> _Domains:
        i = np.searchsorted(self.feature, feature)
        return _Domains(feature, self.sign[i], self.first[i], self.last[i], self.nan[i])


def _domains(transform: Transform, features: Ints, dtype: Kind) -> _Domains | Refusal:
    evaluate = evaluator(transform, features, transform.shape, dtype)
    top = int(BITS[dtype.itemsize][1])
    probes = np.array(sorted({i * (top // 64) for i in range(-63, 64)} | {-top, top, -1, 1}), dtype=np.int64)
    special = np.array([[-0.0], [np.nan]], dtype=dtype)
    g = evaluate(np.broadcast_to(floats(probes, dtype)[:, None], (len(probes), features.size)))
    minus_zero, nan = evaluate(np.broadcast_to(special, (2, features.size)))
    zero = g[np.flatnonzero(probes == 0)[0]]
    if ((minus_zero != zero) & ~(np.isnan(zero) & np.isnan(minus_zero))).any():
        return Refusal("the scaler tells -0.0 from 0.0, which no split can")
    good = ~np.isnan(g)
    low, high = good.argmax(axis=0), len(probes) - 1 - good[::-1].argmax(axis=0)
    if not good.any(axis=0).all():
        return Refusal("the scaler gives NaN for every value of a feature")
    inside = (np.arange(len(probes))[:, None] >= low) & (np.arange(len(probes))[:, None] <= high)
    each = np.arange(features.size)
    with np.errstate(all="ignore"):
        rise = g[high, each] >= g[low, each]
        steps = inside[1:] & inside[:-1] & np.where(rise, g[1:] < g[:-1], g[1:] > g[:-1])
    if (inside & ~good).any() or steps.any():
        return Refusal(f"the scaler is not monotone: {transform.prose()}")

    def is_nan(u: Ints) -> Array:
        return np.isnan(evaluate(floats(u, dtype)))

    first = np.where(low > 0, _bisect(is_nan, probes[np.maximum(low - 1, 0)], probes[low]) + 1, -top)
    past = probes[np.minimum(high + 1, len(probes) - 1)]
    last = np.where(high < len(probes) - 1, -_bisect(lambda u: is_nan(-u), -past, -probes[high]) - 1, top)
    sign = np.where(rise, 1, -1)
    return _Domains(features, sign, np.where(rise, first, -last), np.where(rise, last, -first), nan)


def _bisect(holds: Callable[[Ints], Array], low: Ints, high: Ints) -> Ints:
    """The last u at which `holds`, where it holds at low and not at high, and changes once."""
    while (high > low + 1).any():
        middle = _middle(low, high)
        held = holds(middle)
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    return low


def _middle(low: Ints, high: Ints) -> Ints:
    middle: Ints = (low >> 1) + (high >> 1) + (low & high & 1)
    return middle


def _ends(transform: Transform, known: _Domains, value: Array, strict: bool) -> Ints | Refusal:
    """The last (mirrored) u of D with g <= value, or g < value where strict; first - 1 where there is none."""
    dtype, shape = value.dtype, transform.shape
    below = np.less if strict else np.less_equal
    end, rows = np.empty(value.size, dtype=np.int64), np.arange(value.size)
    low, high, at = known.first - 1, known.last + 1, _guess(transform, known, value)
    sign, t, reach, evaluate = known.sign, value, 1, evaluator(transform, known.feature, shape, dtype)
    open_ = high > low + 1
    while open_.any():
        held = below(evaluate(floats(at * sign, dtype)), t)
        low, high = np.where(held & open_, at, low), np.where(held | ~open_, high, at)
        open_ = high > low + 1
        if 2 * np.count_nonzero(open_) <= rows.size:
            end[rows] = low
            rows, low, high, at, held, t, sign = (a[open_] for a in (rows, low, high, at, held, t, sign))
            open_, evaluate = open_[open_], evaluator(transform, known.feature[rows], shape, dtype)
        near = at + np.where(held, reach, -reach)  # outwards from the guess, until the end lies between
        at = np.where((near > low) & (near < high) & (reach < FAR), near, _middle(low, high))
        reach = min(reach * 4, FAR)
    end[rows] = low
    if all(s.op in ROUNDED for s in transform.steps):
        return end
    evaluate = evaluator(transform, known.feature, shape, dtype)
    for near_by in range(-4, 5):
        u = np.clip(end + near_by, known.first, known.last)
        if (below(evaluate(floats(u * known.sign, dtype)), value) != (u <= end)).any():
            return Refusal(f"the scaler is not monotone to the last bit: {transform.prose()}")
    return end


def _guess(transform: Transform, known: _Domains, value: Array) -> Ints:
    inverse = transform.inverse()
    if inverse is None or not _gathers(inverse):
        return (known.first >> 1) + (known.last >> 1)
    x = evaluator(inverse, known.feature, transform.shape, value.dtype)(value)
    return np.clip(np.where(np.isnan(x), 0, places(x) * known.sign), known.first, known.last)


Block = tuple[Array, Array, Array, Array]


def _block(
    transform: Transform, domains: _Domains, feature: Ints, mode: Array, value: Array, track: Array
) -> Block | Refusal:
    """Mode, lower value, upper value and track of splits that are sorted by feature and value."""
    new = np.ones(feature.size, dtype=np.bool_)
    new[1:] = (feature[1:] != feature[:-1]) | (value[1:] != value[:-1])
    pair, start = np.cumsum(new) - 1, np.flatnonzero(new)
    known = domains.at(feature)
    ends = [np.zeros(start.size, dtype=np.int64), np.zeros(start.size, dtype=np.int64)]
    for spread, uses, strict in zip(ends, (_AT_MOST, _BELOW), (False, True), strict=True):
        wanted = np.zeros(start.size, dtype=np.bool_)
        wanted[pair[uses[mode]]] = True
        if wanted.any():
            rows = start[wanted]
            found = _ends(transform, domains.at(feature[rows]), value[rows], strict)
            if isinstance(found, Refusal):
                return found
            spread[wanted] = found
    at_most, below = ends[0][pair], ends[1][pair]
    top = BITS[value.dtype.itemsize][1]
    answers = track & np.isnan(known.nan)
    for code, holds in enumerate(_HOLDS):
        answers |= (mode == code) & holds(known.nan, value)
    partial = (known.first > -top) | (known.last < top)
    first_of = np.select([mode == GT, mode == GTE, mode >= EQ], [at_most + 1, below + 1, below + 1], known.first)
    last_of = np.select([mode == LT, (mode == GT) | (mode == GTE)], [below, known.last], at_most)
    joins = partial & track & (mode != NEQ)  # the truth is the interval and all that is outside D
    none, starts, stops = first_of > last_of, first_of == known.first, last_of == known.last
    if (joins & ~none & ~starts & ~stops).any():
        return Refusal("an equality split follows NaN that the scaler makes of numbers: it would need three nodes")
    a = np.where(joins, np.where(starts, last_of + 1, known.first), first_of)
    b = np.where(joins, np.where(starts | none, known.last, first_of - 1), last_of)
    outside = joins | (mode == NEQ)
    a, b = np.where(known.sign > 0, a, -b), np.where(known.sign > 0, b, -a)
    return _comparisons(a, b, outside, mode, answers, value.dtype)


def _comparisons(a: Ints, b: Ints, outside: Array, mode: Array, answers: Array, dtype: Kind) -> Block:
    """The interval [a, b] of raw floats, or its complement, as a comparison; modes stay as they were where they can."""
    top = BITS[dtype.itemsize][1]
    empty, full = a > b, (a == -top) & (b == top)
    always, never = np.where(outside, empty, full), np.where(outside, full, empty)
    down = np.where(outside, b == top, a == -top)  # x <= end
    up = np.where(outside, a == -top, b == top)  # x >= end
    point = (a == b) & ~(outside & ~answers)  # NEQ sends NaN to its true child, whatever the track
    strict, upward = (mode == LT) | (mode == GT), (mode == GTE) | (mode == GT)
    down_end, up_end = np.where(outside, a - 1, b), np.where(outside, b + 1, a)
    cases = [always, never, down, up, point]
    either = (upward, GTE, LEQ), (upward, GT, LT), (strict, LT, LEQ), (strict, GT, GTE), (outside, NEQ, EQ)
    new_mode = np.select(cases, [np.where(*row) for row in either], np.where(outside, OUTSIDE, WITHIN))
    low = np.select(
        cases[:4], [np.where(upward, -top, top), np.where(upward, top, -top), down_end + strict, up_end - strict], a
    )
    return new_mode.astype(np.uint8), floats(low, dtype), floats(np.clip(b, -top, top), dtype), answers
