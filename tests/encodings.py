"""The same model as no encoder writes it, and random edits of it: what the laws of the model file are tried on."""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx
from google.protobuf.descriptor import Descriptor
from onnx import helper

from onnxscale import rendering, walk
from onnxscale.wire import FIXED32, FIXED64, LENGTH, VARINT, encode_varint, fields, header
from tests import build


def rich(count: int = 20) -> onnx.ModelProto:
    """Tensors of every encoding in every place that can hold one: main graph, Constant, If branch, function."""
    long = [build.tensor(build.draw(count), "raw")]
    long.append(helper.make_tensor("floats", onnx.TensorProto.FLOAT, [count], build.draw(count)))
    long.append(helper.make_tensor("doubles", onnx.TensorProto.DOUBLE, [count], build.draw(count, seed=1)))
    made = build.if_captured()
    made.graph.initializer.extend(long)
    made.graph.node.add().CopyFrom(helper.make_node("Constant", [], ["k"], value=build.tensor(build.draw(count), "")))
    branch = made.graph.node[3].attribute[0].g
    branch.initializer.add().CopyFrom(build.tensor(build.draw(count, seed=2), "inner"))
    body = [helper.make_node("Constant", [], ["c"], value=build.tensor(build.draw(count, seed=3), ""))]
    made.functions.add().CopyFrom(helper.make_function("local", "F", [], ["c"], body, [helper.make_opsetid("", 13)]))
    helper.set_model_props(made, {"author": "nobody", "labels": "a,b"})
    made.graph.doc_string, made.producer_name = "a graph", "tests"
    return made


def _padded(number: bytes, draw: random.Random, longest: int = 5) -> bytes:
    """The same varint in more bytes than it needs."""
    extra = draw.choice((0, 0, 1, 2)) if len(number) < longest - 1 else 0
    return number if not extra else number[:-1] + bytes([number[-1] | 0x80]) + b"\x80" * (extra - 1) + b"\0"


def _unknown(draw: random.Random, message: Descriptor) -> bytes:
    """A field that the message does not have: of an unknown number, or of a known one with another wire type."""
    known = [f.number for f in message.fields if f.message_type]
    wires = {VARINT: b"\x96\x01", FIXED64: b"12345678", FIXED32: b"1234", LENGTH: b"\x03abc"}
    if known and draw.random() < 0.3:
        wires.pop(LENGTH)
        number = draw.choice(known)
    else:
        number = draw.randrange(900, 3000)
    wire = draw.choice(sorted(wires))
    return encode_varint(number << 3 | wire) + wires[wire]


def scrambled(data: bytes, message: Descriptor, draw: random.Random) -> bytes:
    """The same message as no encoder writes it: fields out of order, unknown ones, long varints, scalars twice."""
    by_number: dict[int, list[bytes]] = {}
    descriptors = {f.number: f for f in message.fields}
    for field in fields(data, 0, len(data)):
        descriptor = descriptors[field.number]
        body = data[field.value : field.end]
        tag = _padded(encode_varint(field.number << 3 | field.wire), draw)
        if field.wire == LENGTH:
            inner = scrambled(body, descriptor.message_type, draw) if descriptor.message_type else body
            entry = tag + _padded(encode_varint(len(inner)), draw) + inner
        else:
            entry = tag + (_padded(body, draw) if field.wire == VARINT else body)
        if not descriptor.message_type and not rendering.repeated(descriptor) and draw.random() < 0.3:
            decoy = header(field.number, 3) + b"old" if field.wire == LENGTH else entry
            entry = decoy + entry
        by_number.setdefault(field.number, []).append(entry)
    for _ in range(draw.choice((0, 0, 1, 3))):
        by_number[-len(by_number) - 1] = [_unknown(draw, message)]
    out = []
    while by_number:
        number = draw.choice(sorted(by_number))
        out.append(by_number[number].pop(0))
        if not by_number[number]:
            del by_number[number]
    return b"".join(out)


def _add_node(proto: onnx.ModelProto, draw: random.Random) -> None:
    node = helper.make_node("Neg", ["a"], ["b"], name=f"new{draw.random()}")
    proto.graph.node.insert(draw.randrange(len(proto.graph.node) + 1), node)


def _drop(proto: onnx.ModelProto, draw: random.Random) -> None:
    places = (proto.graph.node, proto.graph.initializer, proto.metadata_props, proto.functions, proto.graph.input)
    place = draw.choice([p for p in places if len(p)] or [[0]])
    del place[draw.randrange(len(place))]


def _rename(proto: onnx.ModelProto, draw: random.Random) -> None:
    named = [*proto.graph.node, *proto.graph.initializer, *proto.graph.output, *proto.functions]
    if named:
        draw.choice(named).name = f"renamed{draw.random()}"


def _swap(proto: onnx.ModelProto, draw: random.Random) -> None:
    place = draw.choice((proto.graph.node, proto.graph.initializer))
    if place:
        moved = type(place[0])()
        moved.CopyFrom(place[0])
        del place[0]
        place.insert(draw.randrange(len(place) + 1), moved)


def _inside(proto: onnx.ModelProto, draw: random.Random) -> None:
    for body, depth in walk.bodies(proto):
        if depth and isinstance(body, onnx.GraphProto):
            body.node.add().CopyFrom(helper.make_node("Identity", ["x"], [f"o{draw.random()}"]))


def _metadata(proto: onnx.ModelProto, draw: random.Random) -> None:
    proto.metadata_props.add(key=f"k{draw.random()}", value="v")


def _opset(proto: onnx.ModelProto, draw: random.Random) -> None:
    proto.opset_import.add(domain="extra", version=draw.randrange(1, 9))


def _double(proto: onnx.ModelProto, draw: random.Random) -> None:
    if proto.graph.initializer:
        proto.graph.initializer.add().CopyFrom(draw.choice(list(proto.graph.initializer)))


EDITS: dict[str, Callable[[onnx.ModelProto, random.Random], None]] = {
    f.__name__: f for f in (_add_node, _drop, _rename, _swap, _inside, _metadata, _opset, _double)
}
