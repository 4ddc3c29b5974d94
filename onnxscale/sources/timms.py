"""timm: the pretrained_cfg of a model (config.json on a hub, or the mapping itself): pixels / 255, then (x - mean) / std.

timm/data/transforms_factory.py, transforms_imagenet_eval: ToTensor, then Normalize(mean, std).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Step
from onnxscale.transform import Transform

_ITS_OWN = {"input_size", "interpolation", "crop_pct", "crop_mode", "fixed_input_size", "pool_size"}


def is_timm(content: Mapping[Any, Any]) -> bool:
    held = _held(content)
    return {"mean", "std"} <= set(held) and len(_ITS_OWN & set(held)) >= 2


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of a timm model, for raw pixels of 0..255. Raises StatisticsError for statistics that are not per channel."""
    del reading
    held = _held(content)
    mean, std = numbers(held["mean"], "mean"), divisor(held["std"], "std")
    size = held.get("input_size")
    channels = size[0] if isinstance(size, list | tuple) and len(size) == 3 else None
    if mean.shape != std.shape or mean.ndim != 1 or (isinstance(channels, int) and channels != len(mean)):
        raise StatisticsError(
            f"input_size {size} has {channels} channels, mean has {names(mean.shape)} and std {names(std.shape)} values"
        )
    steps = (Step("Div", (np.array(255.0),)), Step("Sub", (mean,)), Step("Div", (std,)))
    notes = (
        "for raw pixels of 0 to 255: timm divides them by 255 first (ToTensor)",
        "resizing and cropping stay with the app",
    )
    layout = {"Image.NominalPixelRange": "NominalRange_0_255"}
    if len(mean) == 3:
        layout["Image.BitmapPixelFormat"] = "Rgb8"
    return alone(Fitted(Steps(Transform(steps)), notes=notes, layout=layout), source)


def _held(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    inner = content.get("pretrained_cfg", content.get("default_cfg"))
    return inner if isinstance(inner, Mapping) else content
