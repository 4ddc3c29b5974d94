"""BatchNormalization in inference form: it is a scaler itself, and takes the other one whole.

    g (a x + b - m) / s + B  =  (g a) (x - (m - b) / a) / s + B        s = sqrt(var + epsilon)

    a = 0:  the feature is the constant b: g' = 0, B' = B + g (b - m) / s

InstanceNormalization divides by the deviation of each sample's own channel, which can be as small as it likes, so no
bound holds for all rows, save where nothing rounds otherwise: a scale of +-2^k, the same in all channels, with
epsilon' = epsilon / 4^k.
Channels lie at axis 1. Sources: ONNX BatchNormalization 7 to 15, InstanceNormalization 1 to 22.
"""

from __future__ import annotations

import numpy as np

from onnxscale.folding import linear
from onnxscale.folding.base import EXACT, Change, Refusal, Site
from onnxscale.folding.bound import Sums, error
from onnxscale.folding.dense import along


def batch(site: Site) -> Change | Refusal:
    said, node = site.attributes, site.node
    if site.port != 0 or said.get("training_mode") or said.get("spatial", 1) != 1 or any(node.output[1:]):
        return Refusal("a BatchNormalization in training form")
    values = [site.operand(i) for i in range(1, 5)]
    read = [v.astype(np.float64) for v in values if v is not None and not isinstance(v, Refusal)]
    found = along(site, 1)
    if len(read) < 4 or isinstance(found, Refusal):
        refused = [v for v in (*values, found) if isinstance(v, Refusal)]
        return refused[0] if refused else Refusal("a BatchNormalization without its statistics")
    gain, bias, mean, variance = read
    affine, reach = found if found[0].scale.size > 1 else linear.widened(*found, gain.size)
    a, b = affine.scale, affine.shift
    if a.shape != gain.shape:
        return Refusal(f"{a.size} features for {gain.size} channels")
    slope = np.abs(gain) / np.sqrt(variance + float(said.get("epsilon", 1e-5)))
    flat = a == 0
    new = {
        1: gain * a,
        2: np.where(flat, bias + np.sign(gain) * slope * (b - mean), bias),
        3: np.where(flat, 0.0, (mean - b) / np.where(flat, 1.0, a)),
    }
    dtypes = {i: np.asarray(values[i - 1]).dtype for i in new}
    rounded = {i: linear.rounded(v, dtypes[i]) for i, v in new.items() if not np.array_equal(v, read[i - 1])}
    for value in rounded.values():
        if isinstance(value, Refusal):
            return value
    before = slope * np.abs(mean) + np.abs(bias)
    after = slope * np.abs(mean - b) + np.abs(new[2])
    sums = Sums(slope * reach.z, slope * reach.ax, slope * reach.err, reach.x, slope * np.abs(b), slope, 6)
    bound = error(sums, before, after, site.carried.dtype)
    return Change(bound, {i: v for i, v in rounded.items() if not isinstance(v, Refusal)})


def instance(site: Site) -> Change | Refusal:
    found = along(site, 1)
    gain = site.operand(1)
    if site.port != 0 or isinstance(found, Refusal) or gain is None or isinstance(gain, Refusal):
        refused = [v for v in (found, gain) if isinstance(v, Refusal)]
        return refused[0] if refused else Refusal("the scaled tensor is not what InstanceNormalization normalizes")
    affine = found[0]
    sizes = np.abs(affine.scale)
    if np.ptp(sizes) > 0 or not sizes.all():
        return Refusal("one epsilon for all channels, and a scale that is not the same in all")
    mantissa, _ = np.frexp(sizes.flat[0])
    if mantissa != 0.5 or affine.shift.any():
        return Refusal(
            "the variance of raw values rounds otherwise than that of scaled ones; no bound holds for all rows"
        )
    epsilon = float(site.attributes.get("epsilon", 1e-5))
    signed = {1: (gain * np.sign(affine.scale)).astype(gain.dtype)} if (affine.scale < 0).any() else {}
    return Change(EXACT, signed, {"epsilon": epsilon / float(sizes.flat[0]) ** 2})
