"""Quantile: evenly spaced quantiles, as scikit-learn's QuantileTransformer takes them with subsample=None (of all rows)."""

from __future__ import annotations

import numpy as np

from onnxscale.errors import DataError
from onnxscale.fitting.kinds.base import Kind, Measured, Settings
from onnxscale.fitting.quantiles import Asked
from onnxscale.scalers import Quantile, Scaler
from onnxscale.step import Array


def _references(settings: Settings, rows: int) -> Array:
    if settings.n_quantiles < 1:
        raise DataError(f"--n-quantiles: expected a number from 1, got {settings.n_quantiles}")
    found: Array = np.linspace(0, 1, max(1, min(settings.n_quantiles, rows)))
    return found


def _asks(settings: Settings, rows: int) -> tuple[Asked, ...]:
    # scikit-learn asks in percent: the same rounding puts no quantile elsewhere
    return (Asked(_references(settings, rows) * 100 / 100, "linear"),)


def _quantile(found: Measured, settings: Settings) -> Scaler:
    references = _references(settings, found.profile.rows)
    if len(references) < settings.n_quantiles:
        found.said.append(f"{len(references)} quantiles, as many as there are rows, for {settings.n_quantiles}")
    return Quantile(np.maximum.accumulate(found.answers[0].T, axis=0), references, settings.output)


QUANTILE = Kind(_quantile, frozenset({"n_quantiles", "output"}), _asks)
