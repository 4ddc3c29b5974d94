"""What is known of how a column is distributed, as points and the distribution function at them; distances of a sample from it.

A law of F columns is a pair of arrays (F, P): points that rise along a row, and F(point). A value that many rows share is two
points close around it, so a step of the distribution is steep and a value that was rounded to float32 still lies between them.
A known function of the data maps the points and leaves F (`mapped`): every hypothesis is a law of its own.

Sources: the two-sample statistic of Kolmogorov and Smirnov on a grid; multinomial log-likelihood ratios (Neyman, Pearson) on
the cells between the points; smooth tests of location and spread (Neyman 1937) on the ranks of the cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxscale.profile import PROBABILITIES
from onnxscale.step import Array

CLOSE = 1e-6  # relative width of a step: float32 keeps 6e-8
LEVELS = np.arange(0, 65, 4)  # the quantiles that bound the cells
PRIOR = 0.5  # rows that a cell is given beforehand
TRUSTED = 1000  # a training set counts as no more rows than this: the world moves


@dataclass(frozen=True, eq=False)
class Law:
    """points, cdf: float64 of (F, P), rising along a row."""

    points: Array
    cdf: Array

    def at(self, column: int, x: Array) -> Array:
        """F(x) of a column."""
        found: Array = np.interp(x, self.points[column], self.cdf[column], left=0.0, right=1.0)
        return found

    def take(self, columns: Array) -> Law:
        return Law(self.points[columns], self.cdf[columns])

    def mapped(self, function: Callable[[Array], Array]) -> Law:
        """The law of function(x), for a function of each value (given (P, F)) that rises, or falls, on every column. A column where
        it is not defined has NaN points."""
        with np.errstate(all="ignore"):
            points = np.asarray(function(self.points.T), np.float64).T
            origin = np.asarray(function(np.zeros((1, len(self.points)))), np.float64).T
        atom = (np.abs(self.points) <= CLOSE * np.ptp(self.points, axis=1, keepdims=True)) & (origin == 0)
        half = np.abs(self.points)  # zero that stays zero is as narrow a step as before, whatever the factor
        points = np.where(atom, np.clip(points, -half, half), points)
        falls = points[:, -1:] < points[:, :1]
        points = np.where(falls, points[:, ::-1], points)
        cdf = np.where(falls, 1.0 - self.cdf[:, ::-1], self.cdf)
        return Law(np.maximum.accumulate(points, axis=1), cdf)


def from_quantiles(quantiles: Array) -> Law:
    """The law of (F, 65) quantiles at PROBABILITIES. A value at several of them is a step, half a probability wider on each side."""
    q = np.asarray(quantiles, np.float64)
    half = PROBABILITIES[1] / 2
    first, last = _runs(q)
    step = first < last
    low = np.where(step, np.maximum(PROBABILITIES[first] - half, 0.0), PROBABILITIES[first])
    high = np.where(step, np.minimum(PROBABILITIES[last] + half, 1.0), PROBABILITIES[last])
    low, high = np.where(first == 0, 0.0, low), np.where(last == q.shape[1] - 1, 1.0, high)
    gap = np.diff(q, axis=1)
    gap = np.where(gap > 0, gap, np.inf)
    edge = np.full((q.shape[0], 1), np.inf)
    room = np.minimum(_before(gap, edge, first), _after(gap, edge, last))
    spans = np.ptp(
        q, axis=1
    )  # the same width for the same value in every column, so that steps are compared with steps
    least = 1e-3 * spans[spans > 0].min(initial=np.inf) if (spans > 0).any() else 1e-3
    width = np.where(step, np.minimum(CLOSE * np.maximum(np.abs(q), least), room / 4), 0.0)
    points = np.concatenate([q - width, q + width], axis=1)
    return Law(np.sort(points, axis=1), np.sort(np.concatenate([low, high], axis=1), axis=1))


def _runs(q: Array) -> tuple[Array, Array]:
    """The first and the last index of the run of equal values that each entry is in."""
    place = np.arange(q.shape[1])
    starts = np.ones(q.shape, np.bool_)
    starts[:, 1:] = q[:, 1:] > q[:, :-1]
    ends = np.roll(starts, -1, axis=1)
    ends[:, -1] = True
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, q.shape[1])[:, ::-1], axis=1)[:, ::-1]
    return first, last


def _before(gap: Array, edge: Array, first: Array) -> Array:
    return np.take_along_axis(np.concatenate([edge, gap], axis=1), first, axis=1)


def _after(gap: Array, edge: Array, last: Array) -> Array:
    return np.take_along_axis(np.concatenate([gap, edge], axis=1), last, axis=1)


def below(ordered: Array, counts: Array, points: Array) -> Array:
    """The share of a sample at or below each point, (F, P). ordered: the sample (n, F), sorted along 0, NaN last; counts: how many
    of a column are no NaN. A column without any gives NaN."""
    found = np.empty(points.shape)
    for j in range(points.shape[0]):
        n = int(counts[j])
        found[j] = np.searchsorted(ordered[:n, j], points[j], side="right") / n if n else np.nan
    return found


def distance(share: Array, law: Law) -> Array:
    """Kolmogorov-Smirnov distance per column, (F,): the largest difference of the share at or below a point."""
    gap: Array = np.abs(share - law.cdf)
    largest: Array = gap.max(axis=1)
    return largest


def between(a: Law, b: Law) -> Array:
    """Kolmogorov-Smirnov distance of two laws, column by column."""
    found = np.empty(a.points.shape[0])
    for j in range(found.size):
        at_a, at_b = np.abs(a.cdf[j] - b.at(j, a.points[j])), np.abs(b.cdf[j] - a.at(j, b.points[j]))
        found[j] = max(at_a.max(), at_b.max())
    return found


@dataclass(frozen=True, eq=False)
class Cells:
    """A law cut into cells. edges: (F, E); mass: of the E + 1 cells, (F, E + 1), smoothed; scores: orthonormal location and spread
    over the cells, (2, F, E + 1), zero where a column has no such freedom. real: cells that are there at all."""

    edges: Array
    mass: Array
    scores: Array
    prior: Array
    rows: Array

    def masses(self, cumulated: Array) -> Array:
        """Smoothed masses of the cells for F at the edges, (..., F, E)."""
        ends = np.zeros((*cumulated.shape[:-1], 1))
        raw = np.diff(np.concatenate([ends, cumulated, ends + 1.0], axis=-1), axis=-1)
        return _smooth(raw, self.prior, self.rows)


def cells(law: Law, rows: Array) -> Cells:
    """The cells of a law that was measured on this many rows a column, (F,)."""
    at = np.sort(np.concatenate([2 * LEVELS, 2 * LEVELS + 1]))
    edges, cumulated = law.points[:, at], law.cdf[:, at]
    trusted = np.minimum(rows, TRUSTED)[:, None].astype(np.float64)
    ends = np.zeros((edges.shape[0], 1))
    raw = np.diff(np.concatenate([ends, cumulated, ends + 1.0], axis=1), axis=1)
    real = raw > 0
    real[:, 0] = real[:, -1] = True
    real[:, 1:-1] |= np.diff(edges, axis=1) > 4 * CLOSE * np.abs(edges[:, 1:])
    prior = PRIOR * real + 1e-9
    mass = _smooth(raw, prior, trusted)
    return Cells(edges, mass, _scores(mass), prior, trusted)


def _smooth(raw: Array, prior: Array, rows: Array) -> Array:
    return np.asarray((rows * np.maximum(raw, 0.0) + prior) / (rows + prior.sum(axis=-1, keepdims=True)))


def _scores(mass: Array) -> Array:
    rank = np.cumsum(mass, axis=1) - mass / 2 - 0.5

    def unit(s: Array) -> Array:
        s = s - (s * mass).sum(axis=1, keepdims=True)
        norm = np.sqrt((s * s * mass).sum(axis=1, keepdims=True))
        return np.where(norm > 1e-3, s / np.maximum(norm, 1e-3), 0.0)

    one = unit(rank)
    two = rank * rank
    two = unit(two - one * (two * one * mass).sum(axis=1, keepdims=True))
    return np.stack([one, two])
