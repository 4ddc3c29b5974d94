"""Constants in Markdown and other prose: a mean and a std written near each other."""

from __future__ import annotations

import re

import numpy as np

from onnxscale.auditing.facts.base import Facts, Norm
from onnxscale.auditing.finding import Where
from onnxscale.step import Array

_NUMBERS = r"[\[({]\s*(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?:\s*[,;]\s*-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)+)\s*,?\s*[\])}]"
_NAMED = re.compile(rf"\b(mean|std|standard deviation|stds|means)\b[^\n\[\](){{}}]{{0,24}}{_NUMBERS}", re.IGNORECASE)
_CALLED = re.compile(rf"Normalize\(\s*{_NUMBERS}\s*,\s*{_NUMBERS}")
_ROW = re.compile(
    r"^\|\s*(mean|std)\w*\s*\|\s*(-?[\d.]+(?:\s*,\s*-?[\d.]+)+)\s*\|", re.IGNORECASE | re.MULTILINE
)  # of a table
NEAR = 6


def read(data: bytes, path: str) -> Facts:
    """Pairs of a mean and a std in a text, at most six lines apart."""
    text = _ROW.sub(r"| \1 | [\2] |", data.decode("utf-8", "replace"))
    norms: list[Norm] = []
    for found in _CALLED.finditer(text):
        norms += _norm(path, text, found.start(), _values(found[1]), _values(found[2]))
    open_mean: tuple[int, Array] | None = None
    for found in _NAMED.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found[1].lower().startswith("mean"):
            open_mean = (found.start(), _values(found[2]))
        elif open_mean is not None and line - text.count("\n", 0, open_mean[0]) - 1 <= NEAR:
            norms += _norm(path, text, open_mean[0], open_mean[1], _values(found[2]))
            open_mean = None
    return Facts(path, "prose", norms=tuple(norms))


def _values(text: str) -> Array:
    return np.array([float(v) for v in re.split(r"[\s,;]+", text.strip()) if v])


def _norm(path: str, text: str, at: int, mean: Array, std: Array) -> list[Norm]:
    if mean.size != std.size or not (std > 0).all() or not np.isfinite(mean).all():
        return []
    line = text.count("\n", 0, at) + 1
    shown = text.splitlines()[line - 1].strip()[:160]
    return [Norm(Where(path, line), (("Sub", mean), ("Div", std)), "prose", shown, written=(mean, std))]
