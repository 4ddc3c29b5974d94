"""Channels of pictures the other way round: BGR for RGB.

Pixels of one picture are alike, so a batch of pictures drifts far more than as many rows of a table would, and the other order fits
badly too. What tells is the gap: how much nearer red and blue lie to each other's law than to their own. On pieces of ten photographs,
40 of 64 x 64 or more a batch, the gap was over 0.07 for every turned batch, and below -0.07 for every other one.
"""

from __future__ import annotations

import numpy as np

from onnxscale.checking import laws
from onnxscale.checking.reference import Reference
from onnxscale.checking.sample import Sample

ENDS = (0, 2)  # red and blue; green, and alpha, stay
GAP, RATIO = 0.06, 0.75


def turned(reference: Reference, sample: Sample) -> dict[str, float]:
    """The distances that say that red stands for blue: both channels as they are, and read so. {} where they do not."""
    if not reference.channels or reference.width not in (3, 4) or not sample.kept[list(ENDS)].all():
        return {}
    there, crossed = np.array(ENDS), np.array(ENDS[::-1])
    own, other = reference.law.take(there), reference.law.take(crossed)
    before = float(laws.distance(sample.below(own, there), own).sum())
    after = float(laws.distance(sample.below(other, there), other).sum())
    if before - after > GAP and after < RATIO * before:
        return {"distance read as RGB": before, "distance read as BGR": after}
    return {}
