"""Imputer: the mean or the median of each column, for what is missing in it."""

from __future__ import annotations

import numpy as np

from onnxscale.errors import DataError
from onnxscale.fitting.kinds.base import Kind, Measured, Settings
from onnxscale.fitting.quantiles import Asked
from onnxscale.scalers import Imputer, Scaler


def _asks(settings: Settings, rows: int) -> tuple[Asked, ...]:
    del rows
    if settings.strategy not in ("mean", "median"):
        raise DataError(f"--strategy: expected mean or median, got {settings.strategy!r}")
    return (Asked(np.array([0.5]), "linear"),) if settings.strategy == "median" else ()


def _imputer(found: Measured, settings: Settings) -> Scaler:
    return Imputer(found.answers[0][:, 0] if settings.strategy == "median" else found.profile.mean)


IMPUTER = Kind(_imputer, frozenset({"strategy"}), _asks)
