"""Cue: what the model says of its input: the type of its values, its name, and metadata that image tools write."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onnxscale.expecting.base import Evidence, Subject

# ONNX docs/MetadataProps.md, "Image Category Definition"
RANGES = {"nominalrange_0_255": "pixels", "normalized_0_1": "unit", "normalized_1_1": "symmetric"}
SOUND = re.compile(r"audio|wave?(form)?s?$|speech|sound|pcm", re.IGNORECASE)
PICTURE = re.compile(r"pixel|image|img|picture|frame", re.IGNORECASE)
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


def saying(subject: Subject) -> Iterator[Evidence]:
    said = {p.key.lower(): p.value for p in subject.model.skeleton.metadata_props}
    nominal = RANGES.get(str(said.get("image.nominalpixelrange", "")).lower())
    if nominal and subject.sort == "picture":
        yield Evidence(
            "metadata", f"its metadata say Image.NominalPixelRange {said['image.nominalpixelrange']}", {nominal: 5.0}
        )
    if "ultralytics" in f"{said.get('author', '')} {said.get('description', '')}".lower() and subject.sort == "picture":
        yield Evidence("metadata", "its metadata name Ultralytics, whose models take pixels / 255, RGB", {"unit": 4.0})
    if subject.spec.dtype in INTEGERS:
        name = "pixels" if subject.sort == "picture" and subject.spec.dtype == "uint8" else "raw"
        yield Evidence(
            "type",
            f"the input holds {subject.spec.dtype}, whole numbers, which are not scaled",
            {name: 8.0},
            decides=True,
        )


def sort_of(name: str, shape: tuple[int | str | None, ...] | None) -> str:
    """Which of PRIORS an input is, by its shape and its name."""
    if SOUND.search(name):
        return "sound"
    rank = len(shape) if shape is not None else 2
    if rank == 4 and shape is not None and (shape[1] in (1, 3, 4) or shape[-1] in (1, 3, 4)):
        return "picture"
    if rank >= 3 and PICTURE.search(name):
        return "picture"
    return "table" if rank <= 2 else "series"
