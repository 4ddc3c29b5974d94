"""JSON, and JSON Lines, strictly: no NaN, no infinity, no key twice, no more than 64 levels."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from onnxscale.errors import StatisticsError

DEPTH = 64


def sniff(data: bytes, name: str) -> bool:
    del name
    return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def read(data: bytes, most: int = DEPTH) -> object:
    """The parsed document, at most `most` levels deep. Raises StatisticsError with the place."""
    try:
        text = data.decode("utf-8-sig")
        _shallow(text, most)
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1 and all(line[0] == "{" and line.rstrip()[-1] == "}" for line in lines):
            return [_loads(line) for line in lines]  # JSON Lines: an object in every line
        return _loads(text)
    except UnicodeDecodeError as error:
        raise StatisticsError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise StatisticsError(f"broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise StatisticsError(f"nested more than {most} levels deep") from None


def _loads(text: str) -> object:
    return json.loads(text, object_pairs_hook=pairs, parse_constant=_constant, parse_float=_float, parse_int=_whole)


def _shallow(text: str, most: int) -> None:
    depth, quoted, escaped = 0, False, False
    for c in text:
        if quoted:
            quoted, escaped = (True, False) if escaped else (c != '"', c == "\\")
        elif c == '"':
            quoted = True
        elif c in "[{":
            depth += 1
            if depth > most:
                raise StatisticsError(f"nested more than {most} levels deep")
        elif c in "]}":
            depth -= 1


def pairs(items: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The object of these pairs; a key that stands twice is an error, not a choice."""
    made: dict[Any, Any] = {}
    for key, value in items:
        if key in made:
            raise StatisticsError(f"the key {key!r} stands twice; only one can be meant")
        made[key] = value
    return made


def _constant(text: str) -> NoReturn:
    raise StatisticsError(f"holds {text}, which is no number of a scaler and no JSON")


def _whole(text: str) -> int:
    _float(text)
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise StatisticsError(f"holds {text[:40]}, which is larger than a float64")
    return number
