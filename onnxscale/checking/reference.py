"""What data is held against: a Profile as laws and cells, or a normal law where only moments or ends are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from onnxscale.checking import laws
from onnxscale.checking.laws import Cells, Law
from onnxscale.profile import PROBABILITIES, Profile
from onnxscale.step import Array
from onnxscale.transform import Transform

WIDEST = 256  # columns up to which every pair of laws is compared beforehand
SHRUNK = 0.15  # of a correlation matrix, towards independence


@dataclass(frozen=True, eq=False)
class Reference:
    """F columns of training data. law: float64 (F, 130). rows: finite values per column, (F,). mean, std, low, high: (F,).
    quartiles: (3, F). measured: whether the law comes from quantiles; else it is a normal law through the moments, and only kinds that
    move all columns are told. integral, correlation: as in Profile. missing: share of the rows that are null or no number, (F,), or
    None. scaler: the model's own, or None. channels: whether the columns are the channels of pictures."""

    law: Law
    rows: Array
    mean: Array
    std: Array
    low: Array
    high: Array
    quartiles: Array
    measured: bool
    features: tuple[str, ...] = ()
    integral: Array | None = None
    correlation: Array | None = None
    missing: Array | None = None
    scaler: Transform | None = None
    channels: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return int(self.mean.size)

    @cached_property
    def cells(self) -> Cells:
        return laws.cells(self.law, self.rows)

    @cached_property
    def ratios(self) -> Array | None:
        """log of the mass that law k gives a cell of law j, over the mass of its own: (F, F, cells); None for wide tables."""
        return log_ratios(self, np.arange(self.width)) if self.width <= WIDEST else None

    @cached_property
    def precision(self) -> Array | None:
        """The inverse of the shrunk correlation matrix, (F, F), or None. Columns of unknown correlation stand alone."""
        if self.correlation is None or self.width < 3:
            return None
        known = np.nan_to_num(self.correlation, nan=0.0) * (1 - SHRUNK)
        np.fill_diagonal(known, 1.0)
        return np.asarray(np.linalg.inv(known))

    @cached_property
    def varied(self) -> Array:
        """Columns that were not constant, bool (F,)."""
        return np.asarray(self.high > self.low)


def log_ratios(reference: Reference, columns: Array) -> Array:
    """`Reference.ratios` among some columns."""
    cells, law = reference.cells, reference.law
    count = columns.size
    ratios = np.empty((count, count, cells.mass.shape[1]), np.float64 if count <= WIDEST else np.float32)
    for i, j in enumerate(columns.tolist()):
        edges = cells.edges[j]
        cumulated = np.stack([law.at(k, edges) for k in columns.tolist()])
        one = Cells(cells.edges[[j]], cells.mass[[j]], cells.scores[:, [j]], cells.prior[[j]], cells.rows[[j]])
        ratios[i] = np.log(one.masses(cumulated) / cells.mass[j])
    return ratios


def from_profile(profile: Profile, scaler: Transform | None = None, channels: bool = False) -> Reference:
    """The reference that a Profile is. Columns without a finite value are constant at zero."""
    mean, std, low, high = (np.nan_to_num(v, nan=0.0) for v in (profile.mean, profile.std, profile.min, profile.max))
    measured = profile.quantiles is not None
    if profile.quantiles is not None:
        quantiles = np.where(np.isfinite(profile.quantiles), profile.quantiles, mean[:, None])
    else:
        quantiles = normal(mean, std, low, high)
    missing = None
    if profile.rows:
        missing = np.asarray((profile.nulls + profile.nonfinite) / profile.rows)
    return Reference(
        laws.from_quantiles(quantiles), profile.count, mean, std, low, high, quantiles[:, [16, 32, 48]].T, measured, profile.features,
        profile.integral, profile.correlation, missing, scaler, channels, profile.about,
    )  # fmt: skip


def from_moments(
    mean: Array, std: Array, low: Array | None = None, high: Array | None = None, rows: int = laws.TRUSTED,
    features: tuple[str, ...] = (), scaler: Transform | None = None, channels: bool = False,
) -> Reference:  # fmt: skip
    """The reference where only moments are known, (F,), and perhaps the ends."""
    quantiles = normal(mean, std, low, high)
    ends = quantiles[:, 0] if low is None else low, quantiles[:, -1] if high is None else high
    count = np.full(mean.size, rows)
    return Reference(
        laws.from_quantiles(quantiles), count, mean, std, *ends, quantiles[:, [16, 32, 48]].T, False, features,
        scaler=scaler, channels=channels,
    )  # fmt: skip


def normal(mean: Array, std: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """Quantiles of normal laws, (F, 65), within the ends where they are known, else within three sigmas."""
    p = np.clip(PROBABILITIES, 0.00135, 0.99865)
    scores = np.array([NormalDist().inv_cdf(float(v)) for v in p])
    found = mean[:, None] + std[:, None] * scores
    if low is not None and high is not None:
        found = np.clip(found, low[:, None], high[:, None])
        found[:, 0], found[:, -1] = low, high
    return np.asarray(found)


def aligned(found: Reference, features: tuple[str, ...]) -> Reference:
    """The same in the order of these features, where it has exactly them; else as it is, by place."""
    if found.features == features or sorted(found.features) != sorted(features):
        return found
    at = np.array([found.features.index(f) for f in features])
    integral, correlation, missing = found.integral, found.correlation, found.missing
    return replace(
        found, law=found.law.take(at), rows=found.rows[at], mean=found.mean[at], std=found.std[at], low=found.low[at],
        high=found.high[at], quartiles=found.quartiles[:, at], features=features, scaler=None,
        integral=None if integral is None else integral[at], missing=None if missing is None else missing[at],
        correlation=None if correlation is None else correlation[np.ix_(at, at)],
    )  # fmt: skip


def named(found: Reference, features: tuple[str, ...]) -> Reference:
    """The same with the names of its columns, where there is one for each."""
    return replace(found, features=features) if len(features) == found.width else found
