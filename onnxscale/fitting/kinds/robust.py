"""Robust: the median, and the range between two quantiles."""

from __future__ import annotations

import numpy as np

from onnxscale.fitting.kinds.base import TINY, Kind, Measured, Settings, share
from onnxscale.fitting.quantiles import Asked
from onnxscale.scalers import Robust, Scaler


def _robust(found: Measured, settings: Settings) -> Scaler:
    low, middle, high = found.answers[0].T
    return Robust(middle, np.where(high - low < TINY, 1.0, high - low))


def _robust_asks(settings: Settings, rows: int) -> tuple[Asked, ...]:
    del rows
    low, high = share(*settings.quantile_range, "quantile range")
    return (Asked(np.array([low, 0.5, high]), "linear"),)


ROBUST = Kind(_robust, frozenset({"quantile_range"}), _robust_asks, zero_variance="a range under 10 eps is taken as 1")
