"""An ONNX file as a skeleton: an ordinary ModelProto in which each large tensor, and each long list of a tree ensemble,
stands as a stub that says where its bytes lie. The way back, an edited skeleton as pieces of the file, is rendering.py.

A stub is a TensorProto whose payload is replaced by external data with the location `MARK`, and the offset and length
of the payload's field in the file. An attribute's list is replaced by a doc_string with `MARK`, and the offset and length
of its run of fields. What an edit leaves alone is copied byte for byte, unknown fields and field order
included; only changed elements are written anew.
"""

from __future__ import annotations

import secrets
from functools import cache
from typing import Any, TypeAlias

import onnx
from google.protobuf.message import DecodeError

from onnxscale import runs
from onnxscale.errors import ModelError
from onnxscale.pieces import Copy
from onnxscale.wire import LENGTH, VARINT, Buffer, Field, encode_varint, fields, header

Descriptor: TypeAlias = Any  # protobuf's, whichever of its implementations is at work
MARK = f"*/onnxscale {secrets.token_hex(16)}: bytes of the file itself/*"  # no file can forge it
LARGE = 4096
_PAYLOAD = {9, 4, 10}  # raw_data, packed float_data, packed double_data: the same little-endian bytes
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_NAME, _DOC_STRING = 1, 13
_LISTS = frozenset((7, 8, 9))  # floats, ints, strings of an attribute
_LONG = (b"nodes_", b"target_", b"class_", b"leaf_", b"tree_")  # attributes of tree ensembles, which trees.py reads


@cache
def carriers(message: Descriptor) -> dict[int, Descriptor]:
    """The fields of a message type whose values can hold a tensor, however deep: field number -> message type."""
    return {f.number: f.message_type for f in message.fields if f.message_type and _holds_tensor(f.message_type, ())}


def _holds_tensor(message: Descriptor, seen: tuple[str, ...]) -> bool:
    if message.name == "TensorProto":
        return True
    inner = [f.message_type for f in message.fields if f.message_type and f.message_type.full_name not in seen]
    return any(_holds_tensor(m, (*seen, message.full_name)) for m in inner)


def skeleton(data: Buffer) -> onnx.ModelProto:
    """The model with its large tensors as stubs. Raises ModelError where the bytes are not a protobuf message."""
    descriptor = onnx.ModelProto.DESCRIPTOR
    whole = data if isinstance(data, bytes) and len(data) <= LARGE * 64 else _slim(data, 0, len(data), descriptor, 0)
    try:
        return onnx.ModelProto.FromString(whole)
    except DecodeError as error:
        raise ModelError(f"the file is damaged: protobuf cannot read it ({error})") from None


def _slim(data: Buffer, start: int, end: int, message: Descriptor, depth: int) -> bytes:
    if depth > 100:
        raise ModelError("the graph is nested more than 100 messages deep")
    if message.name == "TensorProto":
        return _stub(data, start, end)
    inside = carriers(message)
    out = []
    lists = message.name == "AttributeProto"
    parts = list(runs.grouped(data, start, end, _LISTS)) if lists else fields(data, start, end)
    stub = _list(data, parts) if isinstance(parts, list) else None
    for field in parts:
        if field is stub:
            text = f"{MARK} {field.start} {field.end - field.start}".encode()
            out.append(header(_DOC_STRING, len(text)) + text)
            continue
        inner = inside.get(field.number) if field.wire == LENGTH and field.end - field.value > LARGE else None
        if inner is None:
            out.append(data[field.start : field.end])
        else:
            body = _slim(data, field.value, field.end, inner, depth + 1)
            out.append(header(field.number, len(body)) + body)
    return b"".join(out)


def _list(data: Buffer, parts: list[Field]) -> Field | None:
    """The one run that is the attribute's list, where it is a long one of a tree ensemble."""
    found = [f for f in parts if f.number in _LISTS]
    named = [data[f.value : f.end] for f in parts if f.number == _NAME and f.wire == LENGTH]
    alone = len(found) == len(named) == 1 and not any(f.number == _DOC_STRING for f in parts)
    return found[0] if alone and found[0].end - found[0].start > LARGE and named[0].startswith(_LONG) else None


def _stub(data: Buffer, start: int, end: int) -> bytes:
    out = []
    for field in fields(data, start, end):
        if field.number in _PAYLOAD and field.wire == LENGTH and field.end - field.value > LARGE:
            entries = {"location": MARK, "offset": str(field.start), "length": str(field.end - field.start)}
            for key, value in entries.items():
                entry = onnx.StringStringEntryProto(key=key, value=value).SerializeToString()
                out.append(header(_EXTERNAL_DATA, len(entry)) + entry)
            out.append(encode_varint(_DATA_LOCATION << 3 | VARINT) + encode_varint(onnx.TensorProto.EXTERNAL))
        else:
            out.append(data[field.start : field.end])
    return b"".join(out)


def listed(attribute: onnx.AttributeProto) -> Copy | None:
    """Where the run of fields that is an attribute's list lies in the file; None for an attribute that is no stub."""
    if not (isinstance(attribute.doc_string, str) and attribute.doc_string.startswith(MARK)):
        return None
    offset, length = attribute.doc_string[len(MARK) :].split()
    return Copy(int(offset), int(length))


def payload(tensor: onnx.TensorProto) -> Copy | None:
    """Where the field with a stub's payload lies in the file; None for a tensor that is no stub."""
    entries = {e.key: e.value for e in tensor.external_data}
    if entries.get("location") != MARK:
        return None
    return Copy(int(entries["offset"]), int(entries["length"]))
