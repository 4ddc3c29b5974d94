"""Hugging Face image processors: preprocessor_config.json (transformers/image_processing_utils.py, image_transforms.py).

rescale multiplies by rescale_factor, normalize subtracts image_mean and divides by image_std; each only where its do_ flag
says so. A flag that the file lacks is asked for: its default differs between processor classes and versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.scalers import Image
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone

_KEYS = {"image_mean", "image_std", "do_normalize", "do_rescale", "rescale_factor"}
_DEFAULTS: dict[str, Any] = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
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

    if content.get("offset"):
        raise StatisticsError(
            "'offset' is set (Vivit, EfficientNet): after the rescale 1 is subtracted; write the scaler as steps"
        )
    factor = asked("rescale_factor") if flag("do_rescale") else None
    normalize = flag("do_normalize")
    if normalize:
        for key in ("image_mean", "image_std"):
            if key not in content:
                raise StatisticsError(
                    f"do_normalize is on, but {key!r} is missing; take it from the model's own page or code"
                )
    scaler = Image(factor, content["image_mean"] if normalize else None, content["image_std"] if normalize else None)
    left = [what for key, what in _APP.items() if content.get(key)]
    if left:
        notes.append(f"{', '.join(left)} stay with the app")
    layout = {}
    if factor is not None and abs(float(factor) * 255 - 1) < 1e-6:
        layout["Image.NominalPixelRange"] = "NominalRange_0_255"
        if scaler.transform().shape == (3,):
            layout["Image.BitmapPixelFormat"] = "Bgr8" if content.get("do_flip_channel_order") else "Rgb8"
    return Fitted(scaler, notes=tuple(notes), layout=layout)
