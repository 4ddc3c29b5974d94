"""Summaries that add: counts, shifted sums and extremes of columns, from which mean and standard deviation follow.

With K a number near the mean of a column, over its n finite values x:  S = sum(x - K),  Q = sum((x - K)^2),
    mean = K + S / n        var = (Q - S^2 / n) / n        about another K' = K - d:  S' = S + n d,  Q' = Q + 2 d S + n d^2
(T. Chan, G. Golub, R. LeVeque, Algorithms for computing the sample variance, The American Statistician 37, 1983). Sums are pairs
of float64 (doubled.py), so that adding summaries, in any order and about whatever K, loses nothing that the sums had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxscale.errors import DataError
from onnxscale.fitting.doubled import add, divide, multiply, pair, two_sum
from onnxscale.profile import Profile
from onnxscale.step import Array

FORMAT = "onnxscale summary 1"
_INTS, _FLOATS = ("count", "nulls"), ("shift", "min", "max")


@dataclass(frozen=True, eq=False)
class Cross:
    """Sums over the rows in which every column is finite, about the shift of their Summary. rows: how many. sum: float64 of (F,).
    product: of two columns each, float64 of (F, F)."""

    rows: int
    sum: Array
    product: Array

    def about(self, d: Array) -> Cross:
        """The same about the shift less d."""
        moved = np.outer(d, self.sum)
        product = self.product + (moved + moved.T) + self.rows * np.outer(d, d)
        return Cross(self.rows, self.sum + self.rows * d, product)

    def correlation(self, varies: Array) -> Array:
        """Pearson's r of (F, F), 0 beside a column that does not vary (bool of (F,))."""
        n = max(self.rows, 1)
        covariance = self.product / n - np.outer(self.sum / n, self.sum / n)
        scale = np.sqrt(np.clip(np.diag(covariance), 0, None))
        with np.errstate(all="ignore"):
            r = np.clip(covariance / np.outer(scale, scale), -1, 1)
        r = np.where(np.isfinite(r) & np.outer(varies, varies), r, 0.0)
        np.fill_diagonal(r, 1.0)
        return np.asarray(r)


