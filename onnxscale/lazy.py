"""An ONNX file as a skeleton: an ordinary ModelProto in which each large tensor stands as a stub that says where its
bytes lie, and the way back: an edited skeleton as pieces of the file it came from.

A stub is a TensorProto whose payload is replaced by external data with the location `MARK`, and the offset and length
of the payload's field in the file. What an edit leaves alone is copied byte for byte, unknown fields and field order
included; only changed elements are written anew.
"""

from __future__ import annotations

import secrets
from collections import defaultdict, deque
from functools import cache
from typing import Any, TypeAlias

import onnx
from google.protobuf.message import DecodeError, Message

from onnxscale.errors import ModelError
from onnxscale.pieces import Copy, Pieces, joined, size
from onnxscale.wire import LENGTH, VARINT, Buffer, encode_varint, fields, header

Descriptor: TypeAlias = Any  # protobuf's, whichever of its implementations is at work
MARK = f"*/onnxscale {secrets.token_hex(16)}: bytes of the file itself/*"  # no file can forge it
LARGE = 4096
_PAYLOAD = {9, 4, 10}  # raw_data, packed float_data, packed double_data: the same little-endian bytes
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


@cache
def _carriers(message: Descriptor) -> dict[int, Descriptor]:
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
    carriers = _carriers(message)
    out = []
    for field in fields(data, start, end):
        inner = carriers.get(field.number) if field.wire == LENGTH and field.end - field.value > LARGE else None
        if inner is None:
            out.append(data[field.start : field.end])
        else:
            body = _slim(data, field.value, field.end, inner, depth + 1)
            out.append(header(field.number, len(body)) + body)
    return b"".join(out)


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


def payload(tensor: onnx.TensorProto) -> Copy | None:
    """Where the field with a stub's payload lies in the file; None for a tensor that is no stub."""
    entries = {e.key: e.value for e in tensor.external_data}
    if entries.get("location") != MARK:
        return None
    return Copy(int(entries["offset"]), int(entries["length"]))


def render(data: Buffer, pristine: onnx.ModelProto, edited: onnx.ModelProto) -> Pieces:
    """The edited model as pieces of the file that `pristine` is the skeleton of.

    Elements of repeated messages (nodes, initializers, inputs, metadata, ...) that are unchanged are copied from where
    they lie; changed and new ones are written where they stand in the edited order.
    """
    return joined(_message(data, pristine, edited, 0, len(data)))


def _message(data: Buffer, old: Message, new: Message, start: int, end: int) -> Pieces:
    descriptors: dict[int, Any] = {f.number: f for f in old.DESCRIPTOR.fields}
    entries = list(fields(data, start, end))
    counts: dict[int, int] = defaultdict(int)
    for entry in entries:
        counts[entry.number] += entry.wire == LENGTH
    changed: dict[int, _Aligned] = {}
    for number, field in descriptors.items():
        a, b = getattr(old, field.name), getattr(new, field.name)
        if field.message_type and _repeated(field):
            changed[number] = _Aligned(number, a, b)
        elif not field.message_type and a != b:
            raise ValueError(f"{field.name} of {old.DESCRIPTOR.name} cannot be edited")
    out: Pieces = []
    for entry in entries:
        element = entry.wire == LENGTH  # of another wire type, a known number is an unknown field
        aligned = changed.get(entry.number) if element else None
        field = descriptors.get(entry.number) if element else None
        whole = Copy(entry.start, entry.end - entry.start)
        if aligned:
            out += aligned.at_entry(whole, last=counts[entry.number] == aligned.seen + 1)
        elif field is not None and field.message_type and field.message_type.name == "GraphProto":
            body = joined(_message(data, getattr(old, field.name), getattr(new, field.name), entry.value, entry.end))
            same = body == [Copy(entry.value, entry.end - entry.value)]
            out += [whole] if same else [header(entry.number, size(body)), *body]
        else:
            out.append(whole)
    for number, aligned in changed.items():
        if not counts[number]:
            out += aligned.rest()
    return out


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


class _Aligned:
    """The elements of one repeated field, new against old: which old ones stay, and what is written before each."""

    def __init__(self, number: int, old: Any, new: Any) -> None:
        self.seen = 0
        places: dict[bytes, deque[int]] = defaultdict(deque)
        for i, element in enumerate(old):
            places[element.SerializeToString(deterministic=True)].append(i)
        self._before: dict[int, Pieces] = {}
        waiting: Pieces = []
        last = -1
        for element in new:
            same = places[element.SerializeToString(deterministic=True)]
            while same and same[0] <= last:
                same.popleft()
            if same:
                last = same.popleft()
                self._before[last], waiting = waiting, []
            else:
                body = _written(element)
                waiting += [header(number, size(body)), *body]
        self._rest = waiting

    def at_entry(self, whole: Copy, last: bool) -> Pieces:
        """What stands in the output for the next old element."""
        kept = self._before.pop(self.seen, None)
        self.seen += 1
        return ([] if kept is None else [*kept, whole]) + (self._rest if last else [])

    def rest(self) -> Pieces:
        return self._rest


def _written(element: Message) -> Pieces:
    """An element written anew; the stubs in it become copies of their bytes again."""
    content = element.SerializeToString(deterministic=True)
    return _filled(content, 0, len(content), element.DESCRIPTOR) if MARK.encode() in content else [content]


def _filled(data: bytes, start: int, end: int, message: Descriptor) -> Pieces:
    if message.name == "TensorProto":
        tensor = onnx.TensorProto.FromString(data[start:end])
        place = payload(tensor)
        if place is None:
            return [data[start:end]]
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        return [tensor.SerializeToString(deterministic=True), place]
    carriers = _carriers(message)
    out: Pieces = []
    for field in fields(data, start, end):
        inner = carriers.get(field.number) if field.wire == LENGTH else None
        if inner is None:
            out.append(data[field.start : field.end])
        else:
            body = _filled(data, field.value, field.end, inner)
            out += [header(field.number, size(body)), *body]
    return out
