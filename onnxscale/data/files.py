"""Which files are meant, what format they have, and what tells them from other files: sizes and hashes."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxscale import remote
from onnxscale.data import compressed
from onnxscale.errors import DataError, names

WHOLE = 16 << 20  # a file up to this size is hashed as a whole; of a larger one so many bytes, spread over it
BLOCK = 1 << 20


@dataclass(frozen=True)
class Kind:
    """A format of files. name: of it. suffixes: of such files. magic: what they start with, or nothing. text: whether they may be
    compressed, with a suffix more. also: suffixes of such files and of others, taken in a folder where nothing else is data."""

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...] = ()
    text: bool = False
    also: tuple[str, ...] = ()

    def is_one(self, path: str, *, also: bool = False) -> bool:
        """Whether a file is one by its suffix."""
        name = compressed.bare(path) if self.text else path.lower()
        return name.endswith((*self.suffixes, *(self.also if also else ())))


def expanded(source: object, kinds: Iterable[Kind]) -> list[str]:
    """The paths and URLs that a source names, in order: files as they are, patterns and folders as the files in them whose
    suffix is a format's. Names that start with . or _ are not data. Raises DataError where there is none."""
    rows = list(kinds)
    items = source if isinstance(source, list | tuple) else [source]
    found: list[str] = []
    for item in items:
        text = os.fspath(item) if isinstance(item, os.PathLike) else str(item)
        there = _far(text, rows) if remote.is_url(text) else _near(text, rows)
        if not there:
            known = ", ".join(s for k in rows for s in k.suffixes)
            raise DataError(f"{text}: no such file, and no folder or pattern with files of data ({known})")
        found += there
    odd = [f for f in found if any("\udc80" <= c <= "\udcff" for c in f)]
    if odd:
        raise DataError(f"{names(odd)}: a name that is not UTF-8, which engines cannot open; rename it")
    twice = sorted({f for f in found if found.count(f) > 1}) if len(found) < 10_000 else []
    if twice:
        raise DataError(f"{names(twice)}: given twice")
    return found


def _near(text: str, kinds: list[Kind]) -> list[str]:
    path = Path(text)
    if path.is_dir():
        there = {p.relative_to(path).as_posix(): str(p) for p in path.rglob("*") if p.is_file()}
        return sorted(there[n] for n in _data(list(there), kinds))
    if path.is_file():
        return [text]
    return sorted(p for p in glob.glob(text, recursive=True) if Path(p).is_file() and not _hidden(p))


def _far(url: str, kinds: list[Kind]) -> list[str]:
    """A URL is one file unless it is a pattern or ends with a slash; then its store is asked for what there is."""
    if not url.endswith("/") and "*" not in url:
        return [url]
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        there = _data(list(system.glob(path) if "*" in url else system.find(path)), kinds)
        return [system.unstrip_protocol(p) for p in sorted(there)]
    except ImportError:
        raise DataError(f"{url}: files behind a URL need fsspec: pip install 'onnxscale[remote]'") from None
    except Exception as error:  # noqa: BLE001  each file system raises its own types
        raise DataError(f"{url}: cannot be listed ({str(error)[:200] or type(error).__name__})") from None


def _data(listed: list[str], kinds: list[Kind]) -> list[str]:
    """Which of these are data by their names."""
    seen = [p for p in listed if not _hidden(p)]
    found = [p for p in seen if any(k.is_one(p) for k in kinds)]
    return found or [p for p in seen if any(k.is_one(p, also=True) for k in kinds)]


def _hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/") if part not in (".", ".."))


def kind_of(paths: list[str], kinds: Iterable[Kind]) -> Kind:
    """The one format of these files: by their first bytes, else by their suffix. Raises DataError."""
    rows = list(kinds)
    found = {path: _kind(path, rows) for path in paths}
    unknown = [p for p, kind in found.items() if kind is None]
    if unknown:
        raise DataError(f"{names(unknown)}: no format of data that is known ({', '.join(k.name for k in rows)})")
    distinct = {k.name: k for k in found.values() if k is not None}
    if len(distinct) > 1:
        raise DataError(f"files of several formats at once ({', '.join(distinct)}); give those of one format")
    return next(iter(distinct.values()))


def _kind(path: str, kinds: list[Kind]) -> Kind | None:
    if not remote.is_url(path):
        with Path(path).open("rb") as file:
            head = file.read(8)
        marked = [k for k in kinds if any(head.startswith(m) for m in k.magic)]
        if marked:
            return marked[0]
    bare = path.partition("::")[0].partition("?")[0] if remote.is_url(path) else path  # zip://a.csv::s3://... is a CSV
    return next((k for k in kinds if k.is_one(bare, also=True)), None)


def fingerprint(paths: list[str], *, whole: bool = False) -> dict[str, Any]:
    """Names, sizes and hashes of the files, as JSON values. whole: hash all of each, however large.

    sha256: of all bytes; where a file is larger than 16 MB, blocks_sha256: of its size and of 16 blocks of 1 MB spread over
    it from the first to the last; behind a URL the store's own etag, where it has one.
    """
    files = [_about(p, whole=whole) for p in paths]
    return {"files": files, "bytes": sum(f["size"] for f in files)}


def _about(path: str, *, whole: bool) -> dict[str, Any]:
    if remote.is_url(path):
        there = remote.opened(path)
        said: Mapping[str, Any] = there.system.info(there.path)
        etag = str(said.get("ETag") or said.get("etag") or "").strip('"')
        return {"name": path.partition("?")[0], "size": there.size} | ({"etag": etag} if etag else {})
    size = Path(path).stat().st_size
    if whole or size <= WHOLE:
        with Path(path).open("rb") as file:
            found = hashlib.sha256()
            while block := file.read(BLOCK):
                found.update(block)
        return {"name": Path(path).name, "size": size, "sha256": found.hexdigest()}
    found = hashlib.sha256(str(size).encode())
    count = WHOLE // BLOCK
    with Path(path).open("rb") as file:
        for i in range(count):
            file.seek((size - BLOCK) * i // (count - 1))
            found.update(file.read(BLOCK))
    return {"name": Path(path).name, "size": size, "blocks_sha256": found.hexdigest()}


def stamp(paths: list[str]) -> list[tuple[int, int]]:
    """Sizes and times of local files: what changes when somebody writes them while they are read."""
    return [(s.st_size, s.st_mtime_ns) for s in (Path(p).stat() for p in paths if not remote.is_url(p))]


def sizes(paths: list[str]) -> str:
    """One hash of the names and sizes of all files: what tells a data set from another one without reading it."""
    said = [
        (Path(p.partition("?")[0]).name, remote.opened(p).size if remote.is_url(p) else Path(p).stat().st_size)
        for p in paths
    ]
    return hashlib.sha256(repr(said).encode()).hexdigest()
