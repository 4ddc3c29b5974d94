"""Law 11: the verifier rejects every fault that changes an answer, and accepts every good bake."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # noqa: F401  loaded once here, so that every forked worker starts with it
import pytest
from onnx import helper, numpy_helper

from onnxscale import graph, pipeline, verifying, worker
from onnxscale.comparing import DIFFERS, NOT_VERIFIED, VERIFIED, Comparison
from onnxscale.modelfile import open_model
from onnxscale.pipeline import Baked
from onnxscale.scalers.affine import Affine
from onnxscale.scalers.minmax import MinMax
from onnxscale.scalers.standard import Standard
from onnxscale.statistics import Statistics
from onnxscale.verifying import Subject
from tests import build
from tests.faults import MEAN, STD, WIDTH, WRONG, at, statistics, zscore
from tests.thinning import thinned

MODELS = {f.__name__: f for f in (build.mlp, build.logistic, build.forest)}


def bake(model: onnx.ModelProto, scaler: Statistics, **asked: Any) -> Baked:
    """As nodes, so that there is a seam; what folding may do is judged where folding is tested."""
    return pipeline.bake(model, scaler, **{"form": "nodes", **asked})


def compare(right: Baked, wrong: onnx.ModelProto | Baked, seams: bool = True) -> Comparison:
    """What verification says of `wrong` in the place of `right`."""
    proto = wrong if isinstance(wrong, onnx.ModelProto) else wrong.edited.proto
    held = right.edited.seams if isinstance(wrong, onnx.ModelProto) else wrong.edited.seams
    subject = Subject(proto, right.original, proto.SerializeToString(), held if seams else {})
    return verifying.verify(right.original, subject, right.plan)[0]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fault", thinned(WRONG))
def test_a_wrong_scaler_differs_at_the_seam(fault: str, model: str) -> None:
    made = MODELS[model](width=WIDTH)
    right, wrong = (bake(made, statistics(s)) for s in (zscore(), WRONG[fault]))
    found = compare(right, wrong)
    assert found.verdict == DIFFERS and "scaled tensor" in found.reason, found.reason
    worst = next(s.worst for s in found.seams if not s.holds)
    assert worst is not None and worst.got != worst.expected


@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("mlp", 30), ("logistic", 29), ("forest", 27)])
def test_most_faults_show_in_the_outputs_alone(model: str, least: int) -> None:
    """Without the seam, as where the scaler is folded into the weights; the rows must be ones that tell."""
    made = MODELS[model](width=WIDTH)
    right = bake(made, statistics(zscore()))
    hidden = []
    for fault, scaler in WRONG.items():
        found = compare(right, bake(made, statistics(scaler)), seams=False)
        assert found.verdict in (DIFFERS, VERIFIED)
        hidden += [fault] if found.verdict == VERIFIED else []
    assert len(WRONG) - len(hidden) >= least, hidden


def _missing(proto: onnx.ModelProto, seam: str) -> None:
    graph.rewire(proto.graph, seam, "x")


def _one_reader_bypassed(proto: onnx.ModelProto, seam: str) -> None:
    last = next(n for n in reversed(proto.graph.node) if seam in n.input)
    last.input[list(last.input).index(seam)] = "x"


def _twice(proto: onnx.ModelProto, seam: str) -> None:
    """The scaler's nodes once more behind themselves."""
    first = [n for n in proto.graph.node if n.name.startswith(graph.PREFIX)]
    graph.rewire(proto.graph, seam, "again/" + seam)
    for node in first:
        again = proto.graph.node.add()
        again.CopyFrom(node)
        again.name = "again/" + node.name
        made = {o for n in first for o in n.output}
        for names in (again.input, again.output):
            for i, name in enumerate(names):
                names[i] = seam if name == "x" else "again/" + name if name in made else name
    order = sorted(
        proto.graph.node, key=lambda n: (not n.name.startswith(graph.PREFIX), not n.name.startswith("again/"))
    )
    del proto.graph.node[:]
    proto.graph.node.extend(order)


def _constant(proto: onnx.ModelProto, seam: str) -> None:
    """One bit of one number of the scaler."""
    tensor = next(t for t in proto.graph.initializer if t.name.startswith(graph.PREFIX) and len(t.raw_data) >= 8)
    raw = bytearray(tensor.raw_data)
    raw[5] ^= 1
    tensor.raw_data = bytes(raw)


