"""Lists of tree ensembles as runs of fields: found and read with numpy, exactly as protobuf reads them; and large
ensembles, whose lists are stubs, baked as small ones are."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper

import onnxscale
from onnxscale import baking, lazy, modelfile, runs, tensors, wire
from onnxscale.errors import ModelError
from tests.test_trees import ML, ensemble, ensemble5, grow, random_splits, random_transform

INTS = st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 300), st.integers(0, 127)), max_size=300)
FLOATS = st.lists(st.floats(width=32), max_size=300)
WORDS = (b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ", b"LEAF")
LISTS = frozenset((7, 8, 9))


def run_of(attribute: AttributeProto) -> bytes:
    """The bytes of the attribute's list, as `grouped` finds them."""
    data = attribute.SerializeToString()
    parts = [f for f in runs.grouped(data, 0, len(data), LISTS) if f.number in LISTS]
    return b"".join(data[f.start : f.end] for f in parts)


def packed(number: int, content: bytes) -> bytes:
    return wire.header(number, len(content)) + content


@settings(max_examples=150, deadline=None)
@given(INTS, st.integers(0, 3))
def test_ints_are_read_as_protobuf_reads_them(values, times):
    values = values * 10**times
    attribute = AttributeProto(name="nodes_x", ints=values)
    run = run_of(attribute)
    assert runs.ints(run).tolist() == values
    body = b"".join(wire.encode_varint(v) for v in values)
    assert runs.ints(packed(8, body)).tolist() == values
    assert AttributeProto.FromString(packed(8, body)).ints == values


@settings(max_examples=80, deadline=None)
@given(FLOATS)
def test_floats_are_read_as_protobuf_reads_them(values):
    wanted = np.array(values, np.float32)
    assert runs.floats(run_of(AttributeProto(name="nodes_x", floats=values))).tobytes() == wanted.tobytes()
    assert runs.floats(packed(7, wanted.tobytes())).tobytes() == wanted.tobytes()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=400), st.integers(0, 3))
def test_words_are_told_apart(values, times):
    values = values * 10**times
    run = run_of(AttributeProto(name="nodes_modes", strings=values))
    assert [WORDS[i] for i in runs.words(run, WORDS)] == values


@pytest.mark.parametrize("word", [b"BRANCH_MEMBER", b"leaf", b"", b"LEAFJ\x04LEAF", b"x" * 200])
def test_a_word_that_is_not_known_is_none_of_them(word):
    assert runs.words(run_of(AttributeProto(strings=[b"LEAF", word])), WORDS) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), INTS, st.lists(st.binary(max_size=300), max_size=20), st.binary(max_size=30))
def test_grouped_fields_are_the_fields_themselves(before, ints, strings, after):
    """Whatever the bytes: the same places, and an error where the message is broken."""
    message = AttributeProto(name="n", ints=ints, strings=strings, floats=[1.0] * len(ints)).SerializeToString()
    data = before + message + after
    try:
        single = list(wire.fields(data, 0, len(data)))
    except ModelError:
        with pytest.raises(ModelError):
            list(runs.grouped(data, 0, len(data), LISTS))
        return
    joined = list(runs.grouped(data, 0, len(data), LISTS))
    starts = {f.start: f for f in single}
    assert [f.start for f in joined] + [len(data)] == [0, *(f.end for f in joined)]
    for f in joined:
        inside = [s for s in single if f.start <= s.start < f.end]
        assert inside[-1].end == f.end and starts[f.start].value == f.value
        assert {(s.number, s.wire) for s in inside} == {(f.number, f.wire)}


def test_a_run_across_blocks_is_one():
    values = [1, 127, 128, 70000, -1] * 100_000
    attribute = AttributeProto(name="n", type=AttributeProto.INTS, ints=values)
    data = attribute.SerializeToString()
    assert len(data) > 3 * runs.BLOCK / 2
    assert len([f for f in runs.grouped(data, 0, len(data), LISTS) if f.number == 8]) == 1
    assert runs.ints(run_of(attribute)).tolist() == values


@pytest.fixture(autouse=True)
def _short_lists_are_stubs_too(monkeypatch):
    monkeypatch.setattr(lazy, "LARGE", 256)


