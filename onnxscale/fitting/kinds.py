"""Kinds of scaler that are fitted, each from a profile of the data and what more it asks for. A new kind is one row of `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np

from onnxscale.data import Data
from onnxscale.errors import DataError, names
from onnxscale.fitting.quantiles import Asked
from onnxscale.profile import Profile
from onnxscale.scalers import MaxAbs, MinMax, Robust, Scaler, Standard
from onnxscale.step import Array

TINY = 10 * np.finfo(np.float64).eps  # scikit-learn divides by 1 where a range is below this (_handle_zeros_in_scale)


@dataclass(frozen=True)
class Settings:
    """What a kind can be told. ddof: 0 or 1, of the std. feature_range, clip: of min-max; clip also of max-abs.
    quantile_range: in percent, of robust."""

    ddof: int = 0
    feature_range: tuple[float, float] = (0.0, 1.0)
    clip: bool = False
    quantile_range: tuple[float, float] = (25.0, 75.0)

    def said(self) -> list[str]:
        """The names of those that are not as they would be unsaid."""
        return [f.name for f in fields(self) if getattr(self, f.name) != f.default]


@dataclass(frozen=True, eq=False)
class Measured:
    """What a kind is made from. answers: float64 of (F, Q), to each of the quantiles that it asked for. data: for another scan,
    or None where there are summaries only."""

    profile: Profile
    answers: tuple[Array, ...] = ()
    data: Data | None = None


def _asks_nothing(settings: Settings) -> tuple[Asked, ...]:
    del settings
    return ()


@dataclass(frozen=True)
class Kind:
    """make: the scaler. settings: which it takes. asks: for which quantiles. zero_variance: its rule for constant columns."""

    make: Callable[[Measured, Settings], Scaler]
    settings: frozenset[str] = field(default_factory=frozenset)
    asks: Callable[[Settings], tuple[Asked, ...]] = _asks_nothing
    zero_variance: str = ""


def kind(name: str, settings: Settings) -> Kind:
    """The row of this name; min-max is minmax. Raises DataError for an unknown one, and for settings that it does not take."""
    row = KINDS.get(name.replace("-", "").replace("_", ""))
    if row is None:
        raise DataError(f"unknown kind {name!r}; fit knows {names(KINDS)}")
    extra = [s for s in settings.said() if s not in row.settings]
    if extra:
        flags = ", ".join(f"--{s.replace('_', '-')}" for s in extra)
        raise DataError(f"{flags}: a {name} scaler has no such setting")
    return row


def _standard(found: Measured, settings: Settings) -> Scaler:
    p = found.profile
    if settings.ddof not in (0, 1):
        raise DataError(f"ddof: expected 0 or 1, got {settings.ddof}")
    n = p.count.astype(np.float64)
    short = (n < 2) & (settings.ddof == 1)
    std = p.std * np.sqrt(n / np.where(short, 1, n - settings.ddof)) if settings.ddof else p.std
    return Standard(p.mean, np.where((p.min == p.max) | short | (std == 0), 1.0, std))


def _minmax(found: Measured, settings: Settings) -> Scaler:
    return MinMax(found.profile.min, found.profile.max, settings.feature_range, settings.clip)


def _maxabs(found: Measured, settings: Settings) -> Scaler:
    most = np.maximum(np.abs(found.profile.min), np.abs(found.profile.max))
    return MaxAbs(np.where(most < TINY, 1.0, most), settings.clip)


def _robust(found: Measured, settings: Settings) -> Scaler:
    low, middle, high = found.answers[0].T
    return Robust(middle, np.where(high - low < TINY, 1.0, high - low))


def _robust_asks(settings: Settings) -> tuple[Asked, ...]:
    low, high = settings.quantile_range
    if not 0 <= low < high <= 100:
        raise DataError(f"quantile range: expected two percentages, low then high, got {settings.quantile_range}")
    return (Asked(np.array([low / 100, 0.5, high / 100]), "linear"),)


KINDS: dict[str, Kind] = {
    "standard": Kind(_standard, frozenset({"ddof"}), zero_variance="constant columns (min == max) are divided by 1"),
    "minmax": Kind(_minmax, frozenset({"feature_range", "clip"}), zero_variance="a range under 10 eps is taken as 1"),
    "maxabs": Kind(_maxabs, frozenset({"clip"}), zero_variance="columns of zeros are divided by 1"),
    "robust": Kind(
        _robust, frozenset({"quantile_range"}), _robust_asks, zero_variance="a range under 10 eps is taken as 1"
    ),
}
