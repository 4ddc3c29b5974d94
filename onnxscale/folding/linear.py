"""The algebra that all layers of weights share.

    sum_k W_k (a_k x_k + b_k)  =  sum_k (a_k W_k) x_k  +  sum_k W_k b_k

in float64, rounded once to the weights' own type. `a` and `b` lie along the weights by broadcasting; `axes` are summed.
Large weights are taken in blocks, so that their float64 twins never stand in memory whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnxscale.folding.base import Error, Reach, Refusal
from onnxscale.folding.bound import Sums, error
from onnxscale.step import Affine, Array

BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Folded:
    """weights: a W in the type of W. moved: sum W b per output, float64; outputs keep `axes` 1 long."""

    weights: Array
    moved: Array
    sums: Sums

    def error(self, before: Array | float, after: Array | float, dtype: str, extra: int = 0) -> Error:
        return error(self.sums, np.asarray(before, np.float64), np.asarray(after, np.float64), dtype, extra)


def place(affine: Affine, reach: Reach, shape: tuple[int, ...]) -> tuple[Affine, Reach]:
    """Vectors reshaped so that they lie along the weights."""
    scale, shift = (v.reshape(shape) for v in (affine.scale, affine.shift))
    return Affine(scale, shift), Reach(*(v.reshape(shape) for v in (reach.z, reach.ax, reach.err, reach.x)))


def widened(affine: Affine, reach: Reach, size: int) -> tuple[Affine, Reach]:
    """Vectors of one value, or of `size`, as vectors of `size`."""
    parts = [np.broadcast_to(v, size) for v in (affine.scale, affine.shift, reach.z, reach.ax, reach.err, reach.x)]
    return Affine(*parts[:2]), Reach(*parts[2:])


def fold(weights: Array, affine: Affine, reach: Reach, axes: tuple[int, ...], factor: float = 1.0) -> Folded | Refusal:
    """The folded weights. affine, reach: broadcast against `weights`. factor: a constant on the sum (Gemm's alpha)."""
    if weights.dtype.kind != "f":
        return Refusal(f"weights of type {weights.dtype.name}")
    axes = tuple(a % weights.ndim for a in axes)
    out = np.empty_like(weights)
    sums = [np.zeros([1 if i in axes else d for i, d in enumerate(weights.shape)]) for _ in range(7)]
    along = max((i for i in range(weights.ndim) if i not in axes), key=lambda i: weights.shape[i], default=None)
    size = weights.shape[along] if along is not None else 1
    step = size if along is None else max(1, BLOCK * size // max(1, weights.size))
    for start in range(0, size, step):
        at = _part(along, start, start + step)

        def cut(values: Array, at: tuple[slice, ...] = at) -> Array:
            whole = along is None or values.ndim <= along or values.shape[along] == 1
            return values if whole else values[at]

        w = weights[at].astype(np.float64) if along is not None else weights.astype(np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            folded = (w * cut(affine.scale)).astype(weights.dtype)
        if not np.isfinite(folded).all() and np.isfinite(w).all():
            return Refusal(f"a folded weight passes what {weights.dtype.name} can hold")
        out[at if along is not None else ...] = folded
        moved = (w * cut(affine.shift)).sum(axes, keepdims=True)
        w = np.abs(w)
        parts = [moved * factor]
        for values in (reach.z, reach.ax, reach.err, np.abs(affine.shift)):
            parts.append((w * cut(values)).sum(axes, keepdims=True) * abs(factor))
        parts.append(w.sum(axes, keepdims=True) * abs(factor))
        parts.append((np.broadcast_to(cut(reach.x), w.shape)).sum(axes, keepdims=True) * abs(factor))
        for total, part in zip(sums, parts, strict=True):
            total[at if along is not None else ...] = part
    moved, wz, wa, werr, wb, total_w, x = sums
    terms = math.prod(weights.shape[a] for a in axes)
    return Folded(out, moved, Sums(wz, wa, werr, x, wb, total_w, terms))


def _part(along: int | None, start: int, stop: int) -> tuple[slice, ...]:
    return () if along is None else (slice(None),) * along + (slice(start, stop),)


def rounded(values: Array, dtype: np.dtype[np.generic]) -> Array | Refusal:
    """float64 values in another type; a Refusal where they pass it."""
    with np.errstate(over="ignore"):
        out = np.asarray(values).astype(dtype)
    if not np.isfinite(out).all():
        return Refusal(f"a folded bias passes what {np.dtype(dtype).name} can hold")
    return out
