"""The normal distribution and its inverse, in core operators, to float64's accuracy, for probabilities in [1e-9, 1 - 1e-9].

quantile(p): the x below which the standard normal distribution has the probability p. With q = p - 1/2, r = min(p, 1 - p):
    |q| <= 0.425:  x = q A(s) / B(s),                     s = 0.425^2 - q^2
    else:          x = sign(q) C(t) / D(t),               t = sqrt(-log r) - 1.6, up to sqrt(-log r) = 5
    M. J. Wichura, Algorithm AS 241: The Percentage Points of the Normal Distribution, Applied Statistics 37 (1988), 477-484
distribution(x) = erfc(-x / sqrt 2) / 2. With z = |x| / sqrt 2:
    z <= 0.46875:  erf z = z E(z^2) / F(z^2)
    z <= 4:        erfc z = exp(-z^2) G(z) / H(z)
    W. J. Cody, Rational Chebyshev Approximations for the Error Function, Mathematics of Computation 23 (1969), 631-637
Coefficients below begin with the constant term.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxscale.step import Array, Builder
from onnxscale.steps.functions import clamp, polynomial, scalar, where

A = (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3)  # fmt: skip
B = (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3)  # fmt: skip
C = (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4)  # fmt: skip
D = (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9)  # fmt: skip
E = (3.20937758913846947e3, 3.77485237685302021e2, 1.13864154151050156e2, 3.16112374387056560e0, 1.85777706184603153e-1)
F = (2.84423683343917062e3, 1.28261652607737228e3, 2.44024637934444173e2, 2.36012909523441209e1, 1.0)
G = (1.23033935479799725e3, 2.05107837782607147e3, 1.71204761263407058e3, 8.81952221241769090e2,
     2.98635138197400131e2, 6.61191906371416295e1, 8.88314979438837594e0, 5.64188496988670089e-1,
     2.15311535474403846e-8)  # fmt: skip
H = (1.23033935480374942e3, 3.43936767414372164e3, 4.36261909014324716e3, 3.29079923573345963e3,
     1.62138957456669019e3, 5.37181101862009858e2, 1.17693950891312499e2, 1.57449261107098347e1, 1.0)  # fmt: skip

CENTRAL, CENTRAL_SQUARE, TAIL_START = 0.425, 0.180625, 1.6
SMALL, LARGE = 0.46875, 4.0
ROOT_HALF = float(np.sqrt(0.5))


def _ratio(x: Array, above: Sequence[float], below: Sequence[float]) -> Array:
    def horner(coefficients: Sequence[float]) -> Array:
        y = np.full_like(x, coefficients[-1])
        for c in reversed(coefficients[:-1]):
            y = y * x + x.dtype.type(c)
        return y

    return np.asarray(horner(above) / horner(below))


def quantile(p: Array) -> Array:
    """The standard normal quantile of p, elementwise."""
    q = p - 0.5
    central = q * _ratio(CENTRAL_SQUARE - q * q, A, B)
    tail = _ratio(np.sqrt(-np.log(np.minimum(p, 1 - p))) - TAIL_START, C, D)
    return np.where(np.abs(q) <= CENTRAL, central, np.where(q < 0, -tail, tail))


def distribution(x: Array) -> Array:
    """The standard normal distribution function of x, elementwise; beyond |x| = 5.65 as at 5.65."""
    z = np.minimum(np.abs(x * ROOT_HALF), LARGE)
    near = 0.5 * z * _ratio(z * z, E, F)
    far = 0.5 * np.exp(-z * z) * _ratio(z, G, H)
    below = np.where(z <= SMALL, 0.5 - near, far)
    above = np.where(z <= SMALL, 0.5 + near, 1.0 - far)
    return np.where(x < 0, below, above)


def _ratio_nodes(build: Builder, x: str, above: Sequence[float], below: Sequence[float]) -> str:
    return build.node("Div", polynomial(build, x, above), polynomial(build, x, below))


def quantile_nodes(build: Builder, p: str) -> str:
    """As `quantile`."""
    q = build.node("Sub", p, scalar(build, 0.5))
    square = build.node("Sub", scalar(build, CENTRAL_SQUARE), build.node("Mul", q, q))
    central = build.node("Mul", q, _ratio_nodes(build, square, A, B))
    side = build.node("Min", p, build.node("Sub", scalar(build, 1.0), p))
    root = build.node("Sqrt", build.node("Neg", build.node("Log", side)))
    tail = _ratio_nodes(build, build.node("Sub", root, scalar(build, TAIL_START)), C, D)
    tail = where(build, build.node("Less", q, scalar(build, 0.0)), build.node("Neg", tail), tail)
    outside = build.node("Greater", build.node("Abs", q), scalar(build, CENTRAL))
    return where(build, outside, tail, central)


def distribution_nodes(build: Builder, x: str) -> str:
    """As `distribution`."""
    half = scalar(build, 0.5)
    z = build.node("Abs", build.node("Mul", x, scalar(build, ROOT_HALF)))
    z = clamp(build, z, None, LARGE, "the normal distribution")
    square = build.node("Mul", z, z)
    near = build.node("Mul", build.node("Mul", half, z), _ratio_nodes(build, square, E, F))
    bell = build.node("Mul", half, build.node("Exp", build.node("Neg", square)))
    far = build.node("Mul", bell, _ratio_nodes(build, z, G, H))
    outside = build.node("Greater", z, scalar(build, SMALL))
    below = where(build, outside, far, build.node("Sub", half, near))
    above = where(build, outside, build.node("Sub", scalar(build, 1.0), far), build.node("Add", half, near))
    return where(build, build.node("Less", x, scalar(build, 0.0)), below, above)
