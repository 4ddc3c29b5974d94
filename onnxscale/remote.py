"""Files behind a URL, through fsspec: byte ranges for looking at a model, a stream to the disk for running it.

https:// needs aiohttp, s3:// needs s3fs, gs:// gcsfs, hf:// huggingface_hub; a message names the one that is missing.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from onnxscale.errors import ModelError
from onnxscale.wire import Window

STEP = 4096  # a window of the first read after a jump; it doubles while reads go on where the last one ended
CHUNK = 1 << 24
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_PLAIN = re.compile(r"[\w.@+=, /-]+")


def is_url(source: object) -> bool:
    """Whether something is a URL (two letters and more before ://, so that no Windows path is)."""
    return isinstance(source, str) and _URL.match(source) is not None


@dataclass
class Remote:
    """A file behind a URL. size: bytes. ranges: whether the server gives parts of it. fetched: bytes read so far."""

    url: str
    system: Any = field(repr=False)
    path: str
    size: int
    ranges: bool
    fetched: int = 0

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`. Raises ModelError."""
        if length <= 0:
            return b""
        try:
            data = bytes(self.system.cat_file(self.path, start=offset, end=offset + length))
        except Exception as error:  # noqa: BLE001  each file system raises its own types
            raise _unreadable(self.url, error) from None
        self.fetched += len(data)
        if len(data) != length:
            raise ModelError(f"{self.url}: gave {len(data):,} bytes where {length:,} were asked for")
        return data

    def whole(self) -> bytes:
        """All of it in memory."""
        return self.read(0, self.size) if self.ranges else bytes(self.system.cat_file(self.path))

    def window(self) -> Window:
        """Random access that reads little."""
        return Window(self.read, self.size, STEP)


def opened(url: str) -> Remote:
    """Raises ModelError where there is no such file, or nothing here speaks the URL's protocol."""
    try:
        import fsspec
    except ImportError:
        raise ModelError(f"{url}: files behind a URL need fsspec: pip install 'onnxscale[remote]'") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
        said = system.info(path)
    except Exception as error:  # noqa: BLE001  each file system raises its own types
        raise _unreadable(url, error) from None
    size = said.get("size")
    if not isinstance(size, int):
        raise ModelError(f"{url}: the server does not say how large the file is; download it first")
    return Remote(url, system, path, size, bool(said.get("partial", True)))


def _unreadable(url: str, error: Exception) -> ModelError:
    reason = str(error) or type(error).__name__
    return ModelError(f"{url}: cannot be read ({reason.splitlines()[0][:200]})")


def fetch(remote: Remote, folder: Path) -> Path:
    """The whole file in `folder`, streamed. Raises ModelError, and OSError where the disk is full."""
    target = folder / (PurePosixPath(remote.path).name or "model.onnx")
    with target.open("wb") as out:
        if remote.ranges:
            for at in range(0, remote.size, CHUNK):
                out.write(remote.read(at, min(CHUNK, remote.size - at)))
        else:
            try:
                with remote.system.open(remote.path, "rb", block_size=0) as stream:
                    shutil.copyfileobj(stream, out, CHUNK)
            except Exception as error:  # noqa: BLE001  each file system raises its own types
                raise _unreadable(remote.url, error) from None
    if target.stat().st_size != remote.size:
        raise ModelError(f"{remote.url}: {target.stat().st_size:,} bytes came, {remote.size:,} were announced")
    return target


def fetch_beside(url: str, locations: list[str], folder: Path) -> None:
    """The external data files of a model behind a URL, from the folder it lies in. Raises ModelError."""
    home = url.rsplit("/", 1)[0]
    for location in locations:
        parts = PurePosixPath(location).parts
        if not _PLAIN.fullmatch(location) or ".." in parts or location.startswith("/"):
            raise ModelError(f"{url}: keeps data in {location!r}, which is no plain name in its own folder")
        into = folder.joinpath(*parts).parent
        into.mkdir(parents=True, exist_ok=True)
        fetch(opened(f"{home}/{location}"), into)


def scratch() -> Path:
    """A new folder for what is fetched."""
    return Path(tempfile.mkdtemp(prefix="onnxscale-"))
