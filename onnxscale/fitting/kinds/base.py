"""What a kind of scaler that is fitted is: how it is made from what was measured, and what more it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np

from onnxscale.data import Data
from onnxscale.errors import DataError
from onnxscale.fitting.quantiles import Asked
from onnxscale.profile import Profile
from onnxscale.scalers import Scaler
from onnxscale.step import Array

TINY = 10 * np.finfo(np.float64).eps  # scikit-learn divides by 1 where a range is below this (_handle_zeros_in_scale)


@dataclass(frozen=True)
class Settings:
    """What a kind can be told. ddof: 0 or 1, of the std. feature_range, clip: of min-max; clip also of max-abs.
    quantile_range: in percent, of robust. n_quantiles, output: of quantile, "uniform" or "normal". method, standardize: of power,
    "yeo-johnson" or "box-cox". strategy: of imputer, "mean" or "median". bounds: of clip, in percent of the values."""

    ddof: int = 0
    feature_range: tuple[float, float] = (0.0, 1.0)
    clip: bool = False
    quantile_range: tuple[float, float] = (25.0, 75.0)
    n_quantiles: int = 1000
    output: str = "uniform"
    method: str = "yeo-johnson"
    standardize: bool = True
    strategy: str = "mean"
    bounds: tuple[float, float] = (1.0, 99.0)

    def said(self) -> list[str]:
        """The names of those that are not as they would be unsaid."""
        return [f.name for f in fields(self) if getattr(self, f.name) != f.default]


@dataclass(frozen=True, eq=False)
class Measured:
    """What a kind is made from. answers: float64 of (F, Q), to each of the quantiles that it asked for. data: for another scan,
    or None where there are summaries only. said: where a kind adds what the user should know, a line each.
    tell: to be called with the rows of each batch that is read."""

    profile: Profile
    answers: tuple[Array, ...] = ()
    data: Data | None = None
    said: list[str] = field(default_factory=list)
    tell: Callable[[int], None] = lambda rows: None

    def again(self, what: str) -> Data:
        """The data, to be read again. Raises DataError where there are summaries only, or batches that are gone."""
        if self.data is None or self.data.once:
            raise DataError(f"{what} reads the data again: fit it from the data itself, not from shards or an iterator")
        return self.data


def _asks_nothing(settings: Settings, rows: int) -> tuple[Asked, ...]:
    del settings, rows
    return ()


@dataclass(frozen=True)
class Kind:
    """make: the scaler. settings: which it takes. asks: for which quantiles of so many rows. zero_variance: its rule for constant
    columns. rereads: whether making it reads the data again."""

    make: Callable[[Measured, Settings], Scaler]
    settings: frozenset[str] = field(default_factory=frozenset)
    asks: Callable[[Settings, int], tuple[Asked, ...]] = _asks_nothing
    zero_variance: str = ""
    rereads: bool = False


def share(low: float, high: float, what: str) -> tuple[float, float]:
    """Two percentages as shares. Raises DataError."""
    if not 0 <= low < high <= 100:
        raise DataError(f"{what}: expected two percentages, low then high, got {(low, high)}")
    return low / 100, high / 100
