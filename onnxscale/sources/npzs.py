"""npz, and npy with named fields or with one dictionary: arrays by name. Each header is read first, under limits of size and ratio;
Python objects, as names of columns are, go through the machine of pickles.py: nothing is unpickled."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.sources import pickles
from onnxscale.sources.inert import Document, Held
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
    """{name: array, or list of text}; a Document of the dictionary that numpy.save was given. Raises StatisticsError for a bomb, an
    array of other objects, a damaged archive."""
    try:
        if data[:6] == b"\x93NUMPY":
            return _one(_held(data, "the array"))
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                info.filename.removesuffix(".npy"): _text(_held(member(archive, info), info.filename), info.filename)
                for info in archive.infolist()
                if _is_array(info.filename)
            }
    except _DAMAGE as error:
        if isinstance(error, StatisticsError):
            raise
        raise StatisticsError(f"a damaged npz archive or npy file ({str(error)[:200]})") from None


def _one(one: np.ndarray[Any, Any] | Held) -> object:
    """The named fields of a structured array, or the one dictionary. Raises StatisticsError for an array without names."""
    if isinstance(one, Held):
        if one.shape == () and one.objects and isinstance(one.objects[0], dict):
            return Document(one.objects[0])
        raise StatisticsError("holds Python objects that are no dictionary; save mean and std by name in an npz")
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


def _text(one: np.ndarray[Any, Any] | Held, name: str) -> object:
    if not isinstance(one, Held):
        return one
    if not one.objects or not all(isinstance(v, str) for v in one.objects):
        raise StatisticsError(f"{name[:80]!r} holds Python objects, which are not unpickled; save plain numbers")
    return one.objects


def _held(data: bytes, name: str) -> np.ndarray[Any, Any] | Held:
    """The array of a .npy file; one of objects as a record of them, which numpy.save pickles behind the header."""
    shape, dtype, at = _header(data)
    if dtype.kind != "O":
        return array(data, name)
    held = pickles.read(data[at:]).root
    if not isinstance(held, Held) or held.objects is None or held.shape != shape:
        raise StatisticsError(f"{name[:80]!r} holds Python objects, which are not unpickled; save plain numbers")
    return held


def _header(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    content = io.BytesIO(data)
    version = np.lib.format.read_magic(content)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(content)
    return shape, dtype, content.tell()


def array(data: bytes, name: str) -> np.ndarray[Any, Any]:
    """The array of a .npy file; its header is judged before its numbers are read."""
    shape, dtype, _ = _header(data)
    if dtype.hasobject:
        raise StatisticsError(f"{name[:80]!r} holds Python objects, which are not unpickled; save plain numbers")
    count = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if count > LARGEST or count > len(data):
        raise StatisticsError(f"{name[:80]!r} says it has the shape {shape}, more than the file holds")
    made: np.ndarray[Any, Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return made
