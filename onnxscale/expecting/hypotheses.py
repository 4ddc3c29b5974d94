"""What an input may be expected to hold: the hypotheses, what each says of a feature's centre and spread, and what to feed.

Densities are of the centre c of a feature and of log s, the logarithm of its spread. A blur is what the estimate of either is
off by, in spreads. Raw values may have any unit: c has the density 1/|c| over ten decades (1/s nearer to 0), log s is flat over seven.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxscale.step import Array

DECADES, WIDE = math.log(1e10), math.log(1e7)
POSITIVE = 0.85  # of raw centres: ages, lengths and counts have no sign


@dataclass(frozen=True)
class Hypothesis:
    """name: short. says: what is expected. feed: what to do with raw values. low, high: of every value, or infinite.
    centre: the log density of centres, given a blur in spreads. spread, width: median of s, and std of log s."""

    name: str
    says: str
    feed: str
    low: float
    high: float
    centre: Callable[[Array, float], Array]
    spread: float
    width: float

    def score(self, centre: Array, spread: Array, blur: float) -> Array:
        """log p(c) + log p(log s), one value per feature. blur: of the centre in spreads, and of log s."""
        with np.errstate(divide="ignore"):
            logs = np.log(np.maximum(spread, 1e-30))
        if self.name == "raw":
            share = np.where(centre >= 0, POSITIVE, 1 - POSITIVE)
            return np.asarray(np.log(share / (DECADES * np.maximum(np.abs(centre), spread))) - math.log(WIDE))
        off = (logs - math.log(self.spread)) / math.hypot(self.width, blur)
        return (
            self.centre(centre, blur) - 0.5 * off**2 - math.log(math.hypot(self.width, blur) * math.sqrt(2 * math.pi))
        )


def _around(at: float, sigma: float, unit: float) -> Callable[[Array, float], Array]:
    """Student's t of 4 degrees of freedom around a value: a normal with heavy tails."""

    def log_density(c: Array, blur: float) -> Array:
        width = math.hypot(sigma, blur * unit)
        return np.asarray(math.log(0.375 / width) - 2.5 * np.log1p(((c - at) / width) ** 2 / 4))

    return log_density


def _between(low: float, high: float) -> Callable[[Array, float], Array]:
    """Flat between two values, with one in a thousand outside."""

    def log_density(c: Array, blur: float) -> Array:
        inside = (c >= low - 1e-6) & (c <= high + 1e-6)
        return np.asarray(np.where(inside, -math.log(high - low), math.log(1e-3 / (high - low))))

    return log_density


HYPOTHESES = (
    Hypothesis(
        "raw", "raw values, in the units of the data", "feed them as they are",
        -math.inf, math.inf, _between(-1e9, 1e9), 1.0, 1.0,
    ),
    Hypothesis(
        "standard", "each feature less its centre, divided by its spread (z-score or robust)",
        "subtract the training mean and divide by the training std of each feature",
        -math.inf, math.inf, _around(0.0, 0.2, 1.0), 1.0, 0.35,
    ),
    Hypothesis(
        "unit", "values between 0 and 1 (min-max, or pixels / 255)", "scale to 0 to 1: min-max by the training range, or pixels / 255",
        0.0, 1.0, _between(0.0, 1.0), 0.25, 0.45,
    ),
    Hypothesis(
        "symmetric", "values between -1 and 1", "scale to -1 to 1: min-max or max-abs by the training range, or pixels / 127.5 - 1",
        -1.0, 1.0, _between(-1.0, 1.0), 0.5, 0.45,
    ),
    Hypothesis(
        "pixels", "pixels of 0 to 255", "feed the pixels as they are", 0.0, 255.0, _between(0.0, 255.0), 60.0, 0.5,
    ),
    Hypothesis(
        "centred", "pixels of 0 to 255 less the mean of each channel (Caffe's, often BGR)",
        "subtract the channel means 123.68, 116.779, 103.939 (in the channel order of the training)",
        -125.0, 155.0, _around(0.0, 12.0, 60.0), 60.0, 0.3,
    ),
)  # fmt: skip
BY_NAME = {h.name: h for h in HYPOTHESES}

# How often inputs of each sort were trained so, before anything of the model is looked at; each sums to 1. Tables are scaled
# about as often as not; picture models follow torchvision, Keras and Caffe.
PRIORS: dict[str, dict[str, float]] = {
    "table": {"raw": 0.35, "standard": 0.35, "unit": 0.15, "symmetric": 0.11, "pixels": 0.03, "centred": 0.01},
    "series": {"raw": 0.33, "standard": 0.33, "unit": 0.15, "symmetric": 0.16, "pixels": 0.02, "centred": 0.01},
    "sound": {"raw": 0.08, "standard": 0.15, "unit": 0.05, "symmetric": 0.70, "pixels": 0.01, "centred": 0.01},
    "picture": {"raw": 0.01, "standard": 0.30, "unit": 0.25, "symmetric": 0.19, "pixels": 0.17, "centred": 0.08},
}
