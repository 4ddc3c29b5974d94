"""Raw rows that try to break a baked model: built from the statistics, the ranges, the thresholds, and the edges of float.

A family of rows is an array [R, *features]; `spread` lays rows out over a tensor's shape. Numpy only, seeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxscale.step import Array
from onnxscale.transform import Transform

SWEPT, TESTED = 64, 256
LARGEST = "the largest floats"


@dataclass(frozen=True, eq=False)
class Range:
    """Where raw values lie: center and width (about one sigma) per feature, float64 of the features' shape."""

    center: Array
    width: Array
    low: Array
    high: Array


def raw_range(
    transform: Transform, shape: tuple[int, ...], low: Array | None = None, high: Array | None = None
) -> Range:
    """Where raw values lie, from the training range where it is known, else from what the transform maps to -1, 0, 1."""
    inverse = transform.inverse()
    if low is not None and high is not None:
        center, width = (low + high) / 2, np.maximum((high - low) / 4, 0)
    elif inverse is None or not transform.elementwise:
        center, width = np.zeros(shape), np.ones(shape)
    else:
        middle, plus, minus = (inverse(np.full(shape, v)) for v in (0.0, 1.0, -1.0))
        with np.errstate(all="ignore"):  # what an inverse makes infinite is replaced below
            center, width = middle, np.abs(plus - minus) / 2
    center, width = (np.broadcast_to(v, shape).astype(np.float64) for v in (center, width))
    center = np.where(np.isfinite(center), center, 0.0)
    width = np.where(np.isfinite(width) & (width > 0), width, np.maximum(np.abs(center), 1.0))
    with np.errstate(over="ignore"):
        ends = center - 2 * width, center + 2 * width
    low = ends[0] if low is None else np.broadcast_to(low, shape)
    high = ends[1] if high is None else np.broadcast_to(high, shape)
    return Range(center, width, low, high)


@dataclass(frozen=True, eq=False)
class Family:
    """Rows of one sort. ordinary: whether a model is expected to answer them with sense (no NaN, no infinity)."""

    label: str
    rows: Array
    ordinary: bool = True


def families(
    r: Range,
    rng: np.random.Generator,
    count: int,
    thresholds: Sequence[tuple[int, float]] = (),
    dtype: str = "float32",
) -> list[Family]:
    """Families of raw rows [R, *features], float64, before they are rounded to the input's type.

    thresholds: (flat feature, raw value) where a tree decides; rows one and two steps of `dtype`, the input's type, on
    either side are made.
    """
    shape = r.center.shape
    made = [
        Family("in distribution", r.center + r.width * rng.standard_normal((count, *shape))),
        Family("uniform over the range", r.low + (r.high - r.low) * rng.random((max(count // 4, 1), *shape))),
        Family("one column at a time", _sweeps(r, rng, count)),
        Family("all at once", np.stack([r.center, r.low, r.high, r.center - 6 * r.width, r.center + 6 * r.width])),
    ]
    if thresholds:
        made.append(Family("beside a threshold", _beside(r, rng, thresholds, max(count, 16), dtype)))
    tiny, top = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    plain = [0.0, -0.0, 1.0, -1.0, float(tiny), -float(tiny), 1e-30, 255.0]
    made.append(Family("zeros, subnormals, ones", np.stack([np.full(shape, v) for v in plain])))
    wild = [np.full(shape, v) for v in (np.nan, np.inf, -np.inf)]
    for value in (np.nan, np.inf):
        row = np.array(r.center)
        row.flat[int(rng.integers(row.size)) if row.size else 0] = value
        wild.append(row)
    made.append(Family("NaN and infinity", np.stack(wild), ordinary=False))
    made.append(Family(LARGEST, np.stack([np.full(shape, float(top)), np.full(shape, -float(top))]), ordinary=False))
    return made


def _sweeps(r: Range, rng: np.random.Generator, count: int) -> Array:
    size = r.center.size
    columns = np.arange(size) if size <= SWEPT else np.sort(rng.choice(size, SWEPT, replace=False))
    values = (-6.0, -1.0, 1.0, 6.0)
    most = max(1, min(len(columns), max(count, 4) // len(values) or 1))
    columns = columns[np.linspace(0, len(columns) - 1, most).astype(int)]
    rows = np.repeat(r.center.reshape(1, -1), len(columns) * len(values), axis=0)
    for i, column in enumerate(columns):
        for j, value in enumerate(values):
            rows[i * len(values) + j, column] += value * r.width.flat[column]
    return rows.reshape(-1, *r.center.shape)


def _beside(
    r: Range, rng: np.random.Generator, thresholds: Sequence[tuple[int, float]], most: int, dtype: str
) -> Array:
    chosen = list(thresholds)
    if len(chosen) > min(most, TESTED):
        chosen = [chosen[i] for i in np.sort(rng.choice(len(chosen), min(most, TESTED), replace=False))]
    rows = []
    for feature, value in chosen:
        for near in _steps(value, dtype):
            row = r.center + r.width * rng.standard_normal(r.center.shape)
            row.flat[feature] = near
            rows.append(row)
    return np.stack(rows)


def _steps(value: float, dtype: str) -> list[float]:
    """The value in the type that the app feeds, and the two next to it on either side."""
    if dtype.startswith(("int", "uint")):
        return [float(np.floor(value)) + i for i in (-1, 0, 1, 2)]
    kind = np.dtype(dtype).type
    with np.errstate(over="ignore"):  # beside the largest float lies infinity
        near = np.asarray(kind(value))
        ends = [kind(-np.inf), kind(np.inf)]
        below, above = (np.nextafter(near, end) for end in ends)
        return [float(v) for v in (np.nextafter(below, ends[0]), below, near, above, np.nextafter(above, ends[1]))]


def spread(family: Family, r: Range, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> Array:
    """Rows laid out as [R, *shape]: the features at `axis` of `shape` (which has no row dimension), the same row at
    every other position; a row in distribution is drawn anew at each position."""
    features = r.center.shape
    rows = family.rows
    if rows.ndim == 1:
        filled = np.broadcast_to(rows.reshape(-1, *(1,) * len(shape)), (len(rows), *shape))
    else:
        trailing = len(shape) - axis - len(features)
        filled = np.broadcast_to(
            rows.reshape(len(rows), *(1,) * axis, *features, *(1,) * trailing), (len(rows), *shape)
        )
    if family.label == "in distribution" and filled.size > rows.size:
        place = (1,) * axis + features + (1,) * (len(shape) - axis - len(features)) if features else (1,) * len(shape)
        filled = r.center.reshape(place) + r.width.reshape(place) * rng.standard_normal(filled.shape)
    return np.array(filled)


def as_dtype(values: Array, dtype: str) -> Array:
    """Rows in the type that the app feeds: floats rounded, integers rounded and cut to their range (NaN becomes 0)."""
    if not dtype.startswith(("int", "uint")):
        with np.errstate(over="ignore"):
            return values.astype(np.dtype(dtype))
    info = np.iinfo(dtype)
    return np.clip(np.nan_to_num(np.round(values), nan=0.0), info.min, info.max).astype(dtype)
