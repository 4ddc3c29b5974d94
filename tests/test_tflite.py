"""TFLite models: what their metadata say, out of flatbuffers laid out by the fields' places in the two schemas."""

from __future__ import annotations

from contextlib import suppress

import flatbuffers
import numpy as np
import pytest

import onnxscale
from onnxscale import sources
from onnxscale.errors import StatisticsError
from tests import build


def table(b: flatbuffers.Builder, fields: dict[int, tuple[str, int]]) -> int:
    """A table: field -> how it is held and its value."""
    b.StartObject(max(fields) + 1)
    for field, (kind, value) in fields.items():
        {"offset": b.PrependUOffsetTRelativeSlot, "byte": b.PrependUint8Slot, "uint": b.PrependUint32Slot}[kind](
            field, value, 0
        )
    return b.EndObject()


def offsets(b: flatbuffers.Builder, items: list[int]) -> int:
    b.StartVector(4, len(items), 4)
    for item in reversed(items):
        b.PrependUOffsetTRelative(item)
    return b.EndVector()


def floats(b: flatbuffers.Builder, values: list[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return b.EndVector()


def metadata(inputs: dict[str, tuple[list[float], list[float]] | None]) -> bytes:
    b = flatbuffers.Builder(0)
    tensors = []
    for name, options in inputs.items():
        text, fields = b.CreateString(name), {}
        if options is not None:
            mean, std = floats(b, options[0]), floats(b, options[1])
            held = table(b, {0: ("offset", mean), 1: ("offset", std)})
            unit = table(b, {0: ("byte", 1), 1: ("offset", held)})
            fields[4] = ("offset", offsets(b, [unit]))
        tensors.append(table(b, {0: ("offset", text), **fields}))
    graph = table(b, {2: ("offset", offsets(b, tensors))})
    b.Finish(table(b, {3: ("offset", offsets(b, [graph]))}), b"M001")
    return bytes(b.Output())


def model(content: bytes | None) -> bytes:
    b = flatbuffers.Builder(0)
    empty = table(b, {0: ("offset", b.CreateByteVector(b""))})
    fields = {}
    buffers = [empty]
    if content is not None:
        data = b.CreateByteVector(content)
        buffers.append(table(b, {0: ("offset", data)}))
        name = b.CreateString("TFLITE_METADATA")
        fields[6] = ("offset", offsets(b, [table(b, {0: ("offset", name), 1: ("uint", 1)})]))
    fields[4] = ("offset", offsets(b, buffers))
    b.Finish(table(b, {0: ("uint", 3), **fields}), b"TFL3")
    return bytes(b.Output())


ONE = model(metadata({"image": ([127.5, 100.0, 90.25], [127.5, 50.0, 60.0])}))


def test_the_normalization_of_the_one_input() -> None:
    found = sources.read(ONE)
    assert found.source.framework == "TensorFlow Lite"
    x = np.array([[0.0, 100.0, 255.0]])
    np.testing.assert_array_equal(found.inputs[None].transform()(x), (x - [127.5, 100, 90.25]) / [127.5, 50, 60])


def test_it_bakes_from_a_file(tmp_path) -> None:
    (tmp_path / "m.tflite").write_bytes(model(metadata({"x": ([1, 2, 3, 4], [2, 2, 2, 2])})))
    baked = onnxscale.bake(build.mlp(), tmp_path / "m.tflite").verify()
    assert baked.comparison is not None and baked.comparison.verified


def test_several_inputs_by_their_names() -> None:
    found = sources.read(model(metadata({"a": ([0.0], [255.0]), "b": None, "c": ([1.0], [2.0])})))
    assert set(found.inputs) == {"a", "c"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (model(None), "has no metadata"),
        (model(metadata({"a": None})), "nothing is scaled"),
        (model(b"\1\2\3\4\5\6\7\10"), "damaged"),
        (ONE[:40], "damaged"),
        (model(metadata({"a": ([1.0], [0.0])})), "std is 0"),
    ],
)
def test_what_is_not_there_is_said(content: bytes, words: str) -> None:
    with pytest.raises(StatisticsError, match=words):
        sources.read(content)


def test_mutants_are_read_or_refused() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        data = bytearray(ONE)
        for at in rng.integers(8, len(data), 3):
            data[at] = rng.integers(256)
        with suppress(StatisticsError):
            sources.read(bytes(data))
