"""Graphs that trap an editor: captures, name clashes, defaults, scalers that are there already (SECURITY.md T7)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnxscale import graph
from onnxscale.comparing import DIFFERS, VERIFIED
from onnxscale.errors import OnnxscaleError, PlanError
from tests import build
from tests.build import MEAN, STD, value

T = onnx.TensorProto


def _four_readers() -> onnx.ModelProto:
    made = build.mlp()
    ops = ("Neg", "Abs", "Floor")
    made.graph.node.extend(helper.make_node(op, ["x"], [op]) for op in ops)
    made.graph.output.extend(value(op) for op in ops)
    return made


def _read_twice() -> onnx.ModelProto:
    return build.model([helper.make_node("Mul", ["x", "x"], ["y"])], [value("x")], [value("y")])


def _shape_readers() -> onnx.ModelProto:
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Neg", ["x"], ["n"])]
    nodes.append(helper.make_node("Reshape", ["n", "s"], ["y"]))
    return build.model(nodes, [value("x")], [value("y")])


def _deep_capture() -> onnx.ModelProto:
    """x is read only in an If inside an If."""
    made = build.if_captured()
    outer = made.graph.node[-1]
    for attribute in outer.attribute:
        inner = onnx.NodeProto()
        inner.CopyFrom(outer)
        inner.output[0] = f"{attribute.name}_outer"
        attribute.g.CopyFrom(helper.make_graph([inner], attribute.name, [], [value(inner.output[0], None)]))
        for i, a in enumerate(inner.attribute):
            a.g.node[0].output[0] = a.g.output[0].name = f"{attribute.name}_{i}"
        attribute.g.node[0].CopyFrom(inner)
    return made


def _taken_names() -> onnx.ModelProto:
    """A model that has every name already that a bake would choose."""
    made = build.mlp()
    baked = build.bake(made).edited.proto
    ours = [t.name for t in baked.graph.initializer] + [o for n in baked.graph.node for o in (n.name, *n.output)]
    for i, name in enumerate(n for n in ours if n.startswith(graph.PREFIX)):
        if i % 2:
            made.graph.initializer.append(build.tensor([1.0], name))
        else:
            made.graph.node.append(helper.make_node("Neg", ["x"], [name], name=name))
    return made


def _strange_names() -> onnx.ModelProto:
    made = build.mlp()
    for node in made.graph.node:
        node.input[:] = ["gpu_0/x:0 ü" if n == "x" else n for n in node.input]
    made.graph.input[0].name = "gpu_0/x:0 ü"
    return made


def _problem(content: bytes) -> str:
    """What onnx's checker says, in short; these models leave out the shapes of some outputs, which it minds."""
    try:
        onnx.checker.check_model(content)
    except onnx.checker.ValidationError as error:
        return str(error).splitlines()[0]
    return ""


TRAPS = [
    _four_readers,
    _read_twice,
    _shape_readers,
    _deep_capture,
    _taken_names,
    _strange_names,
    build.loop,
    build.scan,
]
TRAPS += [build.if_captured, build.local_function, build.constant_weights, build.ir3, build.two_inputs]


@pytest.mark.parametrize("make", TRAPS, ids=lambda f: f.__name__.strip("_"))
def test_a_trap_is_answered_as_numpy_and_the_original_do(make: Callable[[], onnx.ModelProto]) -> None:
    made = make()
    before = made.SerializeToString(deterministic=True)
    name = made.graph.input[0].name
    baked = build.bake(made, name=name)
    x = (MEAN + STD * np.random.default_rng(1).standard_normal((3, 4))).astype(np.float32)
    sides = {"gate": np.array([1, 1, -1], np.float32), "z": np.ones((3, 2), np.float32)}
    answers = []
    for content, rows in ((before, ((x.astype(np.float64) - MEAN) / STD).astype(np.float32)), (baked.to_bytes(), x)):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        needed = {i.name: sides.get(i.name) for i in session.get_inputs()}
        answers.append(session.run(None, {**needed, name: rows}))
    for expected, got in zip(*answers, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert made.SerializeToString(deterministic=True) == before
    assert _problem(baked.to_bytes()) == _problem(before)
    found = baked.verify().comparison
    assert found is not None and found.verdict == VERIFIED, found.reason


def _scaler(*pairs: tuple[str, list[float]]) -> onnx.ModelProto:
    made = build.mlp()
    for i, (op, constant) in enumerate(reversed(pairs)):
        made.graph.initializer.append(build.tensor(constant, f"c{i}"))
        made.graph.node.insert(0, helper.make_node(op, ["x", f"c{i}"], [f"s{i}"]))
    for i in range(1, len(pairs)):
        made.graph.node[i].input[0] = f"s{len(pairs) - i}"
    made.graph.node[len(pairs)].input[0] = "s0"
    return made


def _ml_scaler() -> onnx.ModelProto:
    made = build.mlp()
    node = helper.make_node("Scaler", ["x"], ["s"], domain=build.ML, offset=MEAN.tolist(), scale=(1 / STD).tolist())
    made.graph.node.insert(0, node)
    made.graph.node[1].input[0] = "s"
    made.opset_import.add(domain=build.ML, version=1)
    return made


def _baked() -> onnx.ModelProto:
    return build.bake(build.mlp()).to_proto()


SCALED = {
    "Sub, Div": lambda: _scaler(("Sub", [1.0, 2, 3, 4]), ("Div", [5.0, 6, 7, 8])),
    "Mul, Add": lambda: _scaler(("Mul", [1.0, 2, 3, 4]), ("Add", [5.0, 6, 7, 8])),
    "Scaler": _ml_scaler,
    "onnxscale baked": _baked,
}


@pytest.mark.parametrize("what", SCALED)
def test_a_scaled_model_is_not_scaled_again(what: str) -> None:
    with pytest.raises(PlanError, match=f"{what}.*--again"):
        build.bake(SCALED[what]())
    found = build.bake(SCALED[what](), again=True).verify().comparison
    assert found is not None and found.verdict != DIFFERS


def _twins() -> onnx.ModelProto:
    made = build.two_inputs()
    made.graph.input[1].CopyFrom(value("z"))
    return made


def _defaulted() -> onnx.ModelProto:
    made = build.two_inputs()
    made.graph.initializer.append(build.tensor(np.zeros((1, 4)), "x"))
    return made


def _same_names() -> onnx.ModelProto:
    made = build.mlp()
    made.graph.initializer.add().CopyFrom(made.graph.initializer[0])
    return made


def _strings() -> onnx.ModelProto:
    return build.identity(dtype=T.STRING)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (build.int_ids, None, "no float input"),
        (build.int_ids, "ids", "holds int64 values"),
        (_strings, "x", "holds string values"),
        (build.passthrough, None, "both an input and an output"),
        (build.mlp, "y", "is not an input; the inputs are 'x'"),
        (_defaulted, "x", "has a default value"),
        (_twins, None, "--input"),
        (_same_names, None, "two initializers are called 'w1'"),
        (lambda: build.mlp(opset=6), None, "opset 6"),
    ],
)
def test_what_cannot_be_scaled_is_refused(make: Callable[[], onnx.ModelProto], name: str | None, message: str) -> None:
    with pytest.raises(OnnxscaleError, match=message):
        build.bake(make(), name=name)
