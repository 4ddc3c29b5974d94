"""Mean and scale of an affine scaler, for targets that know nothing else."""

from __future__ import annotations

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.statistics import Fitted, Statistics
from onnxscale.step import Array


def one(statistics: Statistics, target: str) -> Fitted:
    """The one scaler of an input. Raises StatisticsError where there are several, or one of an output."""
    if len(statistics.inputs) != 1 or statistics.outputs:
        count = len(statistics.inputs) + len(statistics.outputs)
        raise StatisticsError(f"{target} settings hold one input's scaler; this source has {count}")
    return next(iter(statistics.inputs.values()))


def moments(fitted: Fitted, target: str) -> tuple[Array, Array]:
    """mean and std [F] (or one value each) with x -> (x - mean) / std, float64. Raises StatisticsError where the scaler
    is not of that form."""
    transform = fitted.transform()
    affine = transform.affine()
    if affine is None:
        raise StatisticsError(f"{target} knows a mean and a scale; this scaler is: {transform.prose()}")
    mean, std = (getattr(fitted.scaler, k, None) for k in ("mean", "std"))
    if fitted.scaler.kind != "standard" or mean is None or std is None:
        scale, shift = np.atleast_1d(affine.scale).astype(float), np.atleast_1d(affine.shift).astype(float)
        if (scale == 0).any() or not np.isfinite(scale).all():
            raise StatisticsError(f"{target} cannot express a feature that becomes a constant")
        mean, std = -shift / scale + 0.0, 1 / scale
    if max(np.ndim(mean), np.ndim(std)) > 1:
        raise StatisticsError(f"{target} knows one value for a channel; this scaler has the shape {transform.shape}")
    size = max(np.size(mean), np.size(std))
    return np.array(np.broadcast_to(mean, size)), np.array(np.broadcast_to(std, size))
