"""The powers of Box-Cox and Yeo-Johnson that make columns most like a normal distribution, from a few scans.

As scikit-learn's PowerTransformer (through scipy.stats) it maximises the profile log-likelihood per value

    l(p) = -log(var y(p)) / 2 + (p - 1) S,    S = mean of s L

with L = log x, s = 1 for Box-Cox, and L = log(1 + |x|), s = the sign of x for Yeo-Johnson (I. Yeo and R. Johnson, 2000). There it
is Brent's search; here it is Newton's, as each evaluation is a scan: with z = p L, and (2 - p) L where s < 0,

    y = s L f(z),    dy/dp = L^2 f'(z),    d2y/dp2 = s L^3 f''(z),    f(z) = (e^z - 1) / z

so that l' and l'' are sums over the data, which every scan takes for all columns at once, shifted by their values at S. The first
batch alone gives the start; a bracket by the sign of l' keeps the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import factorial

import numpy as np

from onnxscale.errors import DataError, names
from onnxscale.step import Array

METHODS = ("yeo-johnson", "box-cox")
SERIES = 18  # terms of f' and f'' for |z| < 1, where their closed forms cancel: the rest is under 1e-17
LARGEST = 320.0  # |z|: e^(2z) and its square sums stay finite
TOLERANCE = 1e-10  # of the last step, relative to the power
MOST = 60  # scans
Batches = Callable[[], Iterable[Array]]


@dataclass(frozen=True, eq=False)
class Powers:
    """lambdas: the powers; mean, std (ddof 0): of the transformed values; all float64 of (F,). A column of one value has the
    power 1 and the std 0, one without a finite value NaN. scans: how often the data was read."""

    lambdas: Array
    mean: Array
    std: Array
    scans: int


def powers(batches: Batches, method: str = "yeo-johnson", columns: tuple[str, ...] = ()) -> Powers:
    """The most likely powers of data that is read again at every call of `batches`: float arrays of (n, F), NaN and infinities
    left out. Raises DataError where Box-Cox meets values not above zero or one value only, and where the search does not end."""
    facts = _facts(batches(), method)
    _check(facts, method, columns)
    head = next(iter(batches()))[: 1 << 16].astype(np.float64)
    start, _ = _searched(lambda: [head], method, _facts([head], method), np.ones(len(facts.count)))
    found, scans = _searched(batches, method, facts, start.lambdas)
    return Powers(found.lambdas, found.mean, found.std, scans + 2)


@dataclass(frozen=True, eq=False)
class _Facts:
    """Of each column: count; s: mean of s L; low, high: of s L; least: of the values; all (F,). constant: which have one
    value only."""

    count: Array
    s: Array
    low: Array
    high: Array
    least: Array

    @property
    def constant(self) -> Array:
        return np.asarray(self.low == self.high)


def _signed_logs(values: Array, method: str) -> Array:
    """s L, NaN where a value is missing or not finite."""
    values = values.astype(np.float64)
    with np.errstate(all="ignore"):
        logs = np.log(values) if method == "box-cox" else np.copysign(np.log1p(np.abs(values)), values)
    logs[~np.isfinite(values)] = np.nan
    return logs


def _facts(batches: Iterable[Array], method: str) -> _Facts:
    found: tuple[Array, ...] = ()
    for values in batches:
        logs = _signed_logs(values, method)
        kept = np.isfinite(values)
        number, summed = kept.sum(axis=0), np.where(kept, logs, 0.0).sum(axis=0)
        ends = np.fmin.reduce(logs, axis=0, initial=np.inf), np.fmax.reduce(logs, axis=0, initial=-np.inf)
        lowest = np.where(kept, values, np.inf).min(axis=0, initial=np.inf)
        now = (number, summed, *ends, lowest)
        found = tuple(join(a, b) for join, a, b in zip(_JOINS, found, now, strict=True)) if found else now
    if not found:
        raise DataError("there are no rows to find powers from")
    count, total, low, high, least = found
    with np.errstate(invalid="ignore"):
        return _Facts(count, total / count, low, high, least)


_JOINS = (np.add, np.add, np.minimum, np.maximum, np.minimum)


def _check(facts: _Facts, method: str, columns: tuple[str, ...]) -> None:
    if method != "box-cox":
        return
    said = columns or tuple(str(i) for i in range(len(facts.count)))
    for bad, what in (
        (facts.least <= 0, "have values that are not above zero"),
        (facts.constant, "have one value only"),
    ):
        if np.any(bad & (facts.count > 0)):
            there = names(said[i] for i in np.flatnonzero(bad & (facts.count > 0)))
            raise DataError(
                f"Box-Cox cannot be fitted: columns {there} {what}; use --method yeo-johnson, or leave them out"
            )


def _searched(batches: Batches, method: str, facts: _Facts, start: Array) -> tuple[Powers, int]:
    """Newton's search from `start`, inside a bracket where the sign of l' says on which side the maximum lies."""
    low, high = _bounds(facts, method)
    fixed = facts.constant | (facts.count == 0)
    power = np.where(fixed, 1.0, np.clip(start, low, high))
    for scan in range(1, MOST + 1):
        mean, std, slope, bend = _evaluated(batches(), method, facts, power)
        low, high = np.where(slope > 0, power, low), np.where(slope < 0, power, high)
        with np.errstate(all="ignore"):
            most = 2 + 2 * np.abs(power)
            step = np.where(bend < 0, -slope / bend, np.sign(slope) * most)
            to = power + np.clip(step, -most, most)
        to = np.where((to >= low) & (to <= high), to, (low + high) / 2)
        far = ~fixed & (np.abs(to - power) > TOLERANCE * np.maximum(1, np.abs(power))) & (slope != 0)
        if not far.any():
            missing = facts.count == 0
            lambdas, mean, std = (np.where(missing, np.nan, v) for v in (power, mean, std))
            return Powers(lambdas, mean, np.where(facts.constant, 0.0, std), scan), scan
        power = np.where(far, to, power)
    raise DataError(
        f"the search for powers did not end after {MOST} scans; scale these columns before, or leave them out"
    )


def _bounds(facts: _Facts, method: str) -> tuple[Array, Array]:
    """Powers for which no sum overflows."""
    with np.errstate(all="ignore"):
        reach = LARGEST / np.maximum(np.abs(np.nan_to_num(facts.high)), 1e-3)
        other = LARGEST / np.maximum(np.abs(np.nan_to_num(facts.low)), 1e-3)
    if method == "box-cox":
        reach = np.minimum(reach, other)
        return -reach, reach
    positive, negative = facts.high > 0, facts.low < 0
    low = np.maximum(np.where(positive, -reach, -np.inf), np.where(negative, 2 - other, -np.inf))
    high = np.minimum(np.where(positive, reach, np.inf), np.where(negative, 2 + other, np.inf))
    return np.where(np.isfinite(low), low, -LARGEST), np.where(np.isfinite(high), high, LARGEST)


def _evaluated(batches: Iterable[Array], method: str, facts: _Facts, power: Array) -> tuple[Array, Array, Array, Array]:
    """Mean and std of y, l' and l'', at these powers."""
    s = np.where(facts.count > 0, facts.s, 0.0)
    shift = _derivatives(s[None], method, power)
    sums = np.zeros((7, len(power)))
    for values in batches:
        for at in range(0, len(values), 1 << 13):
            logs = _signed_logs(values[at : at + (1 << 13)], method)
            # a missing value lies where everything is shifted to, and adds nothing
            y, first, second = (
                v - k
                for v, k in zip(_derivatives(np.where(np.isnan(logs), s, logs), method, power), shift, strict=True)
            )
            rows = (y, y * y, first, y * first, first * first, second, y * second)
            sums += np.stack([r.sum(axis=0) for r in rows])
    with np.errstate(all="ignore"):
        y, yy, first, y_first, first2, second, y_second = sums / facts.count
        var = np.maximum(yy - y * y, 0.0)
        relative = 2 * (y_first - y * first) / var
        curved = 2 * (first2 - first * first + y_second - y * second) / var
        slope, bend = facts.s - relative / 2, (relative * relative - curved) / 2
    return shift[0][0] + y, np.sqrt(var), np.nan_to_num(slope), bend


