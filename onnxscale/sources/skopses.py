"""skops files: a zip of schema.json, which names classes and attributes, and an .npy for each array.

Read from the schema by our own code; skops itself is not imported. Source of the layout: skops/io/_general.py, _numpy.py
and _sklearn.py (get_state).
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import npzs
from onnxscale.sources.records import Global, Opaque, Record

DEEPEST = 60
SCHEMA = "schema.json"


def sniff(data: bytes, name: str) -> bool:
    """Whether this is a zip archive with a schema.json in it."""
    del name
    return data[:4] == b"PK\x03\x04" and SCHEMA.encode() in data[-(1 << 16) :]


def read(data: bytes) -> object:
    """What the file holds, as plain values, arrays and records. Raises StatisticsError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            schema = json.loads(npzs.member(archive, archive.getinfo(SCHEMA)))
            return _Reader(archive).value(schema, 0)
    except StatisticsError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError, TypeError,
        AttributeError, OSError, RecursionError,
    ) as error:  # fmt: skip
        raise StatisticsError(f"a damaged skops file ({type(error).__name__}: {str(error)[:100]})") from None


class _Reader:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.seen: dict[int, Any] = {}

    def value(self, node: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise StatisticsError("the schema is nested too deep")
        loader = str(node["__loader__"])
        if loader == "CachedNode":
            return self.seen.get(node["__id__"], Opaque("a value seen before"))
        read = _LOADERS.get(loader)
        if read is None:
            return Opaque(f"a {loader} of {node.get('__module__')}.{node.get('__class__')}")
        found = read(self, node, depth + 1)
        if isinstance(node.get("__id__"), int):
            self.seen[node["__id__"]] = found
        return found


def _object(reader: _Reader, node: Mapping[str, Any], depth: int) -> Record:
    content = node.get("content")
    state = reader.value(content, depth) if isinstance(content, Mapping) else None
    return Record(Global(str(node["__module__"]), str(node["__class__"])), state=state)


def _array(reader: _Reader, node: Mapping[str, Any], depth: int) -> Any:
    if node["type"] == "json":
        return [reader.value(item, depth) for item in node["content"]]
    found = npzs.array(reader.archive, reader.archive.getinfo(node["file"]))
    return found if node["__class__"] == "ndarray" or found.ndim else found[()]


def _dict(reader: _Reader, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {str(k): reader.value(v, depth) for k, v in node["content"].items()}


def _list(reader: _Reader, node: Mapping[str, Any], depth: int) -> list[Any]:
    return [reader.value(item, depth) for item in node["content"]]


_LOADERS: dict[str, Callable[[_Reader, Mapping[str, Any], int], Any]] = {
    "ObjectNode": _object,
    "NdArrayNode": _array,
    "MaskedArrayNode": lambda r, n, d: Opaque("a masked array"),
    "DictNode": _dict,
    "ListNode": _list,
    "TupleNode": lambda r, n, d: tuple(_list(r, n, d)),
    "SetNode": lambda r, n, d: Opaque("a set"),
    "JsonNode": lambda r, n, d: json.loads(n["content"]),
    "FunctionNode": lambda r, n, d: Global(str(n["__module__"]), str(n["__class__"])),
    "TypeNode": lambda r, n, d: Global(str(n["__module__"]), str(n["__class__"])),
    "SliceNode": lambda r, n, d: Record(Global("builtins", "slice"), tuple(n["content"][k] for k in ("start", "stop", "step"))),
}  # fmt: skip
