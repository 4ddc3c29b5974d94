"""The lock file as a value and as text: TOML, sorted, without times or machine paths, one line or block per thing that can
change, so that a pull request shows what moved.

Written here and not by a library: names come from files that anybody may have written, and what could steer a terminal
or turn a reviewer's line around (control characters, bidirectional marks) has to be written as an escape.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxscale.errors import LockError, StatisticsError
from onnxscale.spaces import Space
from onnxscale.transform import Transform

NAME = "onnxscale.lock"
VERSION = 1
HEAD = "# Written by `onnxscale lock`, checked by `onnxscale lock --check`. Commit it; do not edit it.\n"
WIDE = 100
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Tensor:
    """An input or output. type: dtype and shape, "" for statistics. how, space, fingerprint, axis, features, units: see
    ports.Port and spaces.Space. source: provenance. steps: Transform.to_json, None where there is none, or too much of it."""

    role: str
    name: str
    type: str
    how: str
    space: str
    fingerprint: str
    axis: int | None = None
    features: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] | None = None

    def as_space(self) -> Space | None:
        """The space itself; None where the steps were too many to write down. Raises LockError."""
        if self.steps is None:
            return None
        try:
            return Space(Transform.from_json(self.steps), self.axis, self.features, self.units)
        except StatisticsError as error:
            raise LockError(f"the lock is damaged at {self.role} {self.name!r}: {error}") from None


@dataclass(frozen=True)
class Held:
    """A file: its path relative to the lock file, with forward slashes; its bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A model or a statistics file. data: the external data of a model."""

    kind: str
    file: Held
    tensors: tuple[Tensor, ...] = ()
    data: tuple[Held, ...] = ()

    @property
    def path(self) -> str:
        return self.file.path


@dataclass(frozen=True)
class Lock:
    """paths: what was asked to be locked, relative to the lock file. entries: sorted by path."""

    paths: tuple[str, ...]
    entries: tuple[Entry, ...]


def dumps(lock: Lock) -> str:
    """The lock as text; the same lock gives the same bytes."""
    kinds = ("model", "statistics")
    content: dict[str, Any] = {"version": VERSION, "paths": list(lock.paths)}
    content.update({kind: [_entry(e) for e in lock.entries if e.kind == kind] for kind in kinds})
    return HEAD + "\n".join(_table(content, ())).rstrip("\n") + "\n"


def _entry(entry: Entry) -> dict[str, Any]:
    found = {**_held(entry.file), "data": [_held(d) for d in entry.data]}
    for role in ("input", "output"):
        found[role] = [_tensor(t) for t in entry.tensors if t.role == role]
    return found


def _held(file: Held) -> dict[str, Any]:
    return {"path": file.path, "size": file.size, "sha256": file.sha256}


def _tensor(t: Tensor) -> dict[str, Any]:
    known = {
        "name": t.name, "type": t.type, "how": t.how, "space": t.space, "fingerprint": t.fingerprint, "axis": t.axis,
        "features": list(t.features), "units": list(t.units), "source": dict(t.source),
    }  # fmt: skip
    return {**{k: v for k, v in known.items() if v not in ("", None, [], {})}, "step": t.steps or []}


def _table(content: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {k: v for k, v in content.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    for key, item in content.items():
        if key not in tables and not (key in ("data", "input", "output", "step", "model", "statistics") and not item):
            yield f"{_key(key)} = {value(item)}"
    yield ""
    for key, items in tables.items():
        for item in items:
            yield f"[[{'.'.join(map(_key, (*path, key)))}]]"
            yield from _table(item, (*path, key))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else text(key)


def value(item: Any) -> str:
    """A TOML value: a string, a number, an array (an item per line where it is long) or an inline table."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int):
        return str(item)
    if isinstance(item, float):
        return repr(item) if math.isfinite(item) else str(item)
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {value(v)}" for k, v in sorted(item.items())) + "}"
    if isinstance(item, list | tuple):
        items = [value(v) for v in item]
        short = f"[{', '.join(items)}]"
        return short if len(short) <= WIDE else "[\n" + "".join(f"  {v},\n" for v in items) + "]"
    return text(str(item))


def text(words: str) -> str:
    """A basic string: quotes, backslashes, and every character that is no plain sight as escapes. Raises LockError."""
    out = []
    for c in words:
        code = ord(c)
        if unicodedata.category(c) == "Cs":
            raise LockError(f"{words!r}: not text that UTF-8 can hold, so no lock can name it; rename it")
        if c in '"\\':
            out.append(f"\\{c}")
        elif unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp"):
            out.append(f"\\u{code:04X}" if code < 1 << 16 else f"\\U{code:08X}")
        else:
            out.append(c)
    return f'"{"".join(out)}"'


