"""npz, and npy with named fields: arrays by name. Each header is read first, under limits of size and ratio; nothing is unpickled."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.sources.keys import NAMES

LARGEST, RATIO = 64 << 20, 200
# what zipfile raises for a damaged archive, a missing member too; and numpy, which reads a header as Python's syntax
DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError, KeyError,
)  # fmt: skip
_DAMAGE = (*DAMAGE, SyntaxError, tokenize.TokenError, TypeError, MemoryError, OverflowError)


def sniff(data: bytes, name: str) -> bool:
    del name
    return data[:4] == b"PK\x03\x04" or data[:6] == b"\x93NUMPY"


def read(data: bytes) -> object:
    """{name: array}. Raises StatisticsError for a bomb, an object array, a damaged archive."""
    try:
        if data[:6] == b"\x93NUMPY":
            return _fields(array(data, "the array"))
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                info.filename.removesuffix(".npy"): array(member(archive, info), info.filename)
                for info in archive.infolist()
                if _is_array(info.filename)
            }
    except _DAMAGE as error:
        if isinstance(error, StatisticsError):
            raise
        raise StatisticsError(f"a damaged npz archive or npy file ({str(error)[:200]})") from None


def _fields(one: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The named fields of a structured array. Raises StatisticsError for an array without names."""
    if not one.dtype.names:
        raise StatisticsError(
            "one array without a name (npy): what it is cannot be told; save mean and std by name in an npz"
        )
    return {"features" if n in NAMES else n: one[n] for n in one.dtype.names}


def _is_array(name: str) -> bool:
    if not name.endswith(".npy"):
        raise StatisticsError(f"holds {name[:80]!r}, which is no array; expected an npz of numpy arrays")
    return True


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int = LARGEST) -> bytes:
    """The bytes of one member, under limits of size and ratio."""
    if info.file_size > most or info.file_size > RATIO * max(info.compress_size, 1) + 65536:
        raise StatisticsError(
            f"{info.filename[:80]!r} unpacks to {info.file_size:,} bytes from {info.compress_size:,}; not read"
        )
    try:
        with archive.open(info) as opened:
            return opened.read(most + 1)
    except (OverflowError, struct.error) as error:  # an offset that no file has
        raise zipfile.BadZipFile(str(error)) from None


def array(data: bytes, name: str) -> np.ndarray[Any, Any]:
    """The array of a .npy file; its header is judged before its numbers are read."""
    content = io.BytesIO(data)
    version = np.lib.format.read_magic(content)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(content)
    if dtype.hasobject:
        raise StatisticsError(f"{name[:80]!r} holds Python objects, which are not unpickled; save plain numbers")
    count = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if count > LARGEST or count > len(data):
        raise StatisticsError(f"{name[:80]!r} says it has the shape {shape}, more than the file holds")
    content.seek(0)
    made: np.ndarray[Any, Any] = np.lib.format.read_array(content, allow_pickle=False)
    return made
