"""Models that expand without end or crash native code do neither to us (SECURITY.md T5, T6)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnxscale import pipeline
from onnxscale.comparing import NOT_VERIFIED
from onnxscale.errors import ModelError, PlanError
from onnxscale.wire import header
from tests import build
from tests.build import value
from tests.conftest import Cli


def nested(depth: int) -> bytes:
    """If in If in If, `depth` deep, written by hand: protobuf's own encoder recurses."""
    core = helper.make_graph([], "core", [], []).SerializeToString()
    parts, size = [core], len(core)
    for _ in range(depth):
        for number, before in ((6, b"\x0a\x0bthen_branch\xa0\x01\x05"), (5, b"\x22\x02If"), (1, b"")):
            start = before + header(number, size)
            parts.append(start)
            size += len(start)
    opset = onnx.OperatorSetIdProto(version=13).SerializeToString()
    whole = [b"\x08\x07", header(8, len(opset)), opset, header(7, size), *reversed(parts)]
    return b"".join(whole)


def laughs(levels: int = 10, calls: int = 10) -> onnx.ModelProto:
    """Every function calls the next one ten times."""
    made = build.identity(ir=8)
    for i in range(levels):
        names = ["a", *(f"t{j}" for j in range(calls - 1)), "b"]
        op = (f"F{i + 1}", "d") if i + 1 < levels else ("Neg", "")
        nodes = [helper.make_node(op[0], [names[j]], [names[j + 1]], domain=op[1]) for j in range(calls)]
        made.functions.append(helper.make_function("d", f"F{i}", ["a"], ["b"], nodes, [helper.make_opsetid("", 13)]))
    made.graph.node[0].CopyFrom(helper.make_node("F0", ["x"], ["y"], domain="d"))
    made.opset_import.add(domain="d", version=1)
    return made


def cycle(length: int, *, through_if: bool = False) -> onnx.ModelProto:
    made = laughs(length, 1)
    last = helper.make_node("F0", ["a"], ["b"], domain="d")
    if through_if:
        branch = helper.make_graph([last], "g", [], [value("b", None)])
        last = helper.make_node("If", ["a"], ["b"], then_branch=branch, else_branch=branch)
    made.functions[-1].node[-1].CopyFrom(last)
    return made


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nested(10_000), "nested|protobuf"),
        (lambda: nested(200), "nested|protobuf"),
        (laughs, "expand to more than"),
        (lambda: laughs(30, 2), "expand to more than"),
        (lambda: cycle(1), "calls itself"),
        (lambda: cycle(3), "calls itself"),
        (lambda: cycle(2, through_if=True), "calls itself"),
    ],
)
def test_what_expands_without_end_is_refused_at_once(make: Callable[[], object], message: str) -> None:
    made = make()
    start = time.process_time()
    with pytest.raises(ModelError, match=message):
        build.bake(made)
    assert time.process_time() - start < 1


def test_honest_nesting_and_functions_pass() -> None:
    assert len(build.bake(laughs(5, 10)).to_bytes()) > 0
    with pytest.raises(PlanError, match="no float input"):  # parsed and checked; it only has no input
        build.bake(nested(20))


def chain(length: int) -> onnx.ModelProto:
    names = ["x", *(f"t{i}" for i in range(length - 1)), "y"]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    return build.model(nodes, [value("x")], [value("y")])


@pytest.mark.slow
def test_a_long_chain_is_baked_in_seconds(tmp_path: Path) -> None:
    made = chain(100_000)
    start = time.process_time()
    baked = build.bake(made)
    baked.save(tmp_path / "out.onnx")
    assert pipeline.unbake(tmp_path / "out.onnx", tmp_path / "back.onnx").stat().st_size == made.ByteSize()
    assert time.process_time() - start < 10


def _gather() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Constant", [], ["i"], value=build.tensor([[0]], "", np.int64)),
        helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=-5),
    ]


def _norm() -> list[onnx.NodeProto]:
    return [helper.make_node("LayerNormalization", ["x", "x"], ["y", "m", "s"], axis=2**31)]


def _normal() -> list[onnx.NodeProto]:
    noise = helper.make_node("RandomNormal", [], ["r"], shape=[4], scale=-1.0)
    return [noise, helper.make_node("Add", ["x", "r"], ["y"])]


def _uniform() -> list[onnx.NodeProto]:
    noise = helper.make_node("RandomUniform", [], ["r"], shape=[4], low=2.0, high=1.0)
    return [noise, helper.make_node("Add", ["x", "r"], ["y"])]


def _dft() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Size", ["s"], ["rank"]),
        helper.make_node("Constant", [], ["two"], value=build.tensor(2, "", np.int64)),
        helper.make_node("Equal", ["rank", "two"], ["always"]),
        helper.make_node("If", ["always"], ["q"], then_branch=_reduced(0), else_branch=_reduced(1)),
        helper.make_node("DFT", ["q"], ["y"], axis=1),
    ]


def _reduced(keep: int) -> onnx.GraphProto:
    node = helper.make_node("ReduceSum", ["x"], [f"o{keep}"], keepdims=keep)
    return helper.make_graph([node], "g", [], [value(f"o{keep}", None)])


KILLERS = {f.__name__[1:]: f for f in (_gather, _norm, _normal, _uniform, _dft)}
# In onnxruntime 1.32; later ones may refuse. The wild read of `gather` is not here: by what lies in memory it ends as a
# signal or as bad_alloc.
KILLS = {"normal": "SIGABRT", "uniform": "SIGABRT"}


@pytest.mark.parametrize("killer", KILLERS)
def test_what_kills_onnxruntime_does_not_kill_us(killer: str) -> None:
    made = build.model(KILLERS[killer](), [value("x")], [value("y", None)], opset=17, ir=8)
    found = build.bake(made).verify().comparison
    assert found is not None and found.verdict == NOT_VERIFIED, found
    assert (
        "killed by SIG" in found.reason
        or "onnxruntime cannot load" in found.reason
        or "none of the shapes" in found.reason
    )
    if onnxruntime.__version__.startswith("1.32.") and killer in KILLS:
        assert f"onnxruntime was killed by {KILLS[killer]}" in found.reason


def test_the_command_line_survives_too(cli: Cli, tmp_path: Path) -> None:
    made = build.model(_gather(), [value("x")], [value("y", None)], opset=17, ir=8)
    model, stats = tmp_path / "model.onnx", tmp_path / "stats.json"
    model.write_bytes(made.SerializeToString())
    stats.write_text(json.dumps({"mean": build.MEAN.tolist(), "std": build.STD.tolist()}))
    done = cli("bake", model, stats)
    assert done.returncode == 1 and "NOT VERIFIED" in done.stderr and "--no-verify" in done.stderr
    assert not (tmp_path / "model.baked.onnx").exists()
    assert cli("bake", model, stats, "--no-verify").returncode == 0
    assert (tmp_path / "model.baked.onnx").exists()
