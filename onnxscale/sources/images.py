"""Hugging Face image processors: preprocessor_config.json (transformers/image_processing_utils.py, image_transforms.py).

rescale multiplies by rescale_factor, normalize subtracts image_mean and divides by image_std; each only where its do_ flag
says so. A flag that the file lacks is asked for: its default differs between processor classes and versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.scalers import Image, Scaler, Steps
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Step, constant
from onnxscale.transform import Transform

_KEYS = {"image_mean", "image_std", "do_normalize", "do_rescale", "rescale_factor"}
_DEFAULTS: dict[str, Any] = {
    **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
    **{"offset": True, "include_top": True, "do_flip_channel_order": True},
}
_FURTHER = ("offset", "rescale_offset", "include_top", "do_flip_channel_order")
_OWN = {
    "Vivit": "offset",
    "EfficientNet": "include_top",
    "MobileViT": "do_flip_channel_order",
    "Tvp": "do_flip_channel_order",
}
# processors that have no do_normalize; no do_rescale either; that turn the channels round without a flag; that scale image by image
_NEVER = (
    "MobileViT",
    "SuperPoint",
    "SuperGlue",
    "LightGlue",
    "GLPN",
    "Swin2SR",
    "EfficientLoFTR",
    "UVDoc",
    "LayoutLMv2",
)
_RAW, _BGR, _OWN_STATISTICS = ("LayoutLMv2",), ("LayoutLMv2", "UVDoc"), ("Pix2Struct", "Kosmos2_5")
_APP = {
    "do_resize": "resizing",
    "do_center_crop": "cropping",
    "do_convert_rgb": "conversion to RGB",
    "do_pad": "padding",
}


def is_image(content: Mapping[Any, Any]) -> bool:
    return bool(_KEYS & set(content)) or "image_processor_type" in content


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of an image processor, for the one input it fits."""
    return alone(fitted(content, reading), source)


def fitted(content: Mapping[Any, Any], reading: Reading) -> Fitted:
    """The scaler of an image processor. Raises StatisticsError naming the key that is missing, and its class's default."""
    notes: list[str] = []

    def asked(key: str) -> Any:
        if key in content:
            return content[key]
        if not reading.accept_defaults:
            raise StatisticsError(
                f"{key!r} is missing; its default in the image processors is {_DEFAULTS[key]!r}, but older files mean "
                f"otherwise. Write it into the file, or accept the default with --accept-defaults"
            )
        notes.append(f"{key} is missing: taken as {_DEFAULTS[key]!r} (--accept-defaults)")
        return _DEFAULTS[key]

    def flag(key: str) -> bool:
        value = asked(key)
        if not isinstance(value, bool):
            raise StatisticsError(f"{key}: expected true or false, got {value!r}")
        return value

    if content.get("do_color_quantize"):
        raise StatisticsError("do_color_quantize: pixels become numbers of color clusters, which no scaler stands for")
    if content.get("do_grayscale"):
        notes.append("do_grayscale stays with the app")
    kind = str(content.get("image_processor_type"))
    if kind.startswith(_OWN_STATISTICS):
        raise StatisticsError(
            f"{kind} scales each image by its own mean and std before it cuts it into patches, which cannot be baked behind that. "
            f"Keep it in the app"
        )
    raw = "do_rescale" not in content and kind.startswith(_RAW)
    factor = asked("rescale_factor") if not raw and flag("do_rescale") else None
    never = "do_normalize" not in content and kind.startswith(_NEVER)
    normalize = not never and flag("do_normalize")
    own = next((key for name, key in _OWN.items() if kind.startswith(name)), "")
    on = {key: asked(key) if key == own else content.get(key) for key in _FURTHER}
    on["do_flip_channel_order"] = on["do_flip_channel_order"] or kind.startswith(_BGR)
    for key in ("image_mean", "image_std"):
        if (normalize or (on["include_top"] and key == "image_std")) and key not in content:
            raise StatisticsError(
                f"do_normalize is on, but {key!r} is missing; take it from the model's own page or code"
            )
    mean, std = (content["image_mean"], content["image_std"]) if normalize else (None, None)
    further = [key for key, value in on.items() if value]
    scaler: Scaler = Image(factor, mean, std)
    if further:
        scaler = _further(Image(factor), Image(None, mean, std), content.get("image_std"), further)
        notes.append(f"the processor's {' and '.join(further)} is in the scaler too")
    left = [what for key, what in _APP.items() if content.get(key)]
    if left:
        notes.append(f"{', '.join(left)} stay with the app")
    layout = {}
    if factor is not None and abs(float(factor) * 255 - 1) < 1e-6:
        layout["Image.NominalPixelRange"] = "NominalRange_0_255"
        if scaler.transform().shape == (3,):
            layout["Image.BitmapPixelFormat"] = "Rgb8"
    return Fitted(scaler, notes=tuple(notes), layout=layout)


def _further(rescale: Image, normalize: Image, std: Any, further: list[str]) -> Steps:
    """What single processors do beside: 1 subtracted after the rescale (Vivit's offset, EfficientNet's rescale_offset), divided by
    the std once more (EfficientNet's include_top), the channels turned round in the end (MobileViT, TVP)."""
    transform = rescale.transform()
    if {"offset", "rescale_offset"} & set(further):
        if not transform.steps:
            raise StatisticsError("'offset' is on and do_rescale is off: the processor refuses that itself")
        transform |= Transform((Step("Sub", (constant(1),)),))
    transform |= normalize.transform()
    if "include_top" in further:
        transform |= Image(None, None, std).transform()
    if "do_flip_channel_order" in further:
        transform |= Transform((Step("Select", (constant([2, 1, 0]),), {"features": 3}),))
    return Steps(transform)
