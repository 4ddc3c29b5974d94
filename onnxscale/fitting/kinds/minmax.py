"""Min-max and max-abs, of the range."""

from __future__ import annotations

import numpy as np

from onnxscale.fitting.kinds.base import TINY, Kind, Measured, Settings
from onnxscale.scalers import MaxAbs, MinMax, Scaler


def _minmax(found: Measured, settings: Settings) -> Scaler:
    return MinMax(found.profile.min, found.profile.max, settings.feature_range, settings.clip)


def _maxabs(found: Measured, settings: Settings) -> Scaler:
    most = np.maximum(np.abs(found.profile.min), np.abs(found.profile.max))
    return MaxAbs(np.where(most < TINY, 1.0, most), settings.clip)


MINMAX = Kind(_minmax, frozenset({"feature_range", "clip"}), zero_variance="a range under 10 eps is taken as 1")
MAXABS = Kind(_maxabs, frozenset({"clip"}), zero_variance="columns of zeros are divided by 1")
