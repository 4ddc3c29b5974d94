"""TOML: plain values; infinities and NaN are refused, as in JSON."""

from __future__ import annotations

import math
import re
import sys

from onnxscale.errors import StatisticsError

DEPTH = 64
# each part of a dotted key is a level, which the parser builds before any limit is met
_DEEP = re.compile(rb"(?:^|[\n{,\[])[ \t]*(?:[\w-]+[ \t]*\.[ \t]*){%d}" % DEPTH)
_FIRST = re.compile(rb"\[[A-Za-z_][\w.\"' -]*\]\s*(#.*)?$|[\w.\"'-]+\s*=[^=]")


def sniff(data: bytes, name: str) -> bool:
    """By its first line that is no comment: a table's name in brackets, or a key and a value."""
    if name.lower().endswith(".toml"):
        return True
    lines = (line.strip() for line in data[:4096].splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return b"\0" not in first and _FIRST.match(first) is not None


def read(data: bytes) -> object:
    """The parsed document; a table that stands alone in it is taken for it. Raises StatisticsError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise StatisticsError("reading TOML under Python 3.10 needs tomli: pip install 'onnxscale[toml]'") from None
    if _DEEP.search(data):
        raise StatisticsError(f"broken TOML: a key of more than {DEPTH} parts")
    try:
        found = tomllib.loads(data.decode("utf-8"))
        _finite(found, "")
    except StatisticsError:
        raise
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise StatisticsError(f"broken TOML: {str(error)[:200]}") from None
    only = next(iter(found.values())) if len(found) == 1 else None
    return only if isinstance(only, dict) and "inputs" not in found and "outputs" not in found else found


def _finite(value: object, where: str, depth: int = 0) -> None:
    if depth > DEPTH:
        raise StatisticsError(f"nested more than {DEPTH} levels deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise StatisticsError(f"{where}: {value} is no statistic; expected a finite number")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _finite(item, f"{where}.{key}".lstrip("."), depth + 1)
