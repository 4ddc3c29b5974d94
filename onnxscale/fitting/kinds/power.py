"""Power: Yeo-Johnson or Box-Cox with the most likely power of each column (likelihood.py), then a z-score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxscale.errors import DataError, names
from onnxscale.fitting.kinds.base import Kind, Measured, Settings
from onnxscale.fitting.likelihood import METHODS, powers
from onnxscale.scalers import Power, Scaler
from onnxscale.step import Array


def _power(found: Measured, settings: Settings) -> Scaler:
    if settings.method not in METHODS:
        raise DataError(f"--method: expected one of {names(METHODS)}, got {settings.method!r}")
    data = found.again("a power")

    def batches() -> Iterator[Array]:
        for values in data.arrays():
            yield values
            found.tell(len(values))

    best = powers(batches, settings.method, data.names)
    if not settings.standardize:
        return Power(best.lambdas, settings.method)
    return Power(best.lambdas, settings.method, best.mean, np.where(best.std == 0, 1.0, best.std))


POWER = Kind(
    _power,
    frozenset({"method", "standardize"}),
    zero_variance="constant columns have the power 1 and are divided by 1",
    rereads=True,
)
