"""z-score, of mean and std. Constant columns (min == max) are divided by 1."""

from __future__ import annotations

import numpy as np

from onnxscale.errors import DataError
from onnxscale.fitting.kinds.base import Kind, Measured, Settings
from onnxscale.scalers import Scaler, Standard


def _standard(found: Measured, settings: Settings) -> Scaler:
    p = found.profile
    if settings.ddof not in (0, 1):
        raise DataError(f"ddof: expected 0 or 1, got {settings.ddof}")
    n = p.count.astype(np.float64)
    short = (n < 2) & (settings.ddof == 1)
    std = p.std * np.sqrt(n / np.where(short, 1, n - settings.ddof)) if settings.ddof else p.std
    return Standard(p.mean, np.where((p.min == p.max) | short | (std == 0), 1.0, std))


STANDARD = Kind(_standard, frozenset({"ddof"}), zero_variance="constant columns (min == max) are divided by 1")
