"""Clip: two quantiles of each column, beyond which values are cut off; winsorizing."""

from __future__ import annotations

import numpy as np

from onnxscale.fitting.kinds.base import Kind, Measured, Settings, share
from onnxscale.fitting.quantiles import Asked
from onnxscale.scalers import Clip, Scaler


def _asks(settings: Settings, rows: int) -> tuple[Asked, ...]:
    del rows
    return (Asked(np.array(share(*settings.bounds, "bounds")), "linear"),)


def _clip(found: Measured, settings: Settings) -> Scaler:
    del settings
    low, high = found.answers[0].T
    return Clip(low, high)


CLIP = Kind(_clip, frozenset({"bounds"}), _asks)
