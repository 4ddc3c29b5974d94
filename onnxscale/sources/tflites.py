"""TFLite models (.tflite): the NormalizationOptions that the metadata inside say of each input, (x - mean) / std.

A .tflite is a flatbuffer (identifier TFL3; tensorflow/lite/schema/schema.fbs); its metadata are another, in the buffer that the entry
TFLITE_METADATA names (identifier M001; tflite-support's metadata_schema.fbs). Only those fields are looked at, by flatbuffers' own
tables, which onnxruntime brings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import runtimesettings
from onnxscale.statistics import Reading, Source, Statistics

NAME = b"TFLITE_METADATA"
MOST = 1 << 16
# fields of the tables, by their place in the schemas
_BUFFERS, _METADATA, _ENTRY_NAME, _ENTRY_BUFFER, _DATA = 4, 6, 0, 1, 0
_SUBGRAPHS, _INPUTS, _TENSOR_NAME, _UNITS = 3, 2, 0, 4
_KIND, _OPTIONS, _MEAN, _STD = 0, 1, 0, 1
_NORMALIZATION = 1


def sniff(data: bytes, name: str) -> bool:
    del name
    return data[4:8] == b"TFL3"


def read(data: bytes, reading: Reading) -> Statistics:
    """The scalers of a model's inputs. Raises StatisticsError where it has no metadata, or they say of no scaler."""
    try:
        content = _content(data)
    except (struct.error, IndexError, ValueError, TypeError, OverflowError, UnicodeDecodeError):
        raise StatisticsError("the TFLite model, or the metadata in it, is damaged") from None
    return runtimesettings.tflite(content, reading, Source("TFLite metadata", framework="TensorFlow Lite"))


def _content(data: bytes) -> dict[str, Any]:
    """The metadata as the JSON document that tflite-support shows of them."""
    model = _root(data)
    entry = next((e for e in _tables(model, _METADATA) if _text(e, _ENTRY_NAME) == NAME.decode()), None)
    if entry is None:
        raise StatisticsError("this TFLite model has no metadata: nothing says how its inputs are scaled")
    index = _number(entry, _ENTRY_BUFFER, "<I")
    buffers = list(_tables(model, _BUFFERS))
    metadata = _root(_bytes(buffers[index], _DATA))
    graphs = []
    for graph in _tables(metadata, _SUBGRAPHS):
        tensors = [
            {"name": _text(t, _TENSOR_NAME) or str(i), "process_units": [_unit(u) for u in _tables(t, _UNITS)]}
            for i, t in enumerate(_tables(graph, _INPUTS))
        ]
        graphs.append({"input_tensor_metadata": tensors})
    return {"subgraph_metadata": graphs}


def _unit(unit: Any) -> dict[str, Any]:
    if _number(unit, _KIND, "<B") != _NORMALIZATION:
        return {"options_type": "other"}
    offset = unit.Offset(4 + 2 * _OPTIONS)
    options = _table(unit.Bytes, unit.Pos + offset + struct.unpack_from("<I", unit.Bytes, unit.Pos + offset)[0])
    return {
        "options_type": "NormalizationOptions",
        "options": {"mean": _floats(options, _MEAN), "std": _floats(options, _STD)},
    }


def _table(data: bytes, position: int) -> Any:
    from flatbuffers.table import Table

    if not 0 <= position < len(data):
        raise IndexError(position)
    return Table(data, position)


def _root(data: bytes) -> Any:
    return _table(data, struct.unpack_from("<I", data, 0)[0])


def _vector(table: Any, field: int) -> tuple[int, int]:
    """Where a vector starts and how many items it has; (0, 0) where there is none."""
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return 0, 0
    count = table.VectorLen(offset)
    if not 0 <= count <= min(MOST, len(table.Bytes)):
        raise ValueError(count)
    return table.Vector(offset), count


def _tables(table: Any, field: int) -> Iterator[Any]:
    start, count = _vector(table, field)
    for i in range(count):
        yield _table(table.Bytes, table.Indirect(start + 4 * i))


def _bytes(table: Any, field: int) -> bytes:
    offset = table.Offset(4 + 2 * field)
    start, count = table.Vector(offset), table.VectorLen(offset)
    if not 0 <= start <= start + count <= len(table.Bytes):
        raise ValueError(count)
    return bytes(table.Bytes[start : start + count])


def _text(table: Any, field: int) -> str:
    start, count = _vector(table, field)
    return bytes(table.Bytes[start : start + count]).decode("utf-8")


def _floats(table: Any, field: int) -> list[float]:
    start, count = _vector(table, field)
    return list(struct.unpack_from(f"<{count}f", table.Bytes, start))


def _number(table: Any, field: int, form: str) -> int:
    offset = table.Offset(4 + 2 * field)
    return int(struct.unpack_from(form, table.Bytes, table.Pos + offset)[0]) if offset else 0
