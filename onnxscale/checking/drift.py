"""Real drift, column by column: the shift of the mean in sigmas, the distance of the laws, and the population stability index.

PSI = sum (a - e) ln(a / e) over ten cells of equal mass has the mean (cells - 1) (1/n + 1/N) where nothing drifted; that is taken off.
A column drifted where the Kolmogorov-Smirnov distance is beyond what chance gives one of F columns once in a thousand
checks, and beyond what does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxscale.checking import laws
from onnxscale.checking.reference import Reference
from onnxscale.checking.sample import Sample
from onnxscale.step import Array

ALARM = 1e-3
MATTERS = 0.05
TENTHS = np.round(np.linspace(0, 64, 11)[1:-1]).astype(int)


@dataclass(frozen=True, eq=False)
class Drift:
    """shift, distance, limit, psi: (F,), NaN where a column has no value. drifted: bool (F,)."""

    shift: Array
    distance: Array
    limit: Array
    psi: Array
    drifted: Array


def drift(reference: Reference, sample: Sample) -> Drift:
    share = sample.below(reference.law)
    distance = laws.distance(share, reference.law)
    n, trained = np.maximum(sample.kept, 1), np.maximum(reference.rows, 1)
    noise = np.sqrt(1 / n + 1 / trained)
    limit = MATTERS + np.sqrt(-0.5 * np.log(ALARM / (2 * max(reference.width, 1)))) * noise
    with np.errstate(all="ignore"):
        shift = (sample.mean - reference.mean) / np.where(reference.std > 0, reference.std, np.nan)
    psi = _psi(reference, share, n, trained)
    psi = np.where(sample.kept > 0, psi, np.nan)
    return Drift(shift, distance, limit, psi, np.nan_to_num(distance) > limit)


def _psi(reference: Reference, share: Array, n: Array, trained: Array) -> Array:
    at = 2 * TENTHS + 1
    ends = np.zeros((reference.width, 1))
    expected = np.diff(np.concatenate([ends, reference.law.cdf[:, at], ends + 1], axis=1), axis=1)
    seen = np.diff(np.concatenate([ends, share[:, at], ends + 1], axis=1), axis=1)
    there = expected > 1e-9
    least = (0.5 / n)[:, None]
    a, e = np.maximum(seen, least), np.maximum(expected, least)
    raw = np.where(there | (seen > 0), (a - e) * np.log(a / e), 0.0).sum(axis=1)
    return np.asarray(np.maximum(raw - (np.maximum(there.sum(axis=1), 1) - 1) * (1 / n + 1 / trained), 0.0))