def loads(written: bytes, name: str) -> Lock:
    """The reverse of dumps. Raises LockError naming the place where it is not that."""
    content, read = _parsed(written, name), _Reader(name)
    entries = [
        _read_entry(read, kind, item, f"{kind}[{i}]")
        for kind in ("model", "statistics")
        for i, item in enumerate(read.tables(content, kind, ""))
    ]
    paths = [e.path for e in entries]
    twice = next((p for p in paths if paths.count(p) > 1), None) if len(set(paths)) < len(paths) else None
    if twice is not None:
        raise LockError(f"{name}: {twice!r} stands twice")
    asked = tuple(map(read.inside, read.words(content, "paths", "")))
    return Lock(asked, tuple(sorted(entries, key=lambda e: e.path)))


def salvaged(written: bytes, name: str) -> tuple[str, ...]:
    """The paths that a broken lock was made of, which stand above all of its tables: what a merge left is written again from
    them. Raises LockError."""
    head = re.split(rb"(?m)^(?:\[\[|<{7} )", written, maxsplit=1)[0]
    read, content = _Reader(name), _parsed(head, name)
    return tuple(map(read.inside, read.words(content, "paths", ""))) or (".",)


def _parsed(written: bytes, name: str) -> dict[str, Any]:
    """TOML as its values; the mark that editors of Windows put first is none of it."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise LockError("reading a lock under Python 3.10 needs tomli: pip install 'onnxscale[toml]'") from None
    if re.search(rb"(?m)^<{7} ", written):
        raise LockError(
            f"{name}: a merge left its marks (<<<<<<<); settle the models, then write it again with `onnxscale lock`"
        )
    try:
        content: dict[str, Any] = tomllib.loads(written.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise LockError(f"{name}: broken TOML: {str(error)[:200]}; write it again with `onnxscale lock`") from None
    version = content.get("version")
    if version != VERSION:
        raise LockError(f"{name}: version {version!r} of the lock format; this onnxscale reads {VERSION}")
    return content


def _read_entry(read: _Reader, kind: str, item: Mapping[str, Any], at: str) -> Entry:
    tensors = [
        _read_tensor(read, role, t, f"{at}.{role}[{i}]")
        for role in ("input", "output")
        for i, t in enumerate(read.tables(item, role, at))
    ]
    data = tuple(read.held(d, f"{at}.data[{i}]") for i, d in enumerate(read.tables(item, "data", at)))
    return Entry(kind, read.held(item, at), tuple(tensors), data)


def _read_tensor(read: _Reader, role: str, item: Mapping[str, Any], at: str) -> Tensor:
    words = {k: read.word(item, k, at) for k in ("name", "type", "how", "space", "fingerprint")}
    axis, source, steps = item.get("axis"), item.get("source", {}), item.get("step")
    if not (axis is None or type(axis) is int) or not isinstance(source, dict) or not isinstance(steps, list | None):
        raise read.damaged(at, "axis, source or step")
    return Tensor(
        role, **words, axis=axis, features=read.words(item, "features", at), units=read.words(item, "units", at),
        source=source, steps=steps,
    )  # fmt: skip


@dataclass(frozen=True)
class _Reader:
    """Typed look-ups that name the place of what is not as it should be."""

    name: str

    def damaged(self, at: str, what: str) -> LockError:
        return LockError(
            f"{self.name}: damaged at {f'{at}.' if at else ''}{what}; write it again with `onnxscale lock`"
        )

    def tables(self, item: Mapping[str, Any], key: str, at: str) -> Iterable[Mapping[str, Any]]:
        found = item.get(key, [])
        if not isinstance(found, list) or not all(isinstance(t, dict) for t in found):
            raise self.damaged(at, key)
        return found

    def word(self, item: Mapping[str, Any], key: str, at: str) -> str:
        found = item.get(key, "")
        if not isinstance(found, str):
            raise self.damaged(at, key)
        return found

    def words(self, item: Mapping[str, Any], key: str, at: str) -> tuple[str, ...]:
        found = item.get(key, [])
        if not isinstance(found, list) or not all(isinstance(w, str) for w in found):
            raise self.damaged(at, key)
        return tuple(found)

    def held(self, item: Mapping[str, Any], at: str) -> Held:
        path, size, sha256 = (item.get(k) for k in ("path", "size", "sha256"))
        if not isinstance(path, str) or type(size) is not int or not isinstance(sha256, str):
            raise self.damaged(at, "path, size or sha256")
        return Held(self.inside(path), size, sha256)

    def inside(self, path: str) -> str:
        if path.startswith("/") or "\\" in path or "\0" in path or ".." in path.split("/") or not path:
            raise LockError(f"{self.name}: {path!r} is no path in the lock's own folder; nothing outside it is opened")
        return path
