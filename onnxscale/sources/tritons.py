"""Triton's config.pbtxt: statistics that a model keeps among its parameters, as text (mean, std, ...).

Their keys mean what they do in JSON; other parameters are passed over.
"""

from __future__ import annotations

import json
import re

from onnxscale.errors import StatisticsError, names
from onnxscale.sources.keys import INFORMATION, SYNONYMS

_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|#[^\n]*')
_PARAMETER = re.compile(
    r'\bkey\s*:\s*"([^"\\\n]*)"\s*[,;]?\s*value\s*:?\s*\{\s*string_value\s*:\s*(?:"([^"\n]*)"|\'([^\'\n]*)\')'
)
_LARGEST = 1 << 20


def sniff(data: bytes, name: str) -> bool:
    if name.lower().endswith(".pbtxt"):
        return True
    return b"\0" not in data and re.search(rb"\bparameters\s*:?\s*[\[{]\s*\{?\s*key\s*:", data[:65536]) is not None


def read(data: bytes) -> object:
    """{key: numbers} of the parameters that are statistics. Raises StatisticsError where none is."""
    if len(data) > _LARGEST:
        raise StatisticsError(f"{len(data):,} bytes; a config.pbtxt has at most {_LARGEST:,}")
    try:
        text = _COMMENT.sub(lambda m: m[1] or "", data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise StatisticsError(f"not UTF-8 at byte {error.start}") from None
    found: dict[str, object] = {}
    others: list[str] = []
    for key, double, single in _PARAMETER.findall(text):
        name = key.strip().lower()
        if name not in SYNONYMS or name in INFORMATION:
            others.append(key)
        elif name in found:
            raise StatisticsError(f"the parameter {key!r} stands twice; only one can be meant")
        else:
            found[name] = _value(double or single, key)
    if not found:
        has = f"; it has {names(others)}" if others else ""
        raise StatisticsError(f"no parameter is a statistic (mean, std, ...) with a string_value{has}")
    return found


def _value(text: str, key: str) -> object:
    """Numbers in JSON, or with commas or blanks between them; one number alone; words stay words."""
    inner = text.strip()
    parts = [p for p in re.split(r"[\s,;]+", inner.strip("[](){}")) if p]
    try:
        made = [float(p) for p in parts]
    except ValueError:
        try:
            return json.loads(inner)
        except (ValueError, RecursionError):
            return inner
    if not made:
        raise StatisticsError(f"the parameter {key!r} is empty")
    return made if len(made) > 1 or inner[:1] in "[({" else made[0]
