"""Counted pixels -> what image models are scaled with: rescaled to [0, 1], then mean and std of each channel.

With h[v] pixels of value v out of n: mean = sum(v h) / n and var = (n sum(v^2 h) - sum(v h)^2) / n^2, in whole numbers up to the
last division.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from onnxscale.data.pictures import CHANNELS, Pixels
from onnxscale.errors import DataError
from onnxscale.fitting.doubled import pair
from onnxscale.fitting.quantiles import Asked
from onnxscale.fitting.summary import Summary
from onnxscale.profile import PROBABILITIES, Profile
from onnxscale.scalers import Image
from onnxscale.statistics import Fitted
from onnxscale.step import Array

_PLACES = 1 << 64  # the integer square root keeps so many more bits, squared, than the whole part


def fitted(pixels: Pixels) -> Fitted:
    """The scaler and the profile of the channels, in stored units (0 to 255, or to 65535). Raises DataError where a channel
    has one value only, or there is nothing."""
    found = profile(pixels)
    constant = [found.features[i] for i in np.flatnonzero(found.min == found.max)]
    if constant:
        raise DataError(
            f"every pixel of {', '.join(constant)} is {int(found.min[found.min == found.max][0])}: no std to divide by"
        )
    top = (1 << pixels.bits) - 1
    values = found.mean / top, found.std / top
    mean, std = (v if found.width > 1 else v[0] for v in values)
    warned = (pixels.unread_said(),) if pixels.unread else ()
    names = found.features if found.width > 1 else ()
    return Fitted(
        Image(np.float64(1 / top), mean, std), features=names, profile=found, notes=pixels.notes(), warnings=warned
    )


def profile(pixels: Pixels) -> Profile:
    """The channels as columns, a pixel a row. about.histograms: the counts themselves, (C, 256) for pictures of 8 bits."""
    counts = pixels.channels()
    moments = [_moments(row) for row in counts]
    mean, std = (np.asarray(m, np.float64) for m in zip(*moments, strict=True))
    there = [np.flatnonzero(row) for row in counts]
    total = counts.sum(axis=1)
    about: dict[str, Any] = {
        "engine": f"pillow {metadata.version('pillow')}",
        "onnxscale": metadata.version("onnxscale"),
    }
    about |= {"pictures": pixels.pictures.total(), "modes": dict(pixels.pictures), "bytes": pixels.size}
    if pixels.unread:
        about |= {"unread": pixels.unread, "why": dict(pixels.why)}
    if pixels.bits == 8:
        about["histograms"] = counts.tolist()
    return Profile(
        rows=int(total[0]),
        count=total,
        nulls=np.zeros_like(total),
        nonfinite=np.zeros_like(total),
        mean=mean,
        std=std,
        min=np.asarray([t[0] for t in there], np.float64),
        max=np.asarray([t[-1] for t in there], np.float64),
        quantiles=np.stack([_quantiles(row) for row in counts]),
        integral=np.ones(len(counts), bool),
        features=CHANNELS[len(counts)],
        dtypes=(f"uint{pixels.bits}",) * len(counts),
        about=about,
    )


def summary(pixels: Pixels, shard: tuple[int, int], source: Sequence[str]) -> Summary:
    """A shard of pictures as a part to be merged: what adds are its counts."""
    found = profile(pixels)
    square = found.std**2 * found.count
    said = {"of": shard[1], "index": shard[0], "by": "rows", "data": [Path(p).name for p in source]}
    about = {"engine": found.about["engine"], "pictures": found.about["pictures"], "shard": said}
    return Summary(
        found.rows, found.count, found.nulls, found.mean, pair(np.zeros_like(square)), pair(square), found.min, found.max,
        np.ones(found.width, bool), None, {"pixels": pixels.to_json()}, found.features, found.dtypes, (), about,
    )  # fmt: skip


def merged(parts: Sequence[Summary]) -> Fitted | None:
    """The scaler of shards of pictures, or None where these are none. Raises DataError where only some are."""
    there = [p.counts["pixels"] for p in parts if isinstance(p.counts, Mapping) and "pixels" in p.counts]
    if not there:
        return None
    if len(there) < len(parts):
        raise DataError("parts of pictures and of tables do not add")
    whole = Pixels()
    for content in there:
        whole.add(Pixels.from_json(content))
    return fitted(whole)


def _moments(counts: Array) -> tuple[float, float]:
    """Mean and std (ddof 0), each rounded once."""
    h = counts.tolist()
    n, first, second = sum(h), sum(v * c for v, c in enumerate(h)), sum(v * v * c for v, c in enumerate(h))
    return first / n, isqrt((n * second - first * first) * _PLACES**2) / (n * _PLACES)


def _quantiles(counts: Array) -> Array:
    up_to = np.cumsum(counts)
    found: Array = np.searchsorted(up_to, Asked(PROBABILITIES).neighbours(int(up_to[-1]))[0], side="right")
    return found.astype(np.float64)
