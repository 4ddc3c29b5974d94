"""DeepStream: net-scale-factor and offsets of an nvinfer or nvdspreprocess configuration, y = net-scale-factor * (x - offset).

The formula and the keys are those of the Gst-nvinfer and Gst-nvdspreprocess plugins; the file is an INI file, or the same as YAML.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

_SECTIONS = {"property": "net-scale-factor", "user-configs": "pixel-normalization-factor"}
_KEYS = {*_SECTIONS.values(), "offsets", "mean-file"}
_COLORS = {"0": "Rgb8", "1": "Bgr8", "2": "Gray8"}


def sniff(data: bytes, name: str) -> bool:
    """An INI file with one of the sections, and one of the keys."""
    del name
    lines = {line.strip().partition(b"=")[0].strip() for line in data[:65536].splitlines()}
    return any(f"[{s}]".encode() in lines for s in _SECTIONS) and any(k.encode() in lines for k in _KEYS)


def is_deepstream(content: Mapping[Any, Any]) -> bool:
    """The same in YAML."""
    return any(isinstance(content.get(s), Mapping) and bool(_KEYS & set(content[s])) for s in _SECTIONS)


def read(data: bytes, reading: Reading) -> Statistics:
    """The scaler of a configuration. Raises StatisticsError naming the key."""
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=True)
    try:
        parser.read_string(data.decode("utf-8-sig"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise StatisticsError(f"a broken configuration: {' '.join(str(error).split())[:150]}") from None
    return mapping({s: dict(parser[s]) for s in parser.sections()}, reading, Source("DeepStream configuration"))


def mapping(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    found = [s for s in _SECTIONS if isinstance(content.get(s), Mapping) and _KEYS & set(content[s])]
    if len(found) != 1:
        raise StatisticsError(f"the sections {names(found)} both scale; only one can be meant")
    section, key = content[found[0]], _SECTIONS[found[0]]
    if section.get("mean-file"):
        raise StatisticsError("mean-file: a mean image is not read; give the mean of each channel as offsets")
    notes: list[str] = []
    factor = section.get(key)
    if factor is None:
        if not reading.accept_defaults:
            raise StatisticsError(
                f"{key!r} is missing; its default is 1.0. Write it, or accept it with --accept-defaults"
            )
        notes.append(f"{key} is missing: taken as 1.0 (--accept-defaults)")
        factor = 1.0
    scale = divisor(_number(factor, key), key)
    offsets = (
        [_number(v, "offsets") for v in str(section["offsets"]).split(";") if v.strip()]
        if section.get("offsets")
        else []
    )
    if len(offsets) not in (0, 1, 3, 4):
        raise StatisticsError(f"offsets: {len(offsets)} values; expected one for each of 1, 3 or 4 channels")
    shift: Array | None = numbers(offsets if len(offsets) > 1 else offsets[0], "offsets") if offsets else None
    steps = (*(() if shift is None else (Step("Sub", (shift,)),)), Step("Mul", (scale,)))
    layout = {"Image.NominalPixelRange": "NominalRange_0_255"}
    color = section.get("model-color-format")
    if color is not None:
        if str(color) not in _COLORS:
            raise StatisticsError(f"model-color-format is {str(color)[:20]!r}; known are 0 (RGB), 1 (BGR) and 2 (gray)")
        layout["Image.BitmapPixelFormat"] = _COLORS[str(color)]
    fitted = Fitted(Steps(Transform(steps)), notes=tuple(notes), layout=layout)
    return alone(fitted, Source(source.format, source.path, source.sha256, framework="DeepStream"))


def _number(text: object, key: str) -> float:
    try:
        made = float(str(text))
    except ValueError:
        made = np.nan
    if not np.isfinite(made):
        raise StatisticsError(f"{key}: expected a number, got {str(text)[:40]!r}")
    return made
