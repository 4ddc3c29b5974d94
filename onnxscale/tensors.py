"""The values of a tensor, wherever they lie: in the message, in the model file behind a stub, in a file beside it."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from onnxscale import external, lazy, runs
from onnxscale.errors import ModelError
from onnxscale.modelfile import ModelFile
from onnxscale.wire import fields

Array = npt.NDArray[Any]
MOST = 1 << 31  # no tensor that a fold or a recognition reads is larger


def values(model: ModelFile, tensor: onnx.TensorProto | onnx.AttributeProto) -> Array:
    """The values of a tensor of this model, as numpy has them. Raises ModelError where they cannot be read.

    Of an attribute whose list is a stub too: floats, ints, or for strings the bytes of their run (runs.words).
    """
    if isinstance(tensor, onnx.AttributeProto):
        return _list(model, tensor)
    raw = payload(model, tensor)
    inline = tensor if raw is None else onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)
    try:
        return np.asarray(numpy_helper.to_array(inline))
    except (ValueError, TypeError, KeyError) as error:
        what = f"its dims {list(tensor.dims)}, its type {tensor.data_type} and its bytes contradict each other"
        raise ModelError(f"{model.name}: tensor {tensor.name!r} is damaged: {what} ({error})") from None


def _list(model: ModelFile, attribute: onnx.AttributeProto) -> Array:
    place = lazy.listed(attribute)
    if place is None:
        raise ModelError(f"attribute {attribute.name!r} is no stub")
    run = model.data[place.offset : place.offset + place.length]
    kinds = {onnx.AttributeProto.FLOATS: runs.floats, onnx.AttributeProto.INTS: runs.ints}
    return kinds[attribute.type](run) if attribute.type in kinds else np.frombuffer(run, np.uint8)


def payload(model: ModelFile, tensor: onnx.TensorProto) -> bytes | None:
    """The raw little-endian bytes of a tensor that lies elsewhere; None for one that the message holds itself."""
    stub = lazy.payload(tensor)
    if stub is not None:
        field = next(iter(fields(model.data, stub.offset, stub.offset + stub.length)))
        return model.data[field.value : field.end]
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    location = external.entries(tensor).get("location", "")
    path = external.located(external.needs_path(model.path, tensor), location, tensor.name)
    length = nbytes(tensor)
    if length > MOST:
        raise ModelError(f"tensor {tensor.name!r} has {length:,} bytes, too many to read into memory")
    descriptor = external.opened(path, real=True)
    try:
        data = os.pread(descriptor, length, external.extent(tensor)[0])
    finally:
        os.close(descriptor)
    if len(data) != length:
        raise ModelError(f"{path}: tensor {tensor.name!r} needs {length:,} bytes there, {len(data):,} are left")
    return data


def is_outside(tensor: onnx.TensorProto) -> bool:
    """True for a tensor whose values lie in another file; a stub of a large one is not that."""
    return tensor.data_location == onnx.TensorProto.EXTERNAL and lazy.payload(tensor) is None


def nbytes(tensor: onnx.TensorProto) -> int:
    """How many raw bytes the dims and the type of a tensor ask for (strings: 0)."""
    return (math.prod(tensor.dims) * BITS.get(tensor.data_type, 0) + 7) // 8


_T = onnx.TensorProto
BITS: dict[int, int] = {
    **dict.fromkeys((_T.FLOAT, _T.INT32, _T.UINT32), 32),
    **dict.fromkeys((_T.DOUBLE, _T.INT64, _T.UINT64, _T.COMPLEX64), 64),
    **dict.fromkeys((_T.FLOAT16, _T.BFLOAT16, _T.INT16, _T.UINT16), 16),
    **dict.fromkeys((_T.INT8, _T.UINT8, _T.BOOL), 8),
    **{code: 8 for name, code in _T.DataType.items() if name.startswith("FLOAT8")},
    **{code: 4 for name, code in _T.DataType.items() if name in ("INT4", "UINT4", "FLOAT4E2M1")},
    **{code: 2 for name, code in _T.DataType.items() if name in ("INT2", "UINT2")},
    _T.COMPLEX128: 128,
    _T.STRING: 0,
}
