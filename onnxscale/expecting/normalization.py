"""Cue: a BatchNormalization remembers the mean and variance of what it met in training.

At the input itself: those are the input's. Behind a first linear layer y = W x + b, its mean is W m + b where m is the mean of each
feature (each channel of a convolution, edges left aside), a linear system for m in as many equations as the layer has units;
its variance is w' C w, which gives the spread s where C = s^2 R and R is the correlation of neighbouring pixels, RHO a step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from onnxscale.expecting.base import Evidence, First, Subject, following
from onnxscale.expecting.moments import scored, text
from onnxscale.step import Array

RHO, BETWEEN = (
    0.95,
    0.85,
)  # of pixels a step apart, of colour channels; over natural images (any two of many studies agree so far)
EXPLAINED = 0.7


def normalization(subject: Subject) -> Iterator[Evidence]:
    for first in subject.first:
        if first.node.op_type == "BatchNormalization" and not _turned(first):
            yield from _front(subject, first.node)
        elif first.node.op_type in ("Conv", "Gemm", "MatMul"):
            yield from _behind(subject, first)


def _turned(first: First) -> bool:
    return first.moved and first.node.op_type != "BatchNormalization"


def _moments(subject: Subject, node: onnx.NodeProto) -> tuple[Array, Array] | None:
    """Running mean and std of a BatchNormalization, or None; 0 and 1 to the last digit are where training starts, met by no data."""
    if len(node.input) < 5:
        return None
    mean, variance = (subject.constant(n) for n in node.input[3:5])
    if mean is None or variance is None or mean.size != variance.size or (not mean.any() and (variance == 1).all()):
        return None
    return mean.astype(np.float64).ravel(), np.sqrt(np.maximum(variance.astype(np.float64).ravel(), 0))


def _front(subject: Subject, node: onnx.NodeProto) -> Iterator[Evidence]:
    found = _moments(subject, node)
    back = None if found is None else subject.undone(*found)
    if back is None:
        return
    scores = scored(subject, *back, blur=0.15)
    if scores:
        yield Evidence("batch normalization", f"a BatchNormalization at the input met {text(*back)}", scores)


def _behind(subject: Subject, first: First) -> Iterator[Evidence]:
    layer = _layer(subject, first)
    if layer is None:
        return
    weight, bias, out = layer  # (units, features, places)
    after = _then(subject, out)
    if after is not None and after.op_type == "Add":
        added = next((c for c in map(subject.constant, after.input) if c is not None), None)
        if added is None or added.size not in (1, bias.size):
            return
        bias, after = bias + added.ravel().astype(np.float64), _then(subject, after.output[0])
    if after is None or after.op_type != "BatchNormalization":
        return
    found = _moments(subject, after)
    if found is None or found[0].size != weight.shape[0]:
        return
    mean = _solved(weight.sum(axis=2), found[0] - bias)
    spread = _spread(weight, found[1])
    if mean is None or spread is None:
        return
    back = subject.undone(mean, np.full(mean.size, spread))
    if back is not None and (scores := scored(subject, *back, blur=0.5)):
        what = f"the BatchNormalization behind the first {first.node.op_type}"
        yield Evidence("hidden normalization", f"{what} met what an input of {text(*back)} gives", scores)


def _then(subject: Subject, name: str) -> onnx.NodeProto | None:
    after = following(subject, name)
    return after[0] if len(after) == 1 else None


def _layer(subject: Subject, first: First) -> tuple[Array, Array, str] | None:
    """Weights as (units, features, places), bias, and the output of the first linear layer."""
    node = first.node
    weight = subject.constant(node.input[1]) if len(node.input) > 1 else None
    if weight is None or weight.ndim < 2 or node.input[0] != first.name:
        return None
    given = subject.constant(node.input[2]) if len(node.input) > 2 else None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    weight = weight.astype(np.float64)
    if node.op_type == "Conv":
        if attributes.get("group", 1) != 1:
            return None
        weight = weight.reshape(*weight.shape[:2], -1)
    else:
        weight = weight if attributes.get("transB") else weight.T
        if weight.ndim != 2:
            return None
        weight = weight[:, :, None]
    bias = np.zeros(weight.shape[0]) if given is None else given.astype(np.float64).ravel()
    return (weight, bias, node.output[0]) if bias.size == weight.shape[0] else None


def _solved(sums: Array, means: Array) -> Array | None:
    """m of sums @ m = means by least squares; None where the units are fewer than the features, or are not explained."""
    units, features = sums.shape
    if units < 2 * features or not np.isfinite(sums).all() or not np.isfinite(means).all():
        return None
    m, *_ = np.linalg.lstsq(sums, means, rcond=1e-6)
    total = float((means**2).sum())
    if total <= 1e-12:
        return np.zeros(features)
    left = float(((sums @ m - means) ** 2).sum())
    return np.asarray(m) if 1 - left / total > EXPLAINED or np.abs(m).max() < 0.2 else None


def _spread(weight: Array, std: Array) -> float | None:
    """s of std_k^2 = s^2 w_k' R w_k, the median over units k."""
    units, features, places = weight.shape
    side = round(places**0.5)
    if places == 1:
        return None if features > 4 else _median(std, np.sqrt((weight**2).sum(axis=(1, 2))))
    if side * side != places or units * (features * places) ** 2 > 1 << 28:
        return None
    y, x = np.divmod(np.arange(places), side)
    near = RHO ** np.hypot(y[:, None] - y, x[:, None] - x)
    between = np.full((features, features), BETWEEN) + (1 - BETWEEN) * np.eye(features)
    flat = weight.reshape(units, -1)
    return _median(std, np.sqrt(np.maximum(((flat @ np.kron(between, near)) * flat).sum(axis=1), 0)))


def _median(std: Array, of: Array) -> float | None:
    good = (of > 1e-9) & np.isfinite(std) & (std > 0)
    return float(np.median(std[good] / of[good])) if good.sum() >= 2 else None
