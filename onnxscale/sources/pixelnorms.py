"""Configurations of vision frameworks: (x - mean) / std of pixels, each in its own keys, formula and channel order.

Detectron2 (modeling/meta_arch/rcnn.py, preprocess_image): (x - PIXEL_MEAN) / PIXEL_STD, in the order of INPUT.FORMAT.
OpenMMLab (mmcv/image/photometric.py, imnormalize): BGR made RGB where asked, (x - mean) * (1 / std); mmengine's ImgDataPreprocessor
divides. PaddlePaddle (ppcls, ppocr, ppdet: NormalizeImage): (x * scale - mean) / std. albumentations (augmentations/pixel,
Normalize): (x - mean * max_pixel_value) * (1 / (std * max_pixel_value)).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers import Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.sources import finding
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Step
from onnxscale.transform import Transform

Group = Mapping[Any, Any]
_FRACTION = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(?:/\s*(\d+(?:\.\d*)?))?\s*")


@dataclass(frozen=True)
class Way:
    """framework: who writes it. of: the settings in one object of a document, or None. steps: of those settings, in the framework's
    own arithmetic. order: of the channels that the model takes: RGB, BGR, or "" where the document does not say."""

    framework: str
    of: Callable[[Group], Group | None]
    steps: Callable[[Group, Reading], tuple[Step, ...]]
    order: Callable[[Group, Any], str]


def _detectron(item: Group) -> Group | None:
    return item if {"PIXEL_MEAN", "PIXEL_STD"} <= set(item) else None


def _mmcv(item: Group) -> Group | None:
    held = item.get("img_norm_cfg", item if item.get("type") == "Normalize" else None)
    return held if isinstance(held, Mapping) and {"mean", "std", "to_rgb"} <= set(held) else None


def _mmengine(item: Group) -> Group | None:
    fits = str(item.get("type", "")).endswith("DataPreprocessor") and {"mean", "std"} <= set(item)
    return item if fits else None


def _paddle(item: Group) -> Group | None:
    held = item.get("NormalizeImage", item if item.get("type") == "NormalizeImage" else None)
    return held if isinstance(held, Mapping) else None


def _albumentations(item: Group) -> Group | None:
    name = str(item.get("__class_fullname__", ""))
    return item if name == "Normalize" or name.endswith(".Normalize") else None


def _divided(group: Group, mean: str, std: str) -> tuple[Step, ...]:
    return Step("Sub", (numbers(group[mean], mean),)), Step("Div", (divisor(group[std], std),))


def _inverse(group: Group) -> tuple[Step, ...]:
    return Step("Sub", (numbers(group["mean"], "mean"),)), Step("Mul", (1.0 / divisor(group["std"], "std"),))


def _paddled(group: Group, reading: Reading) -> tuple[Step, ...]:
    missing = [k for k in ("mean", "std") if group.get(k) is None]
    if missing:
        raise StatisticsError(f"NormalizeImage without {' and '.join(missing)}; expected a value per channel")
    if group.get("norm_type", "mean_std") not in ("mean_std", None):
        raise StatisticsError(f"NormalizeImage with norm_type {str(group['norm_type'])[:40]!r}; known is mean_std")
    scale = group.get(
        "scale", 1 / 255 if group.get("is_scale") is True else 1.0 if group.get("is_scale") is False else None
    )
    if scale is None and not reading.accept_defaults:
        raise StatisticsError(
            "NormalizeImage without scale or is_scale; its default is 1/255. Accept it with --accept-defaults"
        )
    return Step("Mul", (np.array(1 / 255 if scale is None else _fraction(scale)),)), *_divided(group, "mean", "std")


def _fraction(given: Any) -> float:
    """A number, or the text of a fraction such as 1.0/255.0, which Paddle evaluates."""
    match = _FRACTION.fullmatch(given) if isinstance(given, str) else None
    value = float(match[1]) / float(match[2] or 1) if match and float(match[2] or 1) else given
    return float(divisor(value, "scale"))


def _of_albumentations(group: Group, reading: Reading) -> tuple[Step, ...]:
    del reading
    how = group.get("normalization", "standard")
    if how != "standard":
        raise StatisticsError(
            f"albumentations' Normalize with normalization {str(how)[:40]!r}; only 'standard' has constants"
        )
    missing = [k for k in ("mean", "std", "max_pixel_value") if group.get(k) is None]
    if missing:
        raise StatisticsError(
            f"albumentations' Normalize without {', '.join(missing)}: what it divides by cannot be told"
        )
    most = divisor(group["max_pixel_value"], "max_pixel_value")
    mean, std = numbers(group["mean"], "mean") * most, divisor(group["std"], "std") * most
    return Step("Sub", (mean,)), Step("Mul", (1.0 / std,))


def _format(group: Group, content: Any) -> str:
    said = [v.get("FORMAT") for _, v in finding.objects(content) if isinstance(v.get("FORMAT"), str)]
    return said[0] if said and said[0] in ("RGB", "BGR") else ""


def _decoded(group: Group, content: Any) -> str:
    modes = {str(v.get("img_mode")) for _, v in finding.objects(content)} & {"RGB", "BGR"}
    return modes.pop() if len(modes) == 1 else ""


def _turned(*keys: str) -> Callable[[Group, Any], str]:
    return lambda group, content: "RGB" if any(group.get(k) is True for k in keys) else "BGR"


WAYS = (
    Way("Detectron2", _detectron, lambda g, r: _divided(g, "PIXEL_MEAN", "PIXEL_STD"), _format),
    Way("OpenMMLab", _mmcv, lambda g, r: _inverse(g), _turned("to_rgb")),
    Way("OpenMMLab", _mmengine, lambda g, r: _divided(g, "mean", "std"), _turned("bgr_to_rgb", "to_rgb")),
    Way("PaddlePaddle", _paddle, _paddled, _decoded),
    Way("albumentations", _albumentations, _of_albumentations, lambda g, c: ""),
)


def is_pixels(content: Any) -> bool:
    return _way(content) is not None


def _way(content: Any) -> tuple[Way, dict[str, Group]] | None:
    return next(((way, found) for way in WAYS if (found := finding.groups(content, way.of))), None)


def read(content: Any, reading: Reading, source: Source) -> Statistics:
    """The scaler of the pixels, for channels in the order that the model takes. Raises StatisticsError for settings that are missing,
    and where the document holds several that differ and none is picked."""
    matched = _way(content)
    assert matched is not None
    way, found = matched
    _, group = picked(found, reading, "normalizations of pixels")
    steps = way.steps(group, reading)
    shapes = {s.operands[0].shape for s in steps if s.operands[0].ndim}
    if len(shapes) > 1 or any(len(s) != 1 for s in shapes):
        raise StatisticsError(f"mean and std do not have one value per channel each, but the shapes {sorted(shapes)}")
    order = way.order(group, content)
    told = f"the channels are {order}" if order else "the document does not say whether the channels are RGB or BGR"
    notes = (f"{way.framework}: {told}; resizing and padding stay with the app",)
    layout = {"Image.BitmapPixelFormat": f"{order.capitalize()}8"} if order and shapes == {(3,)} else {}
    fitted = Fitted(Steps(Transform(steps)), notes=notes, layout=layout)
    return alone(fitted, replace(source, framework=way.framework))
