"""A record that somebody edited is refused in our words: no part of it is believed for its place in the file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import onnx
import pytest

from onnxscale import baking, looking, modelfile, recognition
from onnxscale.errors import ModelError, OnnxscaleError
from onnxscale.reporting import plain, text
from tests import build

JUNK = (None, True, -1, 0, 1e308, "", "x", [], {}, [[]], {"a": 1}, "nan", 2**70, [1, 2], ["a"])
WORKS = {
    "inspect": lambda data: text.inspection(looking.inspect(data)),
    "json": lambda data: json.dumps(plain.inspection(looking.inspect(data))),
    "unbake": lambda data: baking.unbake(modelfile.open_model(data)),
    "again": lambda data: build.bake(data, again=True).to_bytes(),
}


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    members = (
        content.items() if isinstance(content, dict) else enumerate(content[:3]) if isinstance(content, list) else ()
    )
    for key, value in members:
        yield from _places(value, (*path, key))


def _with(proto: onnx.ModelProto, record: object) -> bytes:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    next(e for e in made.metadata_props if e.key == recognition.KEY).value = json.dumps(record)
    return made.SerializeToString()


@pytest.fixture(scope="module")
def baked() -> tuple[onnx.ModelProto, dict[str, Any]]:
    proto = build.bake(build.mlp()).verify().to_proto()
    return proto, json.loads(next(e.value for e in proto.metadata_props if e.key == recognition.KEY))


@pytest.mark.parametrize("work", WORKS)
def test_any_part_replaced_by_junk(work: str, baked: tuple[onnx.ModelProto, dict[str, Any]]) -> None:
    proto, record = baked
    WORKS[work](_with(proto, record))
    refused = tried = 0
    for path in [p for p in _places(record) if p]:
        for junk in JUNK:
            changed = copy.deepcopy(record)
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = junk
            tried, refused = tried + 1, refused + 1
            with suppress(OnnxscaleError):
                WORKS[work](_with(proto, changed))
                refused -= 1
    assert 0 < refused < tried


@pytest.mark.parametrize(
    "value", ["", "[]", "null", "{", "[" * 100_000, '{"scalers": 1}', '{"scalers": [1]}', '{"original": []}']
)
def test_what_is_no_record(value: str, baked: tuple[onnx.ModelProto, dict[str, Any]]) -> None:
    made = onnx.ModelProto()
    made.CopyFrom(baked[0])
    next(e for e in made.metadata_props if e.key == recognition.KEY).value = value
    with pytest.raises(ModelError, match="is damaged"):
        looking.inspect(made)


@pytest.mark.parametrize(
    "undo",
    [[[0, 600]] * 100_000, [[0, 10**12]], [[10**12, 1]], ["AAAA"], [], ["not base64!"], [[1]], [[-1, 5]], [[True, 1]]],
)
def test_an_undo_list_that_was_edited(undo: list[object], baked: tuple[onnx.ModelProto, dict[str, Any]]) -> None:
    proto, record = baked
    with pytest.raises(ModelError, match=r"saved again by another tool|undo list is damaged"):
        baking.unbake(modelfile.open_model(_with(proto, {**record, "undo": undo})))