@dataclass(frozen=True, eq=False)
class Summary:
    """F columns. rows: read. count, nulls: finite values and missing ones, int64 of (F,); what is neither is NaN or infinite.
    shift: K. sum, square: S and Q, pairs of float64, (2, F). min, max: of the finite values, inf and -inf where there is none.
    whole: bool of (F,), whether all finite values are whole numbers. cross: for the correlation, or None. counts: what the
    quantiles of several shards are made of, as JSON values, or None. features, dtypes, units, about: as in Profile."""

    rows: int
    count: Array
    nulls: Array
    shift: Array
    sum: Array
    square: Array
    min: Array
    max: Array
    whole: Array
    cross: Cross | None = None
    counts: Any = None
    features: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return int(self.count.size)

    @property
    def mean(self) -> Array:
        """float64 of (F,), NaN where there is no value; of a constant column, its value."""
        with np.errstate(all="ignore"):
            found = add(pair(self.shift), divide(self.sum, self.count.astype(np.float64)))[0]
        found = np.clip(found, np.minimum(self.min, self.max), np.maximum(self.min, self.max))
        return np.where(self.count > 0, np.where(self.min == self.max, self.min, found), np.nan)

    @property
    def std(self) -> Array:
        """float64 of (F,), ddof 0; exactly 0 where min == max, NaN where there is no value, inf where it is out of range."""
        n = self.count.astype(np.float64)
        with np.errstate(all="ignore"):
            variance = divide(add(self.square, -divide(multiply(self.sum, self.sum), n)), n)[0]
            found = np.sqrt(np.clip(variance, 0, None))
        found = np.where(np.isfinite(self.square[0]), found, np.inf)
        return np.where(self.count > 0, np.where(self.min == self.max, 0.0, found), np.nan)

    @property
    def off(self) -> Array:
        """bool of (F,): whether the mean is so far from the shift that digits of the variance are lost: more than two of its
        standard deviations. Those columns are read again about their mean."""
        with np.errstate(all="ignore"):
            away = np.abs(self.sum[0]) / self.count
            lost = (away > 2 * self.std) | ~np.isfinite(self.square[0])
        return np.asarray((self.count > 0) & (self.min < self.max) & lost)

    def about_shift(self, shift: Array) -> Summary:
        """The same sums about another K. Where there is no value, nothing but K changes."""
        d = two_sum(self.shift, -shift)
        n = pair(self.count.astype(np.float64))
        step = multiply(n, d)
        square = add(
            self.square, add(multiply(pair(np.full(self.width, 2.0)), multiply(d, self.sum)), multiply(step, d))
        )
        cross = None if self.cross is None else self.cross.about(d[0])
        return replace(self, shift=shift, sum=add(self.sum, step), square=square, cross=cross)

    def __add__(self, other: Summary) -> Summary:
        """Both, of the same columns. What one value says of all (features, about) is that of the first."""
        if self.width != other.width:
            raise DataError(f"summaries of {self.width} and of {other.width} columns do not add")
        shift = np.where(self.count >= other.count, self.shift, other.shift)
        a, b = (s if np.array_equal(s.shift, shift) else s.about_shift(shift) for s in (self, other))
        cross = None
        if a.cross is not None and b.cross is not None:
            x, y = a.cross, b.cross
            cross = Cross(x.rows + y.rows, x.sum + y.sum, x.product + y.product)
        return replace(
            a,
            rows=a.rows + b.rows,
            count=a.count + b.count,
            nulls=a.nulls + b.nulls,
            sum=add(a.sum, b.sum),
            square=add(a.square, b.square),
            min=np.minimum(a.min, b.min),
            max=np.maximum(a.max, b.max),
            whole=a.whole & b.whole,
            cross=cross,
        )

    def columns(self, index: Sequence[int] | Array, other: Summary) -> Summary:
        """This one with the columns of these numbers taken from another summary, of just them."""
        taken: dict[str, Any] = {}
        for name in ("count", "nulls", "shift", "min", "max", "whole"):
            values = getattr(self, name).copy()
            values[index] = getattr(other, name)
            taken[name] = values
        for name in ("sum", "square"):
            values = getattr(self, name).copy()
            values[:, index] = getattr(other, name)
            taken[name] = values
        return replace(self, **taken)

    def profile(self, quantiles: Array | None = None, about: Mapping[str, Any] | None = None) -> Profile:
        """What is known of the columns. quantiles: float64 of (F, 65), or None. about: more of where it was measured."""
        there = self.count > 0
        return Profile(
            self.rows,
            self.count,
            self.nulls,
            self.rows - self.count - self.nulls,
            self.mean,
            self.std,
            np.where(there, self.min, np.nan),
            np.where(there, self.max, np.nan),
            quantiles,
            self.whole & there,
            None if self.cross is None else self.cross.correlation(self.min < self.max),
            self.features,
            self.dtypes,
            self.units,
            {**self.about, **(about or {})},
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; every float64 reads back bit-equal."""
        content: dict[str, Any] = {"format": FORMAT, "rows": self.rows}
        content |= {k: getattr(self, k).tolist() for k in _INTS}
        content |= {k: _spelled(getattr(self, k)) for k in _FLOATS}
        content |= {k: [_spelled(row) for row in getattr(self, k)] for k in ("sum", "square")}
        content["whole"] = self.whole.tolist()
        if self.cross is not None:
            product = [_spelled(row) for row in self.cross.product]
            content["cross"] = {"rows": self.cross.rows, "sum": _spelled(self.cross.sum), "product": product}
        content |= {k: list(getattr(self, k)) for k in ("features", "dtypes", "units") if getattr(self, k)}
        content |= {"counts": self.counts} if self.counts is not None else {}
        return content | ({"about": dict(self.about)} if self.about else {})

    @staticmethod
    def from_json(content: object, where: str = "summary") -> Summary:
        """The reverse of `to_json`. Raises DataError where the content is not that."""
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise DataError(f"{where}: no summary of data; expected what `onnxscale fit --shard i/n -o FILE` writes")
        try:
            ints: dict[str, Any] = {k: np.asarray(content[k], np.int64) for k in _INTS}
            floats: dict[str, Any] = {k: _read(content[k]) for k in (*_FLOATS, "sum", "square")}
            whole = np.asarray(content["whole"], np.bool_)
            said = content.get("cross")
            cross = None if said is None else Cross(int(said["rows"]), _read(said["sum"]), _read(said["product"]))
            rows = int(content["rows"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{where}: damaged ({type(error).__name__}: {error})") from None
        width = ints["count"].size
        shapes = {**dict.fromkeys((*_INTS, *_FLOATS), (width,)), "sum": (2, width), "square": (2, width)}
        wrong = [k for k, v in {**ints, **floats}.items() if v.shape != shapes[k]]
        if wrong or whole.shape != (width,) or (cross is not None and cross.product.shape != (width, width)):
            raise DataError(
                f"{where}: damaged: {', '.join(wrong) or 'whole or cross'} is not as wide as count ({width})"
            )
        text: dict[str, Any] = {k: tuple(map(str, content.get(k, ()))) for k in ("features", "dtypes", "units")}
        return Summary(
            rows, **ints, **floats, whole=whole, cross=cross, counts=content.get("counts"), **text,
            about=content.get("about", {}),
        )  # fmt: skip


def _spelled(values: Array) -> list[Any]:
    return [v if np.isfinite(v) else str(v) for v in values.tolist()]


def _read(content: Any) -> Array:
    rows = [[float(v) for v in row] if isinstance(row, list) else float(row) for row in content]
    return np.asarray(rows, np.float64)


def total(parts: Sequence[Summary]) -> Summary:
    """All of them. Raises DataError where there is none, or their columns differ."""
    if not parts:
        raise DataError("no data: there is nothing to add")
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found
