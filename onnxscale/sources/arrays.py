"""numpy's own part of a pickle: dtypes, arrays and scalars, decoded from their bytes by numpy.frombuffer.

Sources: numpy/_core/src/multiarray (arraydescr_reduce, array_reduce, array_setstate), numpy/_core/numeric.py (_frombuffer),
joblib/numpy_pickle.py (NumpyArrayWrapper.read_array).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.sources.inert import Global, Held, Odd
from onnxscale.step import Array

NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
RANK = 8


@dataclass(eq=False)
class DType:
    """code: as numpy spells it, without the byte order: f8, O8, V64. order: <, > or |."""

    code: str
    order: str = "|"

    @property
    def holds_objects(self) -> bool:
        return self.code.startswith("O")

    @property
    def size(self) -> int:
        found = re.fullmatch(r"([a-zA-Z])(\d{1,6})", self.code)
        if found is None:
            raise StatisticsError(f"an array has the dtype {self.code[:20]!r}, which is not known here")
        return int(found[2]) * (4 if found[1] == "U" else 1)


def dtype(arguments: tuple[Any, ...]) -> DType:
    """numpy.dtype(code, align, copy), as its pickle says it."""
    if not arguments or not isinstance(arguments[0], str) or len(arguments[0]) > 20:
        raise StatisticsError("a dtype is not spelled as numpy does")
    code = arguments[0]
    return DType(code[1:], code[0]) if code[:1] in ("<", ">", "|", "=") and code[1:] else DType(code)


def set_dtype(made: DType, state: Any) -> None:
    """arraydescr_setstate: (version, byte order, subdtype, names, fields, itemsize, alignment, flags)."""
    if not isinstance(state, tuple) or len(state) < 3 or state[1] not in ("<", ">", "|", "="):
        raise StatisticsError("the state of a dtype is not as numpy writes it")
    made.order = state[1]
    if made.code.startswith("V") and len(state) > 4 and isinstance(state[4], dict):
        # a structure that holds objects is written as V too; it would have to be unpickled, so it is not read
        parts = [f[0] if isinstance(f, tuple) and f else None for f in state[4].values()]
        if any(not isinstance(p, DType) or p.holds_objects for p in parts):
            made.code = "O8"


def shape(given: Any) -> tuple[int, ...]:
    """A shape as Python integers. Raises StatisticsError for anything else."""
    sizes = (given,) if isinstance(given, int) else given
    if not isinstance(sizes, tuple | list) or len(sizes) > RANK:
        raise StatisticsError("an array has no shape that numpy would write")
    if any(not isinstance(n, int) or isinstance(n, bool) or not 0 <= n < 2**40 for n in sizes):
        raise StatisticsError("the shape of an array is not a list of sizes")
    return tuple(sizes)


def decode(data: Any, made: Any, sizes: tuple[int, ...], order: str) -> Array | Odd:
    """The array of these raw bytes; what is no number, and so never a statistic, stays closed."""
    if not isinstance(made, DType) or not isinstance(data, bytes | bytearray):
        raise StatisticsError("an array is not written as numpy does: its bytes or its dtype are something else")
    if len(data) != math.prod(sizes) * made.size:
        raise StatisticsError(
            f"an array of shape {sizes} and type {made.code} has {len(data):,} bytes, which do not fit"
        )
    if made.code not in NUMBERS:
        return Odd(f"array of {made.code}")
    if made.code == "b1":
        flat: Array = np.frombuffer(data, np.uint8) != 0
    else:
        read = np.frombuffer(data, np.dtype(("<" if made.order in "|=" else made.order) + made.code))
        flat = read.astype(read.dtype.newbyteorder("="))
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def set_array(held: Held, state: Any) -> None:
    """array_setstate: (version, shape, dtype, is Fortran, bytes or list of objects)."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise StatisticsError("the state of an array is not as numpy writes it")
    _, sizes, made, fortran, data = state
    _fill(held, data, made, shape(sizes), "F" if fortran else "C")


def from_buffer(arguments: tuple[Any, ...]) -> Held:
    """numpy._core.numeric._frombuffer(buffer, dtype, shape, order[, axis_order]), of pickle protocol 5."""
    if len(arguments) not in (4, 5):
        raise StatisticsError("an array of protocol 5 is not written as numpy does")
    data, made, sizes, order = arguments[:4]
    held = Held()
    _fill(held, data, made, shape(sizes), "F" if order == "F" else "C")
    axes = arguments[4] if len(arguments) == 5 else None
    if order == "K" and axes is not None and held.value is not None:
        if sorted(shape(axes)) != list(range(held.value.ndim)):
            raise StatisticsError("the axes of an array are not in an order")
        held.value = held.value.transpose(shape(axes))
    return held


def scalar(arguments: tuple[Any, ...]) -> Any:
    """numpy.core.multiarray.scalar(dtype, bytes): one number."""
    if len(arguments) != 2:
        raise StatisticsError("a number is not written as numpy does")
    made = decode(arguments[1], arguments[0], (), "C")
    return made if isinstance(made, Odd) else made[()]


def _fill(held: Held, data: Any, made: Any, sizes: tuple[int, ...], order: str) -> None:
    if isinstance(made, DType) and made.holds_objects and isinstance(data, list):
        if len(data) != math.prod(sizes) or (order == "F" and sum(n > 1 for n in sizes) > 1):
            raise StatisticsError(f"an array of shape {sizes} holds {len(data):,} objects, which do not fit")
        held.objects, held.shape = data, sizes
        return
    found = decode(data, made, sizes, order)
    held.value = None if isinstance(found, Odd) else found


def wrapped(state: Any, stream: BinaryIO, left: int) -> Held | None:
    """joblib's NumpyArrayWrapper: the array's bytes stand in the file itself, behind an alignment pad. None: the array holds
    objects, and a pickle of its own comes next. left: how many bytes the file still has."""
    if not isinstance(state, dict) or not isinstance(state.get("dtype"), DType):
        raise StatisticsError("an array of joblib's is not written as joblib does")
    subclass, made = state.get("subclass"), state["dtype"]
    if not isinstance(subclass, Global) or subclass.key != ("numpy", "ndarray"):
        raise StatisticsError(
            f"holds an array of the class {subclass if isinstance(subclass, Global) else 'unknown'}; only numpy.ndarray is read. "
            f"Load it without mmap_mode and save it again"
        )
    sizes, order = shape(state.get("shape")), state.get("order")
    if order not in ("C", "F"):
        raise StatisticsError("an array of joblib's has no order; expected C or F")
    if made.holds_objects:
        return None
    alignment, pad = state.get("numpy_array_alignment_bytes"), 0
    if alignment is not None:
        if not isinstance(alignment, int) or not 0 < alignment <= 255:
            raise StatisticsError("an array of joblib's has no alignment that joblib would write")
        pad = int.from_bytes(stream.read(1), "little")
        if pad > alignment or len(stream.read(pad)) != pad:
            raise StatisticsError("the alignment in front of an array is damaged")
    size = math.prod(sizes) * made.size
    if size > left - pad:
        raise StatisticsError(f"an array of shape {sizes} needs {size:,} bytes, more than the file has")
    held = Held()
    _fill(held, stream.read(size), made, sizes, order)
    return held
