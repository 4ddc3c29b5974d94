"""YAML, strictly: plain values only, no aliases, no tags, no key twice, numbers as YAML 1.2 has them."""

from __future__ import annotations

import math
import re
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import jsons

_NUMBER = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_KEY = re.compile(rb"^\s*(- )?[\"']?[\w .:/\-]+[\"']?\s*:(\s|$)", re.MULTILINE)


def sniff(data: bytes, name: str) -> bool:
    if name.lower().endswith((".yaml", ".yml")):
        return True
    return b"\0" not in data and bool(_KEY.search(data[:65536]))


def read(data: bytes) -> object:
    """The parsed document. Raises StatisticsError where it is no plain YAML, or PyYAML is not installed."""
    try:
        import yaml
    except ImportError:
        raise StatisticsError("reading YAML needs PyYAML: pip install 'onnxscale[yaml]'") from None
    events: list[Any] = []
    depth = 0
    try:
        for event in yaml.parse(data.decode("utf-8"), Loader=yaml.SafeLoader):
            _plain(event)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > jsons.DEPTH:  # told at once: what nests deeper takes PyYAML ever longer
                raise StatisticsError(f"nested more than {jsons.DEPTH} levels deep")
            events.append(event)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise StatisticsError(f"broken YAML: {' '.join(str(error).split())[:300]}") from None
    documents = sum(isinstance(e, yaml.DocumentStartEvent) for e in events)
    if documents != 1:
        raise StatisticsError(f"{documents} YAML documents; expected one")
    return _value(iter(events[2:]), yaml)


def _plain(event: Any) -> None:
    """Refuse what is no plain value."""
    if getattr(event, "anchor", None):
        raise StatisticsError(
            f"line {event.start_mark.line + 1}: YAML anchors and aliases are not read; write the values out"
        )
    if getattr(event, "tag", None) and not getattr(event, "implicit", True):
        raise StatisticsError(
            f"line {event.start_mark.line + 1}: the YAML tag {event.tag!r} is not read; write plain values"
        )


def _value(events: Any, yaml: Any) -> Any:
    event = next(events)
    if isinstance(event, yaml.MappingStartEvent):
        items = []
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise StatisticsError(f"line {key.start_mark.line + 1}: a key of a YAML mapping must be a plain word")
            items.append((key.value, _value(events, yaml)))
        return jsons.pairs(items)
    if isinstance(event, yaml.SequenceStartEvent):
        found = []
        while (item := _value(events, yaml)) is not _END:
            found.append(item)
        return found
    if isinstance(event, yaml.SequenceEndEvent):
        return _END
    return _scalar(event)


_END = object()


def _scalar(event: Any) -> object:
    text = event.value
    if event.style in ("'", '"'):
        return text
    if text.lower() in ("null", "~", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower().lstrip("+-") in (".nan", ".inf", "nan", "inf"):
        raise StatisticsError(f"line {event.start_mark.line + 1}: holds {text}, which is no number of a scaler")
    if not _NUMBER.match(text):
        return text
    number = float(text)
    if math.isinf(number):
        raise StatisticsError(f"line {event.start_mark.line + 1}: {text[:40]} is larger than a float64")
    return int(text) if re.fullmatch(r"[-+]?[0-9]+", text) else number
