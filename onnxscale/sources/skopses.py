"""skops files: a zip of schema.json and .npy arrays. The schema is read as JSON and its nodes made into inert records;
skops itself is neither imported nor asked to load anything. skops/io: `_general.py`, `_numpy.py` and `_sklearn.py` write the nodes."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import arrays, jsons, npzs
from onnxscale.sources.calls import named
from onnxscale.sources.inert import Document, Global, Held, Odd, Record, refused

SCHEMA, LARGEST, MEMBERS, DEPTH = "schema.json", 64 << 20, 10_000, 240


def sniff(data: bytes, name: str) -> bool:
    del name
    if data[:4] != b"PK\x03\x04" or SCHEMA.encode() not in data:
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return SCHEMA in archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False


def read(data: bytes) -> Document:
    """What the file holds. Raises StatisticsError for a bomb, a damaged archive, and nodes that are none of skops'."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if len(members) > MEMBERS or len(members) != len(archive.infolist()):
                raise StatisticsError(f"an archive of {len(archive.infolist()):,} members, or with a name twice")
            if sum(i.file_size for i in members.values()) > LARGEST:
                raise StatisticsError(f"the archive unpacks to more than {LARGEST:,} bytes; not read")
            schema = jsons.read(npzs.member(archive, members[SCHEMA]), DEPTH)
            return Document(_Reader(archive, members).node(schema, 0))
    except npzs.DAMAGE as error:
        raise StatisticsError(f"a damaged skops file ({str(error)[:120]})") from None


class _Reader:
    """The nodes of one schema. seen: nodes by their id, for the nodes that stand for an earlier one."""

    def __init__(self, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> None:
        self.archive, self.members = archive, members
        self.seen: dict[Any, Any] = {}
        self.arrays: dict[str, Any] = {}

    def node(self, node: Any, depth: int) -> Any:
        if not isinstance(node, Mapping) or not isinstance(node.get("__loader__"), str) or depth > DEPTH:
            raise StatisticsError("the schema has a node that skops would not write")
        row = LOADERS.get(node["__loader__"])
        made = _closed(node) if row is None else row(self, node, depth + 1)
        self.seen.setdefault(str(node.get("__id__")), made)
        return made

    def list(self, node: Mapping[str, Any], depth: int) -> list[Any]:
        content = node.get("content")
        if not isinstance(content, list):
            raise StatisticsError("a node of the schema holds no list where skops writes one")
        return [self.node(item, depth) for item in content]

    def array(self, node: Mapping[str, Any], depth: int) -> Any:
        if node.get("type") == "json":
            return self.objects(node, depth)
        name = node.get("file")
        if not isinstance(name, str) or name not in self.members:
            raise StatisticsError(f"the schema names the array {str(name)[:60]!r}, which the archive does not hold")
        if name not in self.arrays:
            made = npzs.array(npzs.member(self.archive, self.members[name]), name)
            self.arrays[name] = made if made.dtype.kind in "fiubU" else Odd(f"array of {made.dtype}")
        made = self.arrays[name]
        if isinstance(made, Odd):
            return made
        return Held(made) if node.get("__class__") == "ndarray" else made[()] if made.ndim == 0 else made

    def objects(self, node: Mapping[str, Any], depth: int) -> Held:
        sizes = arrays.shape(self.node(node.get("shape"), depth))
        items: list[Any] = []
        for item in self.list(node, depth):
            items += item if len(sizes) > 1 and isinstance(item, list) else [item]
        if len(sizes) > 2 or len(items) != math.prod(sizes):
            raise StatisticsError("an array of objects does not have as many as its shape says")
        return Held(objects=items, shape=sizes)


def _dict(reader: _Reader, node: Mapping[str, Any], depth: int) -> Any:
    content = node.get("content")
    if not isinstance(content, Mapping):
        raise StatisticsError("a node of the schema holds no dictionary where skops writes one")
    types = node.get("key_types")
    kinds = types.get("content") if isinstance(types, Mapping) else None
    whole = [isinstance(k, Mapping) and k.get("__class__") == "int" for k in kinds] if isinstance(kinds, list) else []
    keys = [int(k) if i < len(whole) and whole[i] and k.isdecimal() else str(k) for i, k in enumerate(content)]
    return {key: reader.node(item, depth) for key, item in zip(keys, content.values(), strict=True)}


def _dtype(reader: _Reader, node: Mapping[str, Any], depth: int) -> arrays.DType:
    """skops writes an empty array of the dtype."""
    held = reader.node(node.get("content"), depth)
    if isinstance(held, Held) and held.value is not None:
        return arrays.dtype((held.value.dtype.str,))
    if isinstance(held, Held) and held.objects is not None:
        return arrays.DType("O8")
    raise StatisticsError("a dtype of the schema is not written as skops does")


def _json(reader: _Reader, node: Mapping[str, Any], depth: int) -> Any:
    del reader, depth
    content = node.get("content")
    if not isinstance(content, str):
        raise StatisticsError("a plain value of the schema is not written as skops does")
    if content in SPELLED:
        return SPELLED[content]
    return jsons.read(content.encode("utf-8", "surrogatepass"))


def _object(reader: _Reader, node: Mapping[str, Any], depth: int) -> Record:
    content = node.get("content")
    state = reader.node(content, depth) if isinstance(content, Mapping) else None
    made = _name(node)
    if made.standard:
        raise StatisticsError(refused(made))
    return Record(made, (), state)


def _slice(reader: _Reader, node: Mapping[str, Any], depth: int) -> Record:
    del reader, depth
    content = node.get("content")
    parts = content if isinstance(content, Mapping) else {}
    return Record(Global("builtins", "slice"), tuple(parts.get(k) for k in ("start", "stop", "step")))


def _cached(reader: _Reader, node: Mapping[str, Any], depth: int) -> Any:
    del depth
    if str(node.get("__id__")) not in reader.seen:
        raise StatisticsError("a node stands for an earlier one, and there is none")
    return reader.seen[str(node.get("__id__"))]


def _name(node: Mapping[str, Any]) -> Global:
    return named(node.get("__module__"), node.get("__class__"))


def _closed(node: Mapping[str, Any]) -> Any:
    """A node that nothing here reads: its name only."""
    made = _name(node)
    return Odd(str(made)) if made.package in ("numpy", "builtins") else Record(made, (), None, called=True)


SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
LOADERS: dict[str, Callable[[_Reader, Mapping[str, Any], int], Any]] = {
    "ObjectNode": _object,
    "DictNode": _dict,
    "ListNode": _Reader.list,
    "TupleNode": lambda reader, node, depth: tuple(reader.list(node, depth)),
    "JsonNode": _json,
    "NdArrayNode": _Reader.array,
    "DTypeNode": _dtype,
    "FunctionNode": lambda reader, node, depth: _name(node),
    "TypeNode": lambda reader, node, depth: _name(node),
    "SliceNode": _slice,
    "CachedNode": _cached,
}
