"""PyTorch's own part of a pickle: tensors as views of storages, whose bytes stand elsewhere in the file.

Sources: torch/_utils.py (_rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter), torch/storage.py (_load_from_bytes),
torch/serialization.py (persistent_id: ('storage', class, key, device, number of elements)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.sources import arrays
from onnxscale.sources.inert import Global
from onnxscale.step import Array

# torch's class of a storage -> its dtype; the bytes of an untyped one are what the tensor says
CLASSES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "UntypedStorage": "",
}  # fmt: skip
CODES = {
    "float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": "u2", "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "u1",
}  # fmt: skip
SPREAD = 1 << 20  # values that a tensor may repeat beyond what its storage holds


@dataclass(frozen=True, eq=False)
class Storage:
    """dtype: as torch spells it, "" for an untyped one. count: elements, as the pickle says. read: their bytes, little-endian
    unless big; raises StatisticsError."""

    dtype: str
    count: int
    read: Callable[[], bytes]
    big: bool = False


@dataclass(frozen=True, eq=False)
class Packed:
    """A storage as an ordinary pickle holds it: the bytes of a legacy torch.save of it."""

    data: bytes


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage: offset and strides in elements. It is decoded where it is used, and only there."""

    storage: Storage | Packed
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    def __repr__(self) -> str:
        return "<tensor>"


def stored(identity: Any, find: Callable[[str], Callable[[], bytes]], *, big: bool = False) -> Storage:
    """What a persistent id stands for. find: the reader of the bytes of a key."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise StatisticsError("a persistent id that torch.save does not write")
    of, key, count = identity[1], identity[2], identity[4]
    if not isinstance(of, Global) or of.module not in ("torch", "torch.storage", "torch.cuda"):
        raise StatisticsError(
            f"a storage of the class {of if isinstance(of, Global) else 'unknown'}; expected torch's own"
        )
    if not isinstance(key, str) or not _whole(count):
        raise StatisticsError("a storage without a key or a size")
    return Storage(CLASSES.get(of.name, of.name), count, find(key), big)


def tensor(arguments: tuple[Any, ...]) -> Tensor:
    """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]); v3 has the dtype after the hooks."""
    if len(arguments) < 6 or not isinstance(arguments[0], Storage | Packed) or not _whole(arguments[1]):
        raise StatisticsError("a tensor is not written as torch does")
    sizes, strides = arrays.shape(arguments[2]), arrays.shape(arguments[3])
    if len(sizes) != len(strides):
        raise StatisticsError(f"a tensor of shape {sizes} has the strides {strides}, which do not fit")
    storage = arguments[0]
    named = arguments[6] if len(arguments) > 6 else None
    dtype = named.name if isinstance(named, Global) else storage.dtype if isinstance(storage, Storage) else ""
    return Tensor(storage, arguments[1], sizes, strides, dtype)


def parameter(arguments: tuple[Any, ...]) -> Tensor:
    """_rebuild_parameter(tensor, requires_grad, hooks): the tensor."""
    if not arguments or not isinstance(arguments[0], Tensor):
        raise StatisticsError("a parameter is not written as torch does")
    return arguments[0]


def packed(arguments: tuple[Any, ...]) -> Packed:
    """_load_from_bytes(bytes)."""
    if len(arguments) != 1 or not isinstance(arguments[0], bytes):
        raise StatisticsError("a storage is not written as torch does")
    return Packed(arguments[0])


def size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """torch.Size(numbers)."""
    return arrays.shape(arguments[0]) if arguments else ()


def decoded(view: Tensor, storage: Storage) -> Array:
    """The values of a tensor. Raises StatisticsError where it reaches beyond its storage, or is of no type of numpy's."""
    dtype = view.dtype or storage.dtype
    code = CODES.get(dtype)
    if code is None:
        raise StatisticsError(f"a tensor of the type {dtype[:40]!r}; expected one of {', '.join(CODES)}")
    data = storage.read()
    flat = np.frombuffer(data[: len(data) // int(code[1]) * int(code[1])], (">" if storage.big else "<") + code)
    if storage.dtype and flat.size != storage.count:
        raise StatisticsError(f"a storage of {storage.count:,} values has {len(data):,} bytes, which do not fit")
    count = math.prod(view.sizes)
    reach = view.offset + sum((n - 1) * s for n, s in zip(view.sizes, view.strides, strict=True)) if count else 0
    if (count and reach >= flat.size) or count > flat.size + SPREAD:
        raise StatisticsError(
            f"a tensor of shape {view.sizes} at {view.offset:,} reaches beyond its storage of {flat.size:,} values"
        )
    width = flat.itemsize
    laid = np.lib.stride_tricks.as_strided(
        flat[view.offset if count else 0 :], view.sizes, [s * width for s in view.strides], writeable=False
    )
    return _native(laid, dtype)


def _native(laid: Array, dtype: str) -> Array:
    if dtype == "bfloat16":  # the upper half of a float32
        return (laid.astype(np.uint32) << 16).view(np.float32)
    if dtype == "bool":
        return np.asarray(laid != 0)
    return laid.astype(laid.dtype.newbyteorder("="))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40
