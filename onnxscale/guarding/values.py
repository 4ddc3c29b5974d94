"""A guard as a value: what it knows of the raw values, which outputs it gives, and the same in numpy.

Per row (dimension 0; the whole tensor where features lie there):
    outside   how many values are below low or above high; NaN is outside
    distance  sqrt(mean over the row of ((x - mean) / std)^2), in sigmas: 1 on ordinary rows
Per batch:
    looks_scaled  whether over half of the rows score below the threshold of telling.py
Per feature, over the batch: n (finite values), missing (all others), sum(x - K), square = sum((x - K)^2), min, max.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxscale.guarding.telling import Telling
from onnxscale.step import Array, align
from onnxscale.transform import encode

FAR = 10.0  # sigmas, root mean square over a row: such a row cannot be right
FILL = {"float16": np.nan, "float32": np.nan, "float64": np.nan, "int32": -1, "int64": -1}
WATCH = ("outside", "distance", "looks_scaled")
SUMS = ("n", "missing", "sum", "square", "min", "max")


@dataclass(frozen=True, eq=False)
class Guard:
    """The guard of one input. mode: "observe", "clamp", "nan", or "" for statistics alone. rank, axis, dtype: of what the app
    feeds, axis counted from the start. low, high, mean, std: float64 of the features' shape, or None; a std of 0 is that of
    a constant feature, which has no distance. shift: K. outputs: kind -> name of the output. poisons: outputs of the model ->
    dtype, that lose the rows that cannot be right. notes: in words, what is there and what is not."""

    mode: str
    shape: tuple[int, ...]
    rank: int
    axis: int
    dtype: str
    low: Array | None = None
    high: Array | None = None
    mean: Array | None = None
    std: Array | None = None
    telling: Telling | None = None
    shift: Array | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    poisons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def working(self) -> str:
        """The type in which values are compared: wide enough for every value of the input."""
        return "float64" if self.dtype in ("float64", "int32", "int64", "uint32", "uint64") else "float32"

    @property
    def over(self) -> tuple[int, ...]:
        """The dimensions of a row."""
        return tuple(range(self.rank)) if self.axis == 0 and self.shape else tuple(range(1, self.rank))

    @property
    def rows(self) -> tuple[int, ...]:
        """The dimensions over which the statistics of a feature go."""
        return tuple(i for i in range(self.rank) if not self.axis <= i < self.axis + len(self.shape))

    def bounds(self, dtype: str) -> tuple[Array, Array]:
        """low and high in a type, aligned; rounded as values are, so that a value in range stays so; whole in integers."""
        assert self.low is not None and self.high is not None
        low, high = (align(v, self.rank, self.axis) for v in (self.low, self.high))
        if dtype not in ("float16", "float32", "float64", "bfloat16"):
            return np.ceil(low), np.floor(high)
        with np.errstate(over="ignore"):
            return low.astype(np.dtype(dtype)), high.astype(np.dtype(dtype))

    def inverse_std(self) -> Array:
        """1 / std, and 0 for constant features."""
        assert self.std is not None
        flat = ~(self.std > 0)
        return np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, self.std))

    def precise(self) -> bool:
        """Whether the distance needs float64: float32 would lose over a thousandth of a sigma to a large mean."""
        if self.mean is None or self.working == "float64":
            return self.working == "float64"
        return bool((np.abs(self.mean) * self.inverse_std() > 1e-3 * 2**24).any())

    def clamped(self, raw: Array) -> Array:
        """What the model reads of raw values: under clamp, cut to the range; NaN stays NaN."""
        if self.mode != "clamp":
            return raw
        low, high = self.bounds(self.dtype)
        wide = raw if raw.dtype.kind == "f" and raw.dtype.name != "bfloat16" else raw.astype(self.working)
        low, high = low.astype(wide.dtype), high.astype(wide.dtype)
        return np.asarray(np.minimum(np.maximum(wide, low), high).astype(raw.dtype))

    def seen(self, raw: Array) -> dict[str, Array]:
        """What the guard says of a batch, kind -> value, computed in float64."""
        found: dict[str, Array] = {}
        x = raw.astype(self.working)
        wide = raw.astype(np.float64)
        with np.errstate(all="ignore"):
            if self.low is not None:
                low, high = self.bounds(self.working)
                found["outside"] = np.sum(~((x >= low) & (x <= high)), axis=self.over).astype(np.float32)
            if self.std is not None and self.mean is not None:
                mean, inverse = (align(v, self.rank, self.axis) for v in (self.mean, self.inverse_std()))
                found["distance"] = np.sqrt(np.mean(((wide - mean) * inverse) ** 2, axis=self.over))
            if self.telling is not None:
                below = self.scores(raw) < self.telling.threshold
                found["looks_scaled"] = np.asarray(np.mean(below) > 0.5 if below.size else False)
            if self.shift is not None:
                found |= self._sums(wide)
        return found

    def scores(self, raw: Array) -> Array:
        """The score of each row."""
        assert self.telling is not None
        low, high, w = (
            align(v, self.rank, self.axis) for v in (self.telling.low, self.telling.high, self.telling.weights)
        )
        cut = np.clip(raw.astype(self.working).astype(np.float64), low, high)
        return np.asarray(np.mean(cut * w, axis=self.over) * max(int(np.prod(self.shape)), 1))

    def wrong(self, raw: Array) -> Array:
        """Which rows cannot be right: FAR sigmas and a value outside, or a batch that looks scaled."""
        found = self.seen(raw)
        far = np.asarray(found["distance"] > FAR)
        if "outside" in found:
            far = far & (found["outside"] > 0)
        return far | found["looks_scaled"] if "looks_scaled" in found else far

    def _sums(self, x: Array) -> dict[str, Array]:
        assert self.shift is not None
        finite = np.isfinite(x)
        d = np.where(finite, x - align(self.shift, self.rank, self.axis), 0.0)
        return {
            "n": np.sum(finite, axis=self.rows).astype(np.float64),
            "missing": np.sum(~finite, axis=self.rows).astype(np.float64),
            "sum": np.sum(d, axis=self.rows),
            "square": np.sum(d * d, axis=self.rows),
            "min": np.min(np.where(finite, x, np.inf), axis=self.rows, initial=np.inf),
            "max": np.max(np.where(finite, x, -np.inf), axis=self.rows, initial=-np.inf),
        }

    def to_json(self) -> dict[str, Any]:
        """For the record of a bake."""
        numbers = {k: getattr(self, k) for k in ("low", "high", "mean", "std", "shift")}
        content: dict[str, Any] = {
            "mode": self.mode or "stats", "outputs": dict(self.outputs), "axis": self.axis, "rank": self.rank, "dtype": self.dtype,
            **{k: encode(v) for k, v in numbers.items() if v is not None},
        }  # fmt: skip
        if self.telling is not None:
            t = self.telling
            content["telling"] = {k: encode(getattr(t, k)) for k in ("weights", "low", "high")}
            content["telling"]["threshold"] = t.threshold
        return content | ({"poisons": dict(self.poisons), "far": FAR} if self.poisons else {})

    def says(self, raw: Array, got: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
        """Kind -> by how much, relative, the outputs of a run are off what `seen` says (inf for another shape or answer), and for
        how many values. A batch whose rows lie on the threshold is not judged."""
        off: dict[str, tuple[float, int]] = {}
        for kind, expected in self.seen(raw).items():
            mine = np.asarray(got.get(self.outputs[kind], np.nan))
            if mine.shape != expected.shape:
                off[kind] = (np.inf, max(expected.size, 1))
                continue
            off[kind] = _off(mine.astype(np.float64), expected.astype(np.float64), _slack(kind, self, raw)), mine.size
            if kind == "looks_scaled" and self._close(raw):
                off[kind] = (0.0, 0)
        return off

    def _close(self, raw: Array) -> bool:
        assert self.telling is not None
        scores = self.scores(raw)
        near = np.abs(scores - self.telling.threshold) < 1e-4 * max(1.0, abs(self.telling.threshold))
        sure = int((scores < self.telling.threshold - 1e-4).sum())
        return bool(near.any()) and sure <= scores.size / 2 < sure + int(near.sum()) + 1


def _off(mine: Array, expected: Array, slack: Array | float) -> float:
    with np.errstate(all="ignore"):
        same = (mine == expected) | (np.isnan(mine) & np.isnan(expected))
        same |= (np.abs(mine) > 1e18) & (np.abs(expected) > 1e18)  # squares of float32 end there
        error = np.where(same, 0.0, np.abs(mine - expected) / (slack + np.abs(expected)))
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))


def _slack(kind: str, guard: Guard, raw: Array) -> Array | float:
    """Beside its own size, the size of what a value is a difference of."""
    if kind == "sum":
        with np.errstate(all="ignore"):
            found = guard.seen(raw)
            return np.asarray(np.sqrt(found["square"] * np.maximum(found["n"], 1)))
    return {"distance": 1e-2}.get(kind, 0.0)


# how far outputs may be from the reference: counts and extremes not at all, sums by their order, distances by float32
TOLERANCE = {**dict.fromkeys((*WATCH, *SUMS), 0.0), "sum": 1e-12, "square": 1e-12, "distance": 1e-3}
