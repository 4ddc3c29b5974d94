"""Two answers to the same row, compared: how far apart, whether a label flips, and which row is the worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.step import Array

VERIFIED, DIFFERS, NOT_VERIFIED = "VERIFIED", "DIFFERS", "NOT VERIFIED"


@dataclass(frozen=True)
class Worst:
    """The row with the largest difference: which feed, which row of it, the raw values, both answers."""

    feed: str
    row: int
    raw: Mapping[str, Any]
    got: Any
    expected: Any


@dataclass(frozen=True)
class Flip:
    """A row that trees answer otherwise, and how far it is from the nearest threshold: raw value and distance in ULP of
    the input, of one feature of one input."""

    feed: str
    row: int
    input: str
    feature: int
    threshold: float
    distance: float


@dataclass(frozen=True)
class OutputCheck:
    """One output over all rows. absolute, relative (to the largest answer of its feed), ulp: largest differences.
    tolerance, noise: relative. flips: rows whose label or argmax differs. host_*: against rows scaled in float32.
    beside: the first rows that differ, where trees read the input."""

    name: str
    kind: str
    rows: int
    absolute: float
    relative: float
    ulp: float
    noise: float
    tolerance: float
    flips: int
    unstable: int
    differing: int
    vacuous: bool
    host_relative: float | None
    host_flips: int | None
    worst: Worst | None
    beside: tuple[Flip, ...] = ()

    @property
    def holds(self) -> bool:
        return self.differing == 0


@dataclass(frozen=True)
class SeamCheck:
    """The scaled tensor itself against float64. error and bound are those of the worst element; ulp over all.
    vacuous: of a folded layer that gives every row the same."""

    tensor: str
    role: str
    rows: int
    error: float
    bound: float
    ulp: float
    column: int | None
    holds: bool
    worst: Worst | None = None
    vacuous: bool = False


@dataclass(frozen=True)
class Comparison:
    """What verification found. verdict: VERIFIED, DIFFERS or NOT VERIFIED; reason: one sentence. how: "run", or "proof"
    where only what changed was run (proving.py)."""

    verdict: str
    reason: str
    seed: int
    rows: int
    seams: tuple[SeamCheck, ...]
    outputs: tuple[OutputCheck, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    how: str = "run"

    @property
    def verified(self) -> bool:
        return self.verdict == VERIFIED


def is_numbers(value: Any) -> bool:
    """True for an array of floats; everything else (labels, strings, sequences, maps) compares exactly."""
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16")


def same(a: Any, b: Any) -> bool:
    """Exact equality of answers of any kind; NaN equals NaN."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(np.array_equal(a, b, equal_nan=is_numbers(a)))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False  # an array and something else: a row, and the words for there being none
    both_nan = isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b)
    return bool(a == b) or bool(both_nan)


def numbers(value: Any) -> Array | None:
    """The floats inside a sequence of maps (ZipMap) or of arrays as one array [rows, classes]; None where there are none."""
    if is_numbers(value):
        return np.asarray(value)
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        keys = list(value[0])
        if all(list(v) == keys for v in value) and all(isinstance(x, float) for v in value for x in v.values()):
            return np.array([[v[k] for k in keys] for v in value], dtype=np.float32)
    return None


def relative(a: Array, b: Array) -> tuple[Array, float]:
    """Absolute difference element by element (NaN equal to NaN is 0, infinity equal to infinity is 0, else infinite),
    and the scale it is seen against: the largest finite |b|."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        equal = (a == b) | (np.isnan(a) & np.isnan(b))
        difference = np.where(equal, 0.0, np.abs(a - b))
    difference = np.where(np.isnan(difference), np.inf, difference)
    finite = np.abs(b[np.isfinite(b)])
    return difference, float(finite.max()) if finite.size else 0.0


def ulps(a: Array, b: Array) -> float:
    """Largest distance in units in the last place of the larger of the two, over the finite elements."""
    good = np.isfinite(a) & np.isfinite(b)
    if not good.any():
        return 0.0
    a, b = a[good], b[good]
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.spacing(np.maximum(np.abs(a), np.abs(b)).astype(b.dtype)).astype(np.float64)
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64)) / unit
    return float(np.nanmax(distance))


def argmax_flips(a: Array, b: Array) -> Array:
    """Per row whether the largest of the last axis is another one; no row where there is nothing to choose from."""
    if a.ndim < 2 or a.shape[-1] < 2 or a.shape != b.shape or a.size == 0:
        return np.zeros(len(a) if a.ndim else 0, bool)
    with np.errstate(invalid="ignore"):
        flip = np.argmax(a, -1) != np.argmax(b, -1)
    return np.asarray(flip.reshape(len(a), -1).any(axis=1))
