"""joblib files: a pickle, plain or compressed, in which the bytes of each array lie between the opcodes.

Source of the layout: joblib/numpy_pickle.py (NumpyArrayWrapper) and joblib/compressor.py.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.sources import calls, pickles
from onnxscale.sources.records import MOST_BYTES, Global, Opaque, Record, decoded

_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_OLD = ("joblib.numpy_pickle.NDArrayWrapper", "joblib.numpy_pickle.ZNDArrayWrapper")
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_MAGIC: dict[bytes, Callable[[], Any]] = {
    **dict.fromkeys(_ZLIB, zlib.decompressobj),
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ),
    b"\x5d\x00\x00": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_ALONE),
}
_LZ4 = b"\x04\x22\x4d\x18"


def sniff(data: bytes, name: str) -> bool:
    """Whether these bytes are a pickle with arrays inside, or a compressed one."""
    return data.startswith((*_MAGIC, _LZ4)) or pickles.sniff(data, name)


def read(data: bytes) -> object:
    """What the file holds, as plain values, arrays and records. Raises StatisticsError."""
    if data.startswith(_LZ4):
        raise StatisticsError(
            "compressed with lz4, which is not read; save it with joblib.dump(scaler, path, compress=3)"
        )
    start = next((magic for magic in _MAGIC if data.startswith(magic)), None)
    if start is not None:
        data = _inflated(data, _MAGIC[start]())
        if not pickles.sniff(data, ""):
            raise StatisticsError("a compressed file that holds no pickle; unpack it first")
    file = io.BytesIO(data)
    found = pickles.run(file, _HOOKS)
    rest = len(data) - file.tell()
    if rest:
        raise StatisticsError(f"{rest:,} bytes follow the end of the pickle; expected one object and nothing else")
    return found


def _inflated(data: bytes, decompressor: Any) -> bytes:
    parts, size, waiting = [], 0, data
    try:
        while not decompressor.eof:
            part = decompressor.decompress(waiting, 1 << 20)
            waiting = getattr(decompressor, "unconsumed_tail", b"")
            if not part and not waiting:
                if decompressor.eof:
                    break
                raise StatisticsError("a compressed file that ends too early")
            size += len(part)
            if size > MOST_BYTES:
                raise StatisticsError(f"it unpacks to more than {MOST_BYTES:,} bytes; a scaler's file does not")
            parts.append(part)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise StatisticsError(f"a damaged compressed file ({str(error)[:100]})") from None
    if decompressor.unused_data:
        raise StatisticsError(f"{len(decompressor.unused_data):,} bytes follow the compressed pickle; expected nothing")
    return b"".join(parts)


def _array(machine: pickles.Machine, record: Record) -> object:
    state = record.state
    if not isinstance(state, dict) or not {"subclass", "shape", "order", "dtype"} <= set(state):
        raise StatisticsError("a joblib array without its description; the file is damaged")
    if state["subclass"] != Global("numpy", "ndarray"):
        raise StatisticsError(
            f"holds a {state['subclass']}, which is not a plain array; save it with plain numpy arrays"
        )
    code, shape, file = calls.dtype_code(state["dtype"]), state["shape"], machine.file
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise StatisticsError("a joblib array with a shape that is no shape")
    if code.lstrip("<>|=").startswith("O"):
        return pickles.run(file, _HOOKS, machine.depth + 1)
    if state.get("numpy_array_alignment_bytes") is not None:
        padding = file.read(1)
        file.read(padding[0] if padding else 0)
    size = _itemsize(code)
    for n in shape:
        size *= n
        if size > MOST_BYTES:
            raise StatisticsError(f"a joblib array of more than {MOST_BYTES:,} bytes; a scaler has none")
    data = file.read(size)
    if code.lstrip("<>|=").startswith("V"):
        return Opaque("a structured array")
    return decoded(data, code, shape, str(state["order"]))


def _itemsize(code: str) -> int:
    try:
        return np.dtype(code).itemsize
    except (TypeError, ValueError):
        raise StatisticsError(f"a joblib array has the unknown data type {code[:40]!r}") from None


def _old(machine: pickles.Machine, record: Record) -> object:
    raise StatisticsError(
        "written by a joblib before 0.10, with arrays in files of their own; load it there and save it again"
    )


_HOOKS: dict[str, pickles.Hook] = {_WRAPPER: _array, **dict.fromkeys(_OLD, _old)}