def _weight(proto: onnx.ModelProto, seam: str) -> None:
    """One number of the model itself, which no seam shows."""
    tensor = next(t for t in proto.graph.initializer if not t.name.startswith(graph.PREFIX))
    tensor.raw_data = (numpy_helper.to_array(tensor) * np.float32(1.001)).tobytes()


def _output_negated(proto: onnx.ModelProto, seam: str) -> None:
    node = next(n for n in proto.graph.node if "y" in n.output)
    node.output[list(node.output).index("y")] = "before"
    proto.graph.node.append(helper.make_node("Neg", ["before"], ["y"]))


def two_readers(width: int = WIDTH) -> onnx.ModelProto:
    made = build.mlp(width)
    made.graph.node.insert(0, helper.make_node("MatMul", ["x", "w1"], ["other"]))
    made.graph.node.insert(2, helper.make_node("Add", ["h", "other"], ["sum"]))
    made.graph.node[3].input[0] = "sum"
    return made


@pytest.mark.parametrize(
    "fault", [_missing, _one_reader_bypassed, _twice, _constant, _weight, _output_negated], ids=lambda f: f.__name__
)
def test_a_wrong_graph_differs(fault: Callable[[onnx.ModelProto, str], None]) -> None:
    right = bake(two_readers(), statistics(zscore()))
    assert compare(right, right).verdict == VERIFIED
    proto = onnx.ModelProto.FromString(right.to_bytes())
    fault(proto, right.edited.seams["input", "x"])
    found = compare(right, proto)
    assert found.verdict == DIFFERS, found.reason


def test_a_wrong_axis_differs() -> None:
    made = build.identity(("N", 3, 3))
    scaler = zscore(MEAN[:3], STD[:3])
    right, wrong = (bake(made, statistics(scaler), axis=axis) for axis in (1, 2))
    assert compare(right, wrong).verdict == DIFFERS
    assert compare(right, wrong, seams=False).verdict == DIFFERS


def _ignoring(column: int) -> onnx.ModelProto:
    made = build.logistic(WIDTH)
    weights = numpy_helper.to_array(made.graph.initializer[0]).copy()
    weights[column] = 0
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    return made


def test_a_column_that_the_model_ignores_differs_at_the_seam_only() -> None:
    right = bake(_ignoring(2), statistics(zscore()))
    wrong = bake(_ignoring(2), statistics(zscore(at(MEAN, 2, lambda v: v + 0.0001))))
    found = compare(right, wrong)
    assert found.verdict == DIFFERS and found.seams[0].column == 2
    assert compare(right, wrong, seams=False).verdict == VERIFIED


def _deaf() -> onnx.ModelProto:
    """An output that no input moves."""
    nodes = [helper.make_node("Mul", ["x", "zero"], ["m"]), helper.make_node("IsNaN", ["m"], ["n"])]
    nodes += [helper.make_node("Where", ["n", "zero", "m"], ["y"])]
    return build.model(nodes, [build.value("x", ("N", WIDTH))], [build.value("y", None)], [build.tensor(0.0, "zero")])


def test_constant_outputs_prove_nothing() -> None:
    right = bake(_deaf(), statistics(zscore()))
    found = compare(right, right)
    assert found.verdict == VERIFIED and found.reason.startswith("at the seam") and found.outputs[0].vacuous
    assert compare(right, right, seams=False).verdict == NOT_VERIFIED
    wrong = bake(_deaf(), statistics(WRONG["ddof"]))
    assert compare(right, wrong).verdict == DIFFERS


def test_a_model_that_cannot_be_loaded_is_not_verified() -> None:
    made = build.model(
        [helper.make_node("Nothing", ["x"], ["y"], domain="nobody")], [build.value("x")], [build.value("y")]
    )
    made.opset_import.add(domain="nobody", version=1)
    found = build.bake(made).verify().comparison
    assert found is not None and found.verdict == NOT_VERIFIED and "cannot load the original" in found.reason


