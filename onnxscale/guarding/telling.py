"""Whether a row looks scaled already: a linear score of its values, cut to the training range.

With q raw values and y = q once scaled (z-scored, min-maxed, or by the baked scaler), both cut to the range, the score of a row x is
    S = sum_j w_j x_j        w_j = (E q_j - E y_j) / (Var q_j + Var y_j)
Fisher's discriminant with a diagonal scatter (R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals of
Eugenics 7, 1936). Where the hypotheses want another sign of w_j it is 0, else the smallest: one score for all. The row looks
scaled where S is below a threshold just above what scaled rows reach. As values are cut, no outlier moves S by more than its range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from onnxscale.step import Array

POINTS = 64
REACH, SLACK, MARGIN = 1.25, 0.03, 2.0  # measured on the tables of tests/test_guarding.py
SURE = 3.0  # the margin where the correlations are known: the spread is then no cautious guess
TOGETHER = 0.3  # the correlation that many features are taken to have where nobody knows; few features have more


@dataclass(frozen=True, eq=False)
class Telling:
    """weights, low, high: float64 of the features' shape. A row looks scaled where its score is below the threshold; raw rows
    score 1 on average, scaled ones 0."""

    weights: Array
    threshold: float
    low: Array
    high: Array


def telling(q: Array, scaled: Sequence[Array], low: Array, high: Array, correlation: Array | None) -> Telling | str:
    """The rule, or in words why rows cannot tell. q: quantiles of the raw values at POINTS even steps, (POINTS, F), finite.
    scaled: the same values once scaled, for each hypothesis. low, high: what values are cut to, (F,). correlation: (F, F) or None."""
    raw = np.clip(q, low, high)
    hypotheses = [np.clip(y, low, high) for y in scaled]
    each = np.stack([_weights(raw, y) for y in hypotheses])
    agree = (each > 0).all(axis=0) | (each < 0).all(axis=0)
    w = np.where(agree, np.sign(each[0]) * np.abs(each).min(axis=0), 0.0)
    means = [float(y.mean(axis=0) @ w) for y in hypotheses]
    top = float(raw.mean(axis=0) @ w)
    reached = max(m + REACH * _spread(y, w, None) for m, y in zip(means, hypotheses, strict=True))
    spread = _spread(raw, w, correlation)
    margin = MARGIN if correlation is None else SURE
    if not np.isfinite([top, reached, spread]).all() or not w.any() or top - reached <= margin * spread:
        return "raw rows and scaled ones are too alike for a row to tell"
    # scores move to 0 and 1 by a constant, which goes into the threshold alone
    size = top - max(means)
    return Telling(w / size, (reached + SLACK * (top - reached)) / size, low, high)


def _weights(raw: Array, y: Array) -> Array:
    spread = raw.var(axis=0) + y.var(axis=0)
    return np.asarray(
        np.where(spread > 0, (raw.mean(axis=0) - y.mean(axis=0)) / np.where(spread > 0, spread, 1.0), 0.0)
    )


def _spread(values: Array, w: Array, correlation: Array | None) -> float:
    """Standard deviation of the score of one row."""
    parts = w * values.std(axis=0)
    if correlation is not None:
        return float(np.sqrt(max(parts @ correlation @ parts, 0.0)))
    together = min(1.0 if parts.size == 1 else 0.8, max(TOGETHER, 3 / parts.size))
    return float(np.sqrt(together * np.abs(parts).sum() ** 2 + (1 - together) * (parts**2).sum()))


def grid(mean: Array, std: Array, low: Array, high: Array) -> Array:
    """Quantiles (POINTS, F) of values of this mean, deviation and range, where nothing else is known: a gamma distribution from the
    nearer end of the range, normal where both are far (E. Wilson, M. Hilferty, The distribution of chi-square, PNAS 17, 1931)."""
    normal = np.array([NormalDist().inv_cdf((i + 0.5) / POINTS) for i in range(POINTS)])[:, None]
    std = np.maximum(std, np.finfo(np.float64).tiny)

    def gamma(distance: Array) -> Array:
        shape = np.maximum(distance / std, 1e-3) ** 2
        cube = np.maximum(0.0, 1 - 1 / (9 * shape) + normal / (3 * np.sqrt(shape))) ** 3
        return np.asarray(std * np.sqrt(shape) * cube)

    with np.errstate(over="ignore", invalid="ignore"):
        rising, falling = low + gamma(mean - low), (high - gamma(high - mean))[::-1]
        found = np.where(mean - low <= high - mean, rising, falling)
    plain = mean + std * normal
    return np.clip(np.where(np.isfinite(found), found, plain), low, high)
