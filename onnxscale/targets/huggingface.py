"""Hugging Face's preprocessor_config.json (transformers/image_processing_utils.py): rescale, then normalize."""

from __future__ import annotations

import json
from typing import Any

from onnxscale.scalers import Image
from onnxscale.statistics import Statistics
from onnxscale.targets.moments import moments, one


def write(statistics: Statistics) -> bytes:
    """Raises StatisticsError for a scaler that is not a rescale, a mean and a std."""
    fitted = one(statistics, "Hugging Face")
    found: dict[str, Any]
    if isinstance(fitted.scaler, Image):
        scaler = fitted.scaler
        normal = scaler.mean is not None and scaler.std is not None
        mean, std = (scaler.mean, scaler.std) if normal else (None, None)
        if not normal and (scaler.mean is not None or scaler.std is not None):
            mean, std = moments(fitted, "Hugging Face")
        found = {"do_rescale": scaler.rescale is not None}
        if scaler.rescale is not None:
            found["rescale_factor"] = float(scaler.rescale)
        found["do_normalize"] = mean is not None
    else:
        mean, std = moments(fitted, "Hugging Face")
        found = {"do_rescale": False, "do_normalize": True}
    if mean is not None and std is not None:
        found |= {"image_mean": mean.tolist(), "image_std": std.tolist()}
    return (json.dumps(found, indent=2) + "\n").encode()