def _derivatives(logs: Array, method: str, power: Array) -> tuple[Array, Array, Array]:
    """y and its first two derivatives by the power, from s L of (n, F)."""
    sign: Array | float = 1.0
    if method == "yeo-johnson":
        sign = np.where(logs < 0, -1.0, 1.0)
        power, logs = np.where(logs < 0, 2 - power, power), np.abs(logs)
    f, first, second = _quotients(power * logs)
    return sign * logs * f, logs**2 * first, sign * logs**3 * second


def _quotients(z: Array) -> tuple[Array, Array, Array]:
    """f(z) = (e^z - 1) / z and its first two derivatives; sums z^k / (k! (k + 1)), (k + 2) and (k + 3) for small z."""
    with np.errstate(all="ignore"):
        e, square = np.exp(z), z * z
        f = np.where(z == 0, 1.0, np.expm1(z) / z)
        first = (e * (z - 1) + 1) / square
        second = (e * (square - 2 * z + 2) - 2) / (square * z)
    near = np.abs(z) < 1
    small = z[near]
    for found, more in ((first, 2), (second, 3)):
        total = np.zeros_like(small)
        for k in reversed(range(SERIES)):
            total = total * small + 1 / (factorial(k) * (k + more))
        found[near] = total
    return f, first, second
