"""Where pictures lie: in folders, tars, patterns and behind URLs."""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from onnxscale import remote
from onnxscale.data.tables import TABLES
from onnxscale.errors import DataError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST = 1 << 28  # bytes of one file: no picture of 8 bits is this large
Item = tuple[str, Callable[[], bytes]]  # a name and its content


def listed(source: object) -> list[str]:
    """The paths, URLs and patterns that a source names; nothing of what is no path."""
    given = list(source) if isinstance(source, list | tuple) else [source]
    paths = [os.fspath(s) for s in given if isinstance(s, str | os.PathLike)]
    return paths if len(paths) == len(given) else []


def is_pictures(source: object) -> bool:
    """Whether these are pictures: files, patterns and tars by their names, folders by what most of their files are."""
    paths = listed(source)
    return bool(paths) and all(map(_is_one, paths))


def _is_one(path: str) -> bool:
    if not remote.is_url(path) and Path(path).is_dir():
        return _mostly(path)
    if remote.is_url(path) and path.endswith("/"):
        return bool(_listed(path))
    return path.partition("?")[0].lower().endswith((*PICTURES, *TARS))


def _mostly(folder: str) -> bool:
    """Whether there are more pictures, or tars, in a folder than files beside them that may be tables. A text of a picture's own,
    such as its label or caption, is none: a.txt beside a.jpg."""
    names = [n for _, _, there in os.walk(folder) for n in there if not n.startswith((".", "_"))]
    pictures = {Path(n).stem for n in names if n.lower().endswith((*PICTURES, *TARS))}
    others = sum(_may_be_a_table(n) and Path(n).stem not in pictures for n in names)
    return sum(n.lower().endswith((*PICTURES, *TARS)) for n in names) > others


def _may_be_a_table(name: str) -> bool:
    return name.lower().endswith((".npy", ".npz")) or any(t.is_one(name, also=True) for t in TABLES)


def items(paths: Sequence[str]) -> Iterator[Item]:
    """The pictures of folders, tars, files, patterns and URLs, in the order of their names in each."""
    for path in paths:
        url = remote.is_url(path)
        for name in _listed(path) if url else _files(path):
            if name.partition("?")[0].lower().endswith(TARS):
                yield from _of_tar(name)
            else:
                yield name, (_far if url else _near)(name)


def _files(path: str) -> Iterable[str]:
    if Path(path).is_dir():
        return sorted(
            str(p)
            for p in Path(path).rglob("*")
            if p.name.lower().endswith((*PICTURES, *TARS)) and not p.name.startswith(".")
        )
    there = [path] if Path(path).is_file() else sorted(glob.glob(path, recursive=True))
    if not there:
        raise DataError(f"{path}: no such file, folder or pattern")
    return there


def _near(path: str) -> Callable[[], bytes]:
    def read() -> bytes:
        if (size := Path(path).stat().st_size) > MOST:
            raise DataError(f"{size:,} bytes, more than {MOST:,}")
        return Path(path).read_bytes()

    return read


def _far(url: str) -> Callable[[], bytes]:
    def read() -> bytes:
        there = remote.opened(url)
        if there.size > MOST:
            raise DataError(f"{there.size:,} bytes, more than {MOST:,}")
        return there.whole()

    return read


def _listed(url: str) -> list[str]:
    if not url.endswith("/") and "*" not in url:
        return [url]
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        there = system.glob(path) if "*" in url else system.find(path)
    except ImportError:
        raise DataError(f"{url}: files behind a URL need fsspec: pip install 'onnxscale[remote]'") from None
    except Exception as error:  # noqa: BLE001  each file system raises its own types
        raise DataError(f"{url}: cannot be listed ({str(error)[:200] or type(error).__name__})") from None
    return [system.unstrip_protocol(p) for p in sorted(there) if p.lower().endswith((*PICTURES, *TARS))]


def _of_tar(path: str) -> Iterator[Item]:
    """Entries as they come; only the picture at hand is in memory. Raises DataError where it is no tar, or a damaged one."""
    try:
        far = remote.opened(path) if remote.is_url(path) else None
        opening = partial(far.system.open, far.path) if far else Path(path).open
        with opening("rb") as file, tarfile.open(fileobj=_inflated(file), mode="r|") as tar:
            for entry in tar:
                if not entry.isfile() or not entry.name.lower().endswith(PICTURES):
                    continue
                name = f"{path}/{entry.name}"
                if entry.size > MOST:
                    yield name, _refusing(f"{entry.size:,} bytes, more than {MOST:,}")
                    continue
                held = tar.extractfile(entry)
                yield name, partial(bytes, held.read() if held else b"")
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path}: cannot be read as a tar ({error})") from None


def _inflated(file: Any) -> Any:
    """The tar inside a compressed file. tarfile's own stream copies all that a block inflates to for every block that it reads, so
    that a megabyte of zeros, inflated, takes it minutes."""
    head = file.read(6)
    file.seek(0)
    opening = next((how for magic, how in _COMPRESSED.items() if head.startswith(magic)), None)
    return opening(file) if opening else file


_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def _refusing(reason: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise DataError(reason)

    return read