def large(kind: str, modes: list[str], dtype: str, tracks: bool = True) -> tuple[onnx.ModelProto, object]:
    """A model of one ensemble whose lists are long enough to be stubs, and a scaler for it."""
    rng = np.random.default_rng(5)
    transform = random_transform(kind, rng)
    nodes = grow(rng, modes, random_splits(transform, np.arange(3), dtype, rng, 200), 40, 7)
    node = (
        ensemble5(nodes, dtype) if tracks is None else ensemble("TreeEnsembleRegressor", nodes, dtype, tracks, votes=2)
    )
    out = TensorProto.DOUBLE if dtype == "float64" and tracks is None else TensorProto.FLOAT
    rows = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[dtype]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", rows, ["n", 3])],
        [helper.make_tensor_value_info("y", out, ["n", 1 if tracks is None else 2])],
    )
    ml = 5 if tracks is None else 3
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, ml)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), transform


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("tracks", [True, False, None])
@pytest.mark.parametrize(
    ("kind", "modes"),
    [("standard", ["BRANCH_LEQ"]), ("negative", ["BRANCH_LT", "BRANCH_GTE"]), ("cast16", ["BRANCH_LEQ", "BRANCH_EQ"])],
)
def test_a_large_ensemble_is_baked_as_a_small_one_and_unbaked_byte_for_byte(tmp_path, monkeypatch, kind, modes, tracks):
    model, transform = large(kind, modes, "float32", tracks)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    opened = modelfile.open_model(path)
    listed = {a.name for a in opened.skeleton.graph.node[0].attribute if lazy.listed(a)}
    assert {"nodes_featureids", "nodes_truenodeids"} <= listed
    scaler = {"kind": "steps", "steps": transform.to_json()}
    baked = onnxscale.bake(path, scaler, keep_original="always")
    if (kind, tracks) == ("cast16", None):  # the only way out would copy a subtree: refused, lists read or not
        assert not baked.folds
        return
    assert baked.folds
    content = baked.to_bytes()
    rng = np.random.default_rng(6)
    x = (rng.normal(size=(3000, 3)) * 10.0 ** rng.uniform(-3, 6, 3)).astype(np.float32)
    wide = transform(x.astype(np.float64)).astype(np.float32)
    assert answers(content, x).tobytes() == answers(path.read_bytes(), wide).tobytes()
    held = modelfile.open_model(content)
    assert held.bytes_of(baking.unbake(held)) == path.read_bytes()
    with monkeypatch.context() as patch:  # the same without stubs
        patch.setattr(lazy, "LARGE", 1 << 30)
        assert (
            onnxscale.bake(path, scaler, keep_original="always").to_proto().graph
            == onnx.load_from_string(content).graph
        )
    assert baked.verify().comparison.verified


def test_a_node_that_is_written_anew_has_its_lists_again(tmp_path):
    """A target scaler rewrites leaves; a renamed output makes the whole node new."""
    model, _ = large("standard", ["BRANCH_LEQ"], "float32", False)
    data = model.SerializeToString()
    opened = modelfile.open_model(data)
    edited = opened.editable()
    edited.graph.node[0].output[0] = edited.graph.output[0].name = "z"
    made = onnx.load_from_string(opened.bytes_of(opened.render(edited)))
    model.graph.node[0].output[0] = model.graph.output[0].name = "z"
    assert made == model


def test_the_lists_of_stubs_are_those_of_the_model():
    model, _ = large("standard", ["BRANCH_LEQ", "BRANCH_NEQ"], "float32", True)
    opened = modelfile.open_model(model.SerializeToString())
    count = 0
    for slim, whole in zip(opened.skeleton.graph.node[0].attribute, model.graph.node[0].attribute, strict=True):
        if lazy.listed(slim) is None:
            assert slim == whole
            continue
        count += 1
        got = tensors.values(opened, slim)
        if slim.type == AttributeProto.STRINGS:
            assert [WORDS[i] for i in runs.words(got.tobytes(), WORDS)] == list(whole.strings)
        else:
            assert got.tolist() == list(whole.ints or whole.floats)
    assert count >= 8


def test_a_target_scaler_reaches_leaves_that_are_stubs(tmp_path):
    model, transform = large("standard", ["BRANCH_LEQ"], "float32", False)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    target = {"kind": "standard", "mean": [3.0, 4.0], "std": [2.0, 0.5]}
    baked = onnxscale.bake(path, {"kind": "steps", "steps": transform.to_json()}, target=target, target_axis=1)
    assert [p.form for p in baked.plan.placements] == ["fold", "fold"]
    assert baked.verify().comparison.verified
