"""QuantizeLinear and DynamicQuantizeLinear: a scale goes into theirs where not one level changes; integer pixels.

    Q(a x + b)  =  saturate(round((a x + b) / s) + z)  =  saturate(round(x / (s / a)) + z + b / s)        b / s an integer

Both sides are staircases in x of at most 2^8 steps. They round differently, so the algebra alone proves nothing: each
step of the original is found among the raw floats by bisection, as the reference computes it (scaled in float64, rounded,
divided), and the fold stands only if the folded staircase steps at the very same floats. It does for powers of two, and
seldom otherwise.

DynamicQuantizeLinear takes its scale from the data: for a = 2^k, the same for all, integers and zero point stay and the
scale it answers with is multiplied by 2^k.

An input of uint8 pixels whose zero m is an integer needs no float arithmetic at all:
    (x - m) / d  =  DequantizeLinear(x, 1 / d, m)             per channel from opset 13, else one for all
Sources: ONNX QuantizeLinear and DequantizeLinear 10 to 25, DynamicQuantizeLinear 11.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxscale.folding import thresholds
from onnxscale.folding.base import EXACT, Change, Ints, Refusal, Site
from onnxscale.step import Array
from onnxscale.transform import Transform

PER_AXIS = 13
MOST = 1 << 22


def quantize(site: Site) -> Change | Refusal:
    scale, zero = site.operand(1), site.operand(2)
    carried = site.carried
    if site.port != 0 or scale is None or isinstance(scale, Refusal) or isinstance(zero, Refusal):
        refused = [v for v in (scale, zero) if isinstance(v, Refusal)]
        return refused[0] if refused else Refusal("the scaled tensor is not what is quantized")
    zero = np.zeros(scale.shape, np.uint8) if zero is None else zero
    varying = [i for i, d in enumerate(carried.index.shape) if d != 1]
    at = int(site.attributes.get("axis", 1)) % carried.index.ndim
    if (
        carried.dtype != "float32"
        or scale.dtype != np.float32
        or zero.dtype not in (np.uint8, np.int8)
        or scale.ndim > 1
    ):
        return Refusal(f"quantization of {carried.dtype} to {zero.dtype.name} with a scale of shape {scale.shape}")
    if len(carried.passed) > 1 or (site.affine.scale <= 0).any() or (carried.index < 0).any():
        return Refusal("a scale that is not positive, or a Cast before the quantization")
    if len(varying) > 1 or (varying and site.opset < PER_AXIS) or (varying and scale.size > 1 and varying != [at]):
        return Refusal("the scaler changes along a dimension that the quantization has no scales for")
    flat = [v.reshape(-1) for v in (carried.index, site.affine.scale, site.affine.shift)]
    count = max(len(flat[0]), scale.size)
    feature, a, b = (np.broadcast_to(v, count) for v in flat)
    old, z = np.broadcast_to(scale.reshape(-1), count), np.broadcast_to(zero.reshape(-1), count)
    with np.errstate(all="ignore"):
        new = (old.astype(np.float64) / a).astype(np.float32)
        moved = np.round(b / old) + z
    limits = np.iinfo(zero.dtype)
    if (moved < limits.min).any() or (moved > limits.max).any() or not np.isfinite(new).all() or not new.all():
        return Refusal("the shift is no whole number of steps of the quantization")
    if not _same_steps(carried.seen or carried.transform, feature, (old, z), (new, moved.astype(zero.dtype))):
        return Refusal("some raw value would fall on another level")
    single = count == 1 and scale.ndim == 0
    operands: dict[int, Array] = {1: new.reshape(()) if single else new}
    if (moved != z).any() or not single:
        operands[2] = moved.astype(zero.dtype).reshape(() if single else (-1,))
    return Change(EXACT, operands, {"axis": varying[0]} if varying else {})


Scale = tuple[Array, Array]


def _same_steps(transform: Transform, feature: Ints, old: Scale, new: Scale) -> bool:
    """Whether both quantize every raw float of every feature to the same level."""
    limits = np.iinfo(old[1].dtype)
    levels = np.arange(limits.min + 1, limits.max + 1, dtype=np.float32)
    if levels.size * feature.size > MOST:
        return False
    single = np.dtype(np.float32)
    scaled = thresholds.evaluator(transform, feature, transform.shape, single)

    def level(x: Array, scale: Scale) -> Array:
        with np.errstate(all="ignore"):
            rounded = np.rint(x / scale[0]) + scale[1].astype(np.float32)
            return np.asarray(np.clip(rounded, limits.min, limits.max))

    top = np.int64(0x7F800000)
    low = np.full((levels.size, feature.size), -top)
    high = -low
    while (high > low + 1).any():
        middle = (low + high) >> 1
        above = level(scaled(thresholds.floats(middle, single)), old) >= levels[:, None]
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    at, before = thresholds.floats(high, single), thresholds.floats(low, single)
    return bool((level(at, new) >= levels[:, None]).all() and (level(before, new) < levels[:, None]).all())


def dynamic(site: Site) -> Change | Refusal:
    a = np.unique(site.affine.scale)
    if site.affine.shift.any() or len(a) != 1 or np.frexp(a[0])[0] != 0.5:
        return Refusal(
            "its scale comes from the data: only one power of two for all features leaves every level as it is"
        )
    if not site.node.output[1]:
        return Change(EXACT)
    return Change(EXACT, rescaled=(1, np.asarray(a[0], np.float32)))


def pixels(transform: Transform, opset: int) -> tuple[Array, npt.NDArray[np.uint8]] | Refusal:
    """Scale and zero point, per feature, of the DequantizeLinear that is the transform of uint8 values."""
    affine, inverse = transform.affine(), transform.inverse()
    if affine is None or inverse is None or (affine.scale == 0).any() or affine.scale.ndim > 1:
        return Refusal("the scaler is not one scale and one shift per channel")
    shape = transform.shape or (1,)
    zero = inverse(np.zeros(shape))
    if not (np.isfinite(zero).all() and (zero == np.round(zero)).all() and zero.min() >= 0 and zero.max() <= 255):
        return Refusal("the raw value that becomes zero is no integer from 0 to 255")
    if opset < (10 if zero.size == 1 else PER_AXIS):
        return Refusal(f"DequantizeLinear per channel needs opset {PER_AXIS}, the model has {opset}")
    scale = np.broadcast_to(affine.scale, shape).astype(np.float32)
    if (scale <= 0).any():
        return Refusal("a scale that is not positive")
    return (scale, zero.astype(np.uint8)) if zero.size > 1 else (scale.reshape(()), zero.astype(np.uint8).reshape(()))
