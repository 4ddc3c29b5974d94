"""Cue: a quantizer at the input was calibrated on what it met: scale and zero point are the range of the values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxscale.expecting.base import Evidence, First, Subject
from onnxscale.linting import KNOWN

ENDS = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}
WITHIN = 0.06


def quantized(subject: Subject) -> Iterator[Evidence]:
    for first in subject.first:
        if first.node.op_type == "QuantizeLinear" and first.node.input[0] == first.name:
            yield from _range(subject, first)


def _range(subject: Subject, first: First) -> Iterator[Evidence]:
    scale = subject.constant(first.node.input[1])
    zero = subject.constant(first.node.input[2]) if len(first.node.input) > 2 else np.zeros((), np.uint8)
    if scale is None or zero is None or scale.size != 1 or str(zero.dtype) not in ENDS:
        return
    low, high = ((end - float(zero.ravel()[0])) * float(scale.ravel()[0]) for end in ENDS[str(zero.dtype)])
    back = subject.undone(np.array([low]), np.array([1.0]))
    upper = subject.undone(np.array([high]), np.array([1.0]))
    if back is None or upper is None:
        return
    low, high = float(back[0][0]), float(upper[0][0])
    signed = str(zero.dtype).startswith("int") and not zero.any()
    scores = _scored(low, high, signed)
    known = (
        []
        if subject.sort != "picture"
        else [k for k in KNOWN if len(k.mean) == 3 and k.name != "Caffe" and _fits(low, high, *_ends(k))]
    )
    which = f", the range of pixels normalized by {known[0].name}'s constants" if known else ""
    if known and known[0].name != "Inception":
        scores["standard"] = scores.get("standard", 0.0) + 4.0
    yield Evidence("quantizer", f"the quantizer at the input takes {low:.4g} to {high:.4g}{which}", scores)


def _ends(k: object) -> tuple[float, float]:
    mean, std = (np.array(getattr(k, n)) for n in ("mean", "std"))
    return float((-mean / std).min()), float(((1 - mean) / std).max())


def _fits(low: float, high: float, wanted: float, to: float) -> bool:
    size = to - wanted
    return abs(low - wanted) < WITHIN * size and abs(high - to) < WITHIN * size


def _scored(low: float, high: float, signed: bool) -> dict[str, float]:
    """Calibration takes the least and the greatest value that came: of a bounded kind, about its ends. A signed quantizer
    without a zero point doubles a range that begins at 0."""
    top, even = max(abs(low), abs(high)), signed
    rare = -0.9 > low >= -15 and 13 < high <= 60  # a few values far out, as where most of a feature are 0
    return {
        "unit": 0.0 if _fits(low, high, 0, 1) or (even and abs(top - 1) < WITHIN) else -7.0,
        "symmetric": 0.0 if _fits(low, high, -1, 1) else -5.0,
        "pixels": 0.0 if _fits(low, high, 0, 255) or (even and abs(top - 255) < 255 * WITHIN) else -7.0,
        "centred": 0.0 if -140 < low < -95 and 120 < high < 165 else -7.0,
        # of z-scores the extremes lie 1.5 to 12 sigmas out on both sides; of raw values, anywhere
        "standard": -1.0 if -12 <= low <= -0.9 and 1.5 <= high <= 13 else -2.2 if rare else -6.0,
        "raw": -3.5 if top <= 13 else -2.0 if rare else -1.0,
    }
