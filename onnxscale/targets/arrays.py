"""npz: the arrays of a scaler by name, for numpy and whoever reads it."""

from __future__ import annotations

import io

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers import MaxAbs, MinMax, Robust, Scaler, Standard
from onnxscale.statistics import Statistics
from onnxscale.step import Array
from onnxscale.targets.moments import one


def write(statistics: Statistics) -> bytes:
    """Raises StatisticsError for a scaler that is more than a pair of arrays."""
    fitted = one(statistics, "npz")
    arrays = _arrays(fitted.scaler)
    if arrays is None:
        raise StatisticsError(
            f"npz holds a mean and std, a center and scale, a max_abs, or a data_min and data_max; this scaler is: "
            f"{fitted.transform().prose()}. Write a statistics file (--to stats)"
        )
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
    return held.getvalue()


def _arrays(scaler: Scaler) -> dict[str, Array] | None:
    if isinstance(scaler, Standard) and scaler.mean is not None and scaler.std is not None:
        return {"mean": scaler.mean, "std": scaler.std}
    if isinstance(scaler, Robust) and scaler.center is not None and scaler.scale is not None:
        return {"center": scaler.center, "scale": scaler.scale}
    if isinstance(scaler, MaxAbs) and not scaler.clip:
        return {"max_abs": scaler.max_abs}
    if isinstance(scaler, MinMax) and not scaler.clip:
        return {
            "data_min": scaler.data_min,
            "data_max": scaler.data_max,
            "feature_range": np.array(scaler.feature_range),
        }
    return None
