"""How far a folded layer can be from the original one: a theorem, not an estimate.

The original layer gets zhat = fl(t(x)), |zhat - z| <= u |z|, and computes sum_k W_k zhat_k + c. A sum of n products and
one addend in any order, with or without fused multiply-add, has an error of at most g (sum |W_k zhat_k| + |c|), where
g = (n + 1) u / (1 - (n + 1) u)  (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). With Z the
largest |z| and e the underflow unit,

    own  = sum |W_k| (u Z_k + g (1 + u) Z_k + e) + g |c| + (n + 1) e

The folded layer computes sum_k W'_k x_k + c', W' = fl(a W), c' = fl(c + sum W b); x is exact, or the difference x - m
from a Sub, with an error of at most err_k in scaled units:

    folded = sum |W_k| (A_k (u + g (1 + u)) + err_k (1 + 2 g)) + e sum X_k + (u + g (1 + u)) |c'| + (n + 1) e

with A the largest |a x| and X the largest |x|. Both compute the same real number, so own + folded bounds the difference;
what float64 rounds in a, b and sum W b is added as `slack`. Z, A and X are taken over a range of raw values: the
training data's where it is known, else |t(x)| <= 6. Rows outside it are outside the theorem.

The fold is taken whole where own + folded is at most GROWTH times 2 own (the layer as it is, on either side), or where
its ratio to the largest output is at most the user's tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxscale.folding.base import Error, Reach
from onnxscale.precision import UNIT
from onnxscale.step import Affine, Array

GROWTH = 4.0
SIGMAS = 6.0
DROPPED = 4.0  # roundings of a scaled 1: the lower half of m is left out where it is less
TINY = {"float16": 2.0**-24, "float32": 2.0**-126, "float64": 2.0**-1022, "bfloat16": 2.0**-126}
SLACK = 8 * 2.0**-53


@dataclass(frozen=True, eq=False)
class Range:
    """Raw values a bound is for: from low to high, per position."""

    low: Array
    high: Array


def usual(affine: Affine) -> Range:
    """Where |t(x)| <= 6; a constant feature counts as one that stays near zero."""
    flat = affine.scale == 0
    scale = np.where(flat, 1.0, affine.scale)
    with np.errstate(all="ignore"):
        ends = (SIGMAS - affine.shift) / scale, (-SIGMAS - affine.shift) / scale
    low, high = np.where(flat, -1.0, np.minimum(*ends)), np.where(flat, 1.0, np.maximum(*ends))
    return Range(low, high)


def whole(affine: Affine, span: Range, narrow: float) -> Reach:
    """The layer is fed the raw values; `narrow`: unit of a Cast before it that rounds them, or 0."""
    far = _far(span)
    ax = np.abs(affine.scale) * far
    return Reach(_scaled(affine, span), ax, ax * narrow, far)


def moved(affine: Affine, span: Range, lost: Array, unit: float, subs: int, narrow: float) -> Reach:
    """The layer is fed x - m. affine: the whole scaler. lost: how far what the Subs subtract can be from m; subs: how
    many there are."""
    z = _scaled(affine, span)
    flat = affine.scale == 0
    far = np.where(flat, _far(span), z / np.abs(np.where(flat, 1.0, affine.scale)))
    ax = np.where(flat, 0.0, z)
    rounding = 2.0 * unit if subs > 1 else unit
    err = ax * rounding * (1 + unit) + np.abs(affine.scale) * (np.abs(lost) + narrow * _far(span))
    return Reach(z, ax, err, far)


def _far(span: Range) -> Array:
    return np.asarray(np.maximum(np.abs(span.low), np.abs(span.high)))


def _scaled(affine: Affine, span: Range) -> Array:
    ends = affine.scale * span.low + affine.shift, affine.scale * span.high + affine.shift
    return np.asarray(np.maximum(np.abs(ends[0]), np.abs(ends[1])))


@dataclass(frozen=True, eq=False)
class Sums:
    """Per output: sum |W| Z, sum |W| A, sum |W| err, sum X, sum |W| |b|, sum |W|; terms: how many products."""

    wz: Array
    wa: Array
    werr: Array
    x: Array
    wb: Array
    w: Array
    terms: int


def error(sums: Sums, before: Array, after: Array, dtype: str, extra: int = 0) -> Error:
    """The bound from the sums. before, after: |c| and |c'| per output; extra: further roundings (alpha, beta)."""
    u, tiny = UNIT[dtype], TINY[dtype]
    n = sums.terms + 1 + extra
    if n * u >= 0.5:
        return Error(np.inf, np.inf, np.inf)
    g = n * u / (1 - n * u)
    own = sums.wz * (u + g * (1 + u)) + tiny * sums.w + g * np.abs(before) + n * tiny
    folded = (
        sums.wa * (u + g * (1 + u)) * (1 + u)
        + sums.werr * (1 + 2 * g)
        + tiny * sums.x * (1 + g)
        + (u + g * (1 + u)) * np.abs(after)
        + n * tiny
        + SLACK * (sums.wa + sums.wz + np.abs(after) + np.abs(before))
        + (SLACK + n * 2.0**-53) * sums.wb
    )
    size = sums.wz + np.abs(before)
    return Error(float(np.max(own + folded)), float(np.max(own)), float(np.max(size)))
