"""Conv and ConvTranspose: the scale goes into the kernel; the shift into the bias where every tap meets real values.

    sum_{c,k} W[m,c,k] (a_c x[c,p+k] + b_c)  =  sum_{c,k} (a_c W[m,c,k]) x[c,p+k]  +  sum_{c,k} W[m,c,k] b_c

The last sum is the same at every position p only without padding: a padded position holds zero, not a 0 + b. So with
padding the shift stays before the layer, as x - m, whose zero is the zero that the padding means. A transposed
convolution has fewer taps at its borders even without padding; its shift goes in for a kernel of one tap.

Group g of G reads channels g C/G to (g + 1) C/G: Conv has W[M, C/G, k...], ConvTranspose W[C, M/G, k...].
Sources: ONNX Conv 1 to 22, ConvTranspose 1 to 22.
"""

from __future__ import annotations

import math

import numpy as np

from onnxscale.folding import linear
from onnxscale.folding.base import Change, Refusal, Site
from onnxscale.folding.dense import along
from onnxscale.step import Array


def conv(site: Site) -> Change | Refusal:
    return _conv(site, transposed=False)


def conv_transpose(site: Site) -> Change | Refusal:
    return _conv(site, transposed=True)


def _conv(site: Site, transposed: bool) -> Change | Refusal:
    if site.port != 0:
        return Refusal("the scaled tensor is the kernel")
    weights = site.operand(1)
    if weights is None or isinstance(weights, Refusal):
        return weights or Refusal("a convolution without a kernel")
    lying = along(site, 1)
    if isinstance(lying, Refusal):
        return Refusal("the scaler changes from position to position, the kernel does not")
    group = int(site.attributes.get("group", 1))
    taps = math.prod(weights.shape[2:])
    if weights.ndim != site.carried.index.ndim or weights.shape[0] % group:
        return Refusal(f"a kernel of shape {weights.shape} for {group} groups")
    if transposed:
        split, lie, axes = (group, weights.shape[0] // group, weights.shape[1], taps), (group, -1, 1, 1), (1, 3)
    else:
        split, lie, axes = (group, weights.shape[0] // group, weights.shape[1], taps), (group, 1, -1, 1), (2, 3)
    channels = weights.shape[0] if transposed else weights.shape[1] * group
    affine, reach = lying
    if affine.scale.size not in (1, channels):
        return Refusal(f"{affine.scale.size} features for {channels} channels")
    spread = linear.place(*linear.widened(affine, reach, channels), lie)
    made = linear.fold(weights.reshape(split), *spread, axes)
    if isinstance(made, Refusal):
        return made
    operands: dict[int, Array] = {1: made.weights.reshape(weights.shape)}
    old = site.operand(2)
    if isinstance(old, Refusal):
        return old
    if not affine.shift.any():
        before = 0.0 if old is None else np.abs(old.reshape(made.moved.shape))
        return Change(made.error(before, before, weights.dtype.name), operands)
    reason = _border(site, transposed, taps)
    if reason:
        return Refusal(reason)
    moved = made.moved.reshape(-1)
    bias = np.zeros(moved.shape) if old is None else old.astype(np.float64)
    total = linear.rounded(bias + moved, weights.dtype)
    if isinstance(total, Refusal):
        return total
    shape = made.moved.shape
    bound = made.error(np.abs(bias).reshape(shape), np.abs(bias + moved).reshape(shape), weights.dtype.name)
    return Change(bound, operands | {2: total})


def _border(site: Site, transposed: bool, taps: int) -> str:
    """Why the shift cannot go in; "" where it can."""
    said = site.attributes
    auto = said.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else str(auto)
    if any(said.get("pads", ())) or auto not in ("NOTSET", "VALID"):
        return "zero padding: the shift would be wrong at the borders"
    if transposed and (
        taps > 1
        or any(s != 1 for s in said.get("strides", ()))
        or any(said.get("output_padding", ()))
        or "output_shape" in said
    ):
        return "a transposed convolution has fewer taps at its borders: the shift would be wrong there"
    return ""
