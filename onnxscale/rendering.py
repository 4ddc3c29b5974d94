"""An edited skeleton as pieces of the file it came from: what an edit leaves alone is copied byte for byte.

Elements of repeated messages (nodes, initializers, metadata, ...) that are unchanged are copied from where they lie. A
changed node is taken apart: its unchanged attributes are still copies, so that an edit of one list of a large tree
ensemble writes that list and nothing else. Only what remains is written anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message

from onnxscale.lazy import MARK, Descriptor, carriers, listed, payload
from onnxscale.pieces import Copy, Pieces, joined, size
from onnxscale.wire import LENGTH, Buffer, Field, fields, header


def render(data: Buffer, pristine: onnx.ModelProto, edited: onnx.ModelProto) -> Pieces:
    """The edited model as pieces of the file that `pristine` is the skeleton of."""
    return joined(_message(data, pristine, edited, list(fields(data, 0, len(data))), final=True))


def _message(data: Buffer, old: Message, new: Message, entries: list[Field], *, final: bool = False) -> Pieces:
    """A message taken apart. final: a scalar that differs is a mistake of the caller's, not an edit."""
    counts = Counter(e.number for e in entries if e.wire == LENGTH)
    aligned: dict[int, _Aligned] = {}
    scalars: dict[int, bytes] = {}
    singles: dict[int, Any] = {}
    for field in old.DESCRIPTOR.fields:
        try:
            a, b = getattr(old, field.name), getattr(new, field.name)
        except UnicodeDecodeError:
            if final:
                continue  # text that is no text was not edited
            raise
        if field.message_type and repeated(field):
            aligned[field.number] = _Aligned(data, field.number, a, b)
        elif field.message_type and old.HasField(field.name) and new.HasField(field.name) and a != b:
            singles[field.number] = field
        elif a != b or (field.has_presence and old.HasField(field.name) != new.HasField(field.name)):
            if final:
                raise ValueError(f"{field.name} of {old.DESCRIPTOR.name} cannot be edited")
            scalars[field.number] = _alone(new, field)
    out: Pieces = []
    for entry in entries:
        known = entry.wire == LENGTH  # of another wire type, the number of a message is an unknown field
        if entry.number in scalars:
            out.append(scalars.pop(entry.number))
            scalars.setdefault(entry.number, b"")
        elif known and entry.number in aligned:
            last = counts[entry.number] == aligned[entry.number].seen + 1
            out += aligned[entry.number].at_entry(entry, last=last)
        elif known and entry.number in singles:
            name = singles[entry.number].name
            out += _inside(data, getattr(old, name), getattr(new, name), entry)
        else:
            out.append(Copy(entry.start, entry.end - entry.start))
    out += [text for text in scalars.values() if text]
    for number, rest in aligned.items():
        out += [] if counts[number] else rest.rest
    return out


def _inside(data: Buffer, old: Message, new: Message, entry: Field) -> Pieces:
    """A changed element as its tag, its length, and itself taken apart."""
    try:
        body = joined(_message(data, old, new, list(fields(data, entry.value, entry.end))))
    except UnicodeDecodeError:  # text that is no text cannot be compared, only written
        body = written(new)
    if body == [Copy(entry.value, entry.end - entry.value)]:
        return [Copy(entry.start, entry.end - entry.start)]
    return [header(entry.number, size(body)), *body]


def repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _alone(message: Message, field: Any) -> bytes:
    """One field of a message, as it is written."""
    empty = type(message)()
    value = getattr(message, field.name)
    if not field.message_type:  # cleared, not assigned: text that is not UTF-8 can be copied, but never set
        empty.CopyFrom(message)
        for other, _ in message.ListFields():
            if other.number != field.number:
                empty.ClearField(other.name)
        empty.DiscardUnknownFields()
    elif repeated(field):
        getattr(empty, field.name).extend(value)
    else:
        if not message.HasField(field.name):
            return b""
        getattr(empty, field.name).CopyFrom(value)
    return b"".join(p for p in written(empty) if isinstance(p, bytes))


def _key(element: Any) -> str | None:
    """What a node or an attribute is known by when it changes; None for what is written anew as a whole."""
    kind = element.DESCRIPTOR.name
    if kind == "NodeProto":
        return next((o for o in element.output if o), None)
    if kind == "AttributeProto" and element.HasField("g"):
        return str(element.name)
    return None


class _Aligned:
    """The elements of one repeated field, new against old: which old ones stay, and what is written before each."""

    def __init__(self, data: Buffer, number: int, old: Any, new: Any) -> None:
        self.seen = 0
        self._data = data
        same: dict[bytes, deque[int]] = defaultdict(deque)
        alike: dict[str, deque[int]] = defaultdict(deque)
        for i, element in enumerate(old):
            same[element.SerializeToString(deterministic=True)].append(i)
            if (key := _key(element)) is not None:
                alike[key].append(i)
        self._before: dict[int, Pieces] = {}
        self._changed: dict[int, tuple[Message, Message]] = {}
        waiting: Pieces = []
        last = -1
        for element in new:
            place = _next(same[element.SerializeToString(deterministic=True)], last)
            if place is None and (key := _key(element)) is not None:
                place = _next(alike[key], last)
                if place is not None:
                    self._changed[place] = old[place], element
            if place is not None:
                last = place
                self._before[place], waiting = waiting, []
            else:
                body = written(element)
                waiting += [header(number, size(body)), *body]
        self.rest = waiting

    def at_entry(self, entry: Field, last: bool) -> Pieces:
        """What stands in the output for the next old element."""
        at, self.seen = self.seen, self.seen + 1
        kept = self._before.get(at)
        if kept is None:
            made: Pieces = []
        elif at in self._changed:
            made = [*kept, *_inside(self._data, *self._changed[at], entry)]
        else:
            made = [*kept, Copy(entry.start, entry.end - entry.start)]
        return made + (self.rest if last else [])


def _next(places: deque[int], last: int) -> int | None:
    while places and places[0] <= last:
        places.popleft()
    return places.popleft() if places else None


def written(element: Message) -> Pieces:
    """An element written anew; the stubs in it become copies of their bytes again."""
    content = element.SerializeToString(deterministic=True)
    return list(_filled(content, 0, len(content), element.DESCRIPTOR)) if MARK.encode() in content else [content]


def _filled(data: bytes, start: int, end: int, message: Descriptor) -> Iterator[bytes | Copy]:
    if message.name == "TensorProto":
        tensor = onnx.TensorProto.FromString(data[start:end])
        place = payload(tensor)
        if place is None:
            yield data[start:end]
            return
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        yield tensor.SerializeToString(deterministic=True)
        yield place
        return
    if message.name == "AttributeProto":
        attribute = onnx.AttributeProto.FromString(data[start:end])
        place = listed(attribute)
        if place is not None:
            attribute.ClearField("doc_string")
            yield attribute.SerializeToString(deterministic=True)
            yield place
            return
    inside = carriers(message)
    for field in fields(data, start, end):
        inner = inside.get(field.number) if field.wire == LENGTH else None
        if inner is None:
            yield data[field.start : field.end]
        else:
            body = list(_filled(data, field.value, field.end, inner))
            yield header(field.number, size(body))
            yield from body