@pytest.mark.parametrize("kill", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_the_death_of_the_worker_is_a_verdict(kill: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_run", lambda *_: os.kill(os.getpid(), kill))
    found = build.bake(build.mlp()).verify().comparison
    assert found is not None and found.verdict == NOT_VERIFIED and kill.name in found.reason


def test_a_worker_that_hangs_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_run", lambda *_: signal.pause())
    found = build.bake(build.mlp()).verify(seconds=0.5).comparison
    assert found is not None and found.verdict == NOT_VERIFIED and "--time-limit" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("outside", [False, True], ids=["weights inside", "weights outside"])
def test_a_large_bake_is_verified_from_a_file(outside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "IN_MEMORY", 0)
    path = build.external(tmp_path, made=build.mlp(hidden=64))
    if not outside:
        path.write_bytes(build.mlp(hidden=150_000).SerializeToString())
    before = sorted(tmp_path.iterdir())
    found = build.bake(path).verify().comparison
    assert found is not None and found.verified, found.reason
    assert sorted(tmp_path.iterdir()) == before


def test_a_baked_file_is_verified_on_its_own() -> None:
    right = bake(build.mlp(WIDTH), statistics(zscore()))
    baked = right.to_bytes()
    for content, verdict in ((baked, VERIFIED), (_flipped(baked), DIFFERS)):
        found = pipeline.verify(content, open_bytes(right), statistics(zscore()))
        assert found.verdict == verdict, found.reason
    found = pipeline.verify(baked, open_bytes(right), statistics(WRONG["ddof"]))
    assert found.verdict == DIFFERS and "scaled tensor" in found.reason


def open_bytes(baked: Baked) -> bytes:
    return baked.original.read(0, len(baked.original.data))


def _flipped(data: bytes) -> bytes:
    """The baked file with another mean inside."""
    old, new = (np.float64(v).tobytes() for v in (MEAN[3], MEAN[3] + 0.01))
    assert data.count(old) == 1
    return data.replace(old, new)


def good(draw: np.random.Generator) -> tuple[onnx.ModelProto, Statistics, dict[str, str]]:
    """A random model with a random scaler of any scale, in any precision that the plan allows."""
    name = str(draw.choice(sorted(build.GOOD)))
    seeded = {"mlp": build.mlp, "logistic": build.logistic, "forest": build.forest}
    width = int(draw.integers(1, 7)) if name in seeded else build.WIDTH
    model = seeded[name](width=width, seed=int(draw.integers(1000))) if name in seeded else build.GOOD[name]()
    mean = draw.normal(size=width) * 10 ** draw.uniform(-3, 5, width)
    std = 10 ** draw.uniform(-3, 4, width)
    if name in ("half", "double"):
        mean, std = mean % 50, 1 + std % 5
    scalers = (
        lambda: Standard(mean, std),
        lambda: MinMax(mean, mean + std, clip=bool(draw.integers(2))),
        lambda: Affine(1 / std, mean / std),
        lambda: Standard(mean.mean(), std.mean()),
        lambda: zscore(mean, std),
    )
    exact = name in ("forest", "maps")  # where a label or a leaf decides, float32 arithmetic does give other answers
    asked = {"precision": "exact" if exact else str(draw.choice(["exact", "split", "single"]))}
    return model, statistics(scalers[int(draw.integers(len(scalers)))]()), asked


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_good_bake_never_differs(count: int) -> None:
    alarms, verified = [], 0
    for seed in range(count):
        draw = np.random.default_rng(seed)
        model, scaler, asked = good(draw)
        found = bake(model, scaler, **asked).verify(seed=seed).comparison
        assert found is not None
        alarms += [(seed, found.reason)] if found.verdict == DIFFERS else []
        verified += found.verified
    assert not alarms
    assert verified == count


def test_the_seed_makes_the_rows() -> None:
    baked = build.bake(build.mlp())
    one, same, other = (baked.verify(seed=s).comparison for s in (3, 3, 4))
    assert one is not None and same is not None and other is not None
    assert replace(one, versions={}) == replace(same, versions={}) and one.outputs != other.outputs
    assert {one.seed, other.seed} == {3, 4} and one.rows > 500 and "onnxruntime" in one.versions
    assert open_model(baked.to_bytes()).skeleton.graph.input[0].name == "x"


def test_a_tree_that_decides_otherwise_is_shown_beside_its_threshold() -> None:
    """float32 nodes before trees: rows on a threshold fall on its other side."""
    scaler = statistics(zscore(MEAN, STD))
    found = next(
        c
        for seed in range(8)
        if (c := bake(build.forest(WIDTH, trees=40, seed=seed), scaler, precision="single").verify().comparison)
        and not c.verified
    )
    shown = [f for o in found.outputs for f in o.beside]
    assert shown and all(f.distance < 4 and f.input == "x" for f in shown)
