"""Sums in pairs of float64, high and low part: about 106 bits, elementwise over arrays.

two_sum is Knuth's (The Art of Computer Programming 2, 4.2.2, theorem B), two_product Dekker's with Veltkamp's split (Dekker, A
floating-point technique for extending the available precision, 1971). A pair is an array of (2, ...).
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array

_SPLIT = float(2**27 + 1)


def pair(high: Array) -> Array:
    """A float64 as a pair."""
    return np.stack([high, np.zeros_like(high)])


def two_sum(a: Array, b: Array) -> Array:
    """a + b without an error."""
    with np.errstate(all="ignore"):
        high = a + b
        back = high - a
        low = (a - (high - back)) + (b - back)
    return np.stack([high, np.where(np.isfinite(low), low, 0.0)])


def two_product(a: Array, b: Array) -> Array:
    """a * b without an error, unless it is out of range."""
    with np.errstate(all="ignore"):
        high = a * b
        a1, b1 = _SPLIT * a, _SPLIT * b
        a1, b1 = a1 - (a1 - a), b1 - (b1 - b)
        a2, b2 = a - a1, b - b1
        low = ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2
    return np.stack([high, np.where(np.isfinite(low), low, 0.0)])


def add(x: Array, y: Array) -> Array:
    """The sum of two pairs."""
    s, t = two_sum(x[0], y[0]), two_sum(x[1], y[1])
    with np.errstate(all="ignore"):
        s = two_sum(s[0], s[1] + t[0])
        return two_sum(s[0], s[1] + t[1])


def multiply(x: Array, y: Array) -> Array:
    """The product of two pairs."""
    p = two_product(x[0], y[0])
    with np.errstate(all="ignore"):
        return two_sum(p[0], p[1] + (x[0] * y[1] + x[1] * y[0]))


def divide(x: Array, count: Array) -> Array:
    """A pair by a float64 that is not zero: one quotient, and what is left of x by the same again."""
    with np.errstate(all="ignore"):
        first = x[0] / count
        rest = add(x, -two_product(first, count))
        return two_sum(first, rest[0] / count)
