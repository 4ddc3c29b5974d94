"""The files of an audit: of a folder on this machine or behind a URL, in a fixed order, none outside, none that is special."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxscale import remote
from onnxscale.auditing.facts import kind_of
from onnxscale.errors import OnnxscaleError

SKIPPED = {
    ".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", "venv", ".tox", ".mypy_cache", ".ruff_cache", ".pytest_cache",
    "site-packages", ".ipynb_checkpoints", ".eggs", ".dvc",
}  # fmt: skip
MOST = 1_000_000


@dataclass(frozen=True)
class Item:
    """A file to read. source: a path of this machine, or a URL; path: relative to what was audited, with slashes."""

    source: str
    path: str
    size: int


def items(paths: Sequence[str | os.PathLike[str]], exclude: Sequence[str] = ()) -> list[Item]:
    """All files that a reader may know, each once. Raises OnnxscaleError for a path that is not there."""
    found: dict[str, Item] = {}
    for path in paths:
        text = os.fspath(path)
        listed = _far(text) if remote.is_url(text) else _near(Path(text), len(paths) > 1)
        for item in listed:
            if not _excluded(item.path, exclude):
                found.setdefault(item.source, item)
            if len(found) > MOST:
                raise OnnxscaleError(f"{text}: more than {MOST:,} files; audit a part of it, or --exclude some")
    return sorted(found.values(), key=lambda i: i.path)


def _excluded(path: str, patterns: Sequence[str]) -> bool:
    """A pattern fits a path, a file's name, or a folder above it: `tests`, `*.ipynb`, `docs/*`."""
    parts = path.split("/")
    heads = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(
        fnmatch.fnmatch(h, p.rstrip("/")) or fnmatch.fnmatch(h.rpartition("/")[2], p.rstrip("/"))
        for p in patterns
        for h in heads
    )


def _near(root: Path, several: bool) -> Iterator[Item]:
    if not root.exists():
        raise OnnxscaleError(f"{root}: no such file or folder")
    if root.is_file():
        yield Item(str(root), root.name if not several else _named(root), root.stat().st_size)
        return
    if not root.is_dir():
        raise OnnxscaleError(f"{root}: neither a file nor a folder")
    home = os.path.realpath(root)
    prefix = f"{_named(root)}/" if several and _named(root) not in (".", "") else ""
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(
            f for f in folders if f not in SKIPPED and not os.path.exists(os.path.join(folder, f, "pyvenv.cfg"))
        )
        for name in sorted(files):
            full = os.path.join(folder, name)
            relative = os.path.relpath(full, root).replace(os.sep, "/")
            size = _size(full, home)
            if size is not None and kind_of(relative) is not None:
                yield Item(full, prefix + _printable(relative), size)


def _named(path: Path) -> str:
    return _printable(str(path).replace(os.sep, "/").rstrip("/"))


def _printable(path: str) -> str:
    """A file's name as text, whatever bytes it is made of."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _size(path: str, home: str) -> int | None:
    """Of a regular file; None for anything else, and for a link that leads out of the folder."""
    try:
        state = os.lstat(path)
        if stat.S_ISLNK(state.st_mode):
            real = os.path.realpath(path)
            if not real.startswith(home + os.sep):
                return None
            state = os.stat(real)
    except OSError:
        return None
    return state.st_size if stat.S_ISREG(state.st_mode) else None


def _far(url: str) -> Iterator[Item]:
    """Of a bucket or folder behind a URL, by its listing."""
    try:
        import fsspec
    except ImportError:
        raise OnnxscaleError(f"{url}: files behind a URL need fsspec: pip install 'onnxscale[remote]'") from None
    try:
        system, root = fsspec.core.url_to_fs(url)
        single = "http" in system.protocol and kind_of(root.rpartition("/")[2]) is not None
        # fsspec lists a web address by reading all that is there, which for a model is the model
        listed = {root: system.info(root)} if single else system.find(root, detail=True)
    except Exception as error:  # noqa: BLE001  each file system raises its own types
        raise OnnxscaleError(
            f"{url}: cannot be listed ({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})"
        ) from None
    head = root.rstrip("/")
    for full, state in listed.items():
        relative = full[len(head) :].lstrip("/") or full.rpartition("/")[2]
        known = state.get("type", "file") == "file" and isinstance(state.get("size"), int)
        if known and kind_of(relative) is not None and not set(relative.split("/")) & SKIPPED:
            yield Item(system.unstrip_protocol(full), relative, int(state["size"]))
