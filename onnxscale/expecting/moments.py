"""The likelihood of each hypothesis, given the centre and spread of the input's features as a model remembers them."""

from __future__ import annotations

import math

import numpy as np

from onnxscale.expecting.base import Subject
from onnxscale.expecting.hypotheses import HYPOTHESES, PRIORS
from onnxscale.step import Array

FEATURES = 4  # as many features count in full: those of one table are scaled alike, so the rest says the same again
OUTSIDE = 0.01  # the share of values outside a range that estimates of them may have
GONE = -9.0
ENOUGH, ONE_SIDED, SIDE = 12, 0.08, -5.0  # z-scores have both signs
CHANCE = -0.8
OTHER = math.log(8)  # against raw values in other units than the rows that are given as raw


def scored(
    subject: Subject,
    centre: Array,
    spread: Array,
    blur: float,
    points: Array | None = None,
    weights: Array | None = None,
) -> dict[str, float]:
    """Log likelihoods. centre, spread: of (F,), at the input. blur: of both, see hypotheses.py. points: values that the model has
    met, of any shape, which a range must hold. weights: of the features.

    With rows of the user's, raw means "as in these rows", which is a far sharper claim.
    """
    w = np.ones(centre.size) if weights is None else weights
    good = np.isfinite(centre) & np.isfinite(spread) & (spread > 0) & (w > 0)
    if not good.any():
        return {}
    c, s, w = centre[good], spread[good], w[good] / w[good].sum()
    count = min(FEATURES, float(w.sum() ** 2 / (w**2).sum()))
    result = {h.name: count * float(np.sum(w * np.maximum(h.score(c, s, blur), -12.0))) for h in HYPOTHESES}
    given = subject.moments()
    if given is not None and given[0].size == centre.size:
        result["raw"] = max(
            result["raw"] - OTHER, count * float(np.sum(w * as_given(c, s, given[0][good], given[1][good], blur)))
        )
    if points is not None and points.size:
        for h in HYPOTHESES:
            outside = float(np.mean((points < h.low - 1e-4) | (points > h.high + 1e-4 * max(1.0, h.high))))
            result[h.name] += GONE if outside > OUTSIDE else 0.0
        negative = float(np.mean(points < 0))
        if points.size >= ENOUGH and not ONE_SIDED < negative < 1 - ONE_SIDED:
            result["standard"] += SIDE
        if np.abs(points).max() <= 1 and not _within(given, good):  # raw features of any unit do not all stay below 1
            result["raw"] += CHANCE * min(int(good.sum()) - 1, FEATURES)
    return {k: v for k, v in result.items() if k in PRIORS[subject.sort]}


def _within(given: tuple[Array, Array] | None, good: Array) -> bool:
    """Whether the columns of the user's rows lie within -1 to 1 themselves."""
    if given is None or given[0].size != good.size:
        return False
    return bool((np.abs(given[0][good]) + given[1][good]).max() <= 1)


def as_given(centre: Array, spread: Array, mean: Array, std: Array, blur: float) -> Array:
    """log p of centre and log spread where the input is distributed as rows of this mean and std."""
    unit = np.where(std > 0, std, np.maximum(np.abs(mean), 1e-12))
    width = math.hypot(0.3, blur)
    off = (centre - mean) / (unit * width)
    logs = np.log(spread / unit) / math.hypot(0.35, blur)
    top = np.log(0.375 / (unit * width)) - math.log(math.hypot(0.35, blur) * math.sqrt(2 * math.pi))
    return np.asarray(np.maximum(top - 2.5 * np.log1p(off**2 / 4) - 0.5 * logs**2, -30.0))


def text(centre: Array, spread: Array) -> str:
    """The two in few words: one pair, or the range of the pairs."""
    if centre.size <= 4:
        return f"mean {_short(centre)}, std {_short(spread)}"
    return (
        f"means from {centre.min():.3g} to {centre.max():.3g}, stds from {spread.min():.3g} to {spread.max():.3g} "
        f"over {centre.size} features"
    )


def _short(values: Array) -> str:
    return "[" + ", ".join(f"{v:.3g}" for v in values) + "]"
