"""A result that would pass protobuf's limit of 2 GB: its large constants go to a data file beside it.

The model file and its data file together are the original with splices, which is how an unbake finds it again.
"""

from __future__ import annotations

import onnx

from onnxscale import lazy, pieces
from onnxscale.baking import Edited, Spilled
from onnxscale.modelfile import ModelFile
from onnxscale.pieces import Copy, Pieces
from onnxscale.recognition import recorded
from onnxscale.wire import fields

LIMIT = (1 << 31) - 1
RESERVE = 24 << 20  # for the record, with what a fold replaced
ALIGNMENT = 4096  # of a tensor in the data file: runtimes map pages


def needed(edited: Edited) -> bool:
    """Whether one file cannot hold the model."""
    return pieces.size(edited.pieces) + RESERVE > LIMIT


def spilled(model: ModelFile, edited: Edited, location: str) -> tuple[Edited, Pieces]:
    """The same edit with every large initializer in a data file of this name, and the pieces of that file."""
    proto = onnx.ModelProto()
    proto.CopyFrom(edited.proto)
    data: Pieces = []
    at = 0
    for tensor in proto.graph.initializer:
        stub = lazy.payload(tensor)
        if stub is None:
            continue
        field = next(iter(fields(model.data, stub.offset, stub.offset + stub.length)))
        length = field.end - field.value
        del tensor.external_data[:]
        for key, value in (("location", location), ("offset", str(at)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        padding = -length % ALIGNMENT
        data += [Copy(field.value, length), bytes(padding)]
        at += length + padding
    data = pieces.joined(data)
    return Edited(proto, edited.seams, model.render(proto), Spilled(location, data)), data


def location(model: ModelFile) -> str:
    """The data file that a bake made of a model's own constants, "" where it made none."""
    beside = (recorded(model) or {}).get("data")
    return str(beside.get("location", "")) if isinstance(beside, dict) else ""
