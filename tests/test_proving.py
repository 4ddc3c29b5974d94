"""Models over the limit are proved: what changed is run, the rest is compared byte by byte. It must say so, and must not
be fooled by a change anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import onnxscale
from onnxscale import pipeline, proving
from onnxscale.cli.options import size
from tests import build
from tests.pipelines import Case, cases
from tests.test_models import baked
from tests.thinning import thinned

ALL = cases()
LIMIT = 30_000


def deep(layers: int = 8, width: int = 64, residual: bool = False) -> onnx.ModelProto:
    """A chain of layers of which the first is small: 4 -> width -> width ...; residual: the input comes back at the end."""
    nodes, last = [helper.make_node("MatMul", ["x", "w"], ["h"])], "h"
    held = [build.tensor(build.draw(build.WIDTH, width), "w")]
    for i in range(layers):
        held.append(build.tensor(build.draw(width, width, seed=i) / 8, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Tanh", [f"m{i}"], [f"t{i}"]))
        last = f"t{i}"
    if residual:
        held.append(build.tensor(build.draw(build.WIDTH, width, seed=99), "late"))
        nodes.append(helper.make_node("MatMul", ["x", "late"], ["again"]))
        nodes.append(helper.make_node("Add", [last, "again"], ["sum"]))
        last = "sum"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    return build.model(nodes, [build.value("x")], [build.value("y", ("N", width))], held)


@pytest.mark.parametrize("form", thinned(["auto", "nodes"]))
@pytest.mark.parametrize("case", ALL, ids=str)
def test_every_model_is_proved_as_it_is_verified(case: Case, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "size", lambda model: 1 << 60)
    found = baked(case, case.stats[0], form=form).verify(limit=1 << 30).comparison
    assert found is not None and found.verified and found.how == "proof", found
    assert found.reason.startswith("proved: ")


@pytest.mark.parametrize("form", ["nodes", "auto"])
@pytest.mark.parametrize("residual", [False, True])
def test_only_what_changed_is_run(form: str, residual: bool) -> None:
    found = build.bake(deep(residual=residual), form=form).verify(limit=LIMIT).comparison
    assert found is not None and found.verified, found
    assert found.how == "proof" and {o.name for o in found.outputs} == ({"h", "again"} if residual else {"h"})
    assert "18 node(s)" in found.reason or "17 node(s)" in found.reason
    whole = build.bake(deep(residual=residual), form=form).verify().comparison
    assert whole is not None and whole.how == "run" and {o.name for o in whole.outputs} == {"y"}


def changed(made: pipeline.Baked, name: str, by: float) -> onnx.ModelProto:
    proto = made.to_proto()
    for t in proto.graph.initializer:
        if t.name == name:
            values = np.frombuffer(t.raw_data, np.float32).copy()
            values[len(values) // 2] += np.float32(by)
            t.raw_data = values.tobytes()
    return proto


@pytest.mark.parametrize("form", ["nodes", "auto"])
@pytest.mark.parametrize("name", ["w3", "w7"])
def test_a_weight_changed_far_from_the_scaler_is_found(form: str, name: str) -> None:
    model = deep()
    proto = changed(build.bake(model, form=form), name, 1e-3)
    found = pipeline.verify(proto, model, build.stats(), limit=1 << 20)
    monkey = pipeline.verify(proto, model, build.stats(), limit=LIMIT)
    assert found.verdict == "DIFFERS"
    assert monkey.verdict in ("DIFFERS", "NOT VERIFIED"), monkey.reason


def test_a_wrong_scaler_differs() -> None:
    model = deep()
    for form in ("nodes", "auto"):
        proto = build.bake(model, form=form).to_proto()
        wrong = build.MEAN + np.array([0, 0.4, 0, 0])
        assert pipeline.verify(proto, model, build.stats(mean=wrong), limit=LIMIT).verdict == "DIFFERS"
        assert pipeline.verify(proto, model, build.stats(), limit=LIMIT).verified


def test_a_node_changed_far_from_the_scaler_is_found() -> None:
    model = deep()
    proto = build.bake(model).to_proto()
    next(n for n in proto.graph.node if n.output[0] == "t5").op_type = "Sigmoid"
    assert pipeline.verify(proto, model, build.stats(), limit=1 << 17).verdict in ("DIFFERS", "NOT VERIFIED")
    proto = build.bake(model).to_proto()
    next(n for n in proto.graph.node if "t2" in n.input).input[0] = "t1"
    assert pipeline.verify(proto, model, build.stats(), limit=1 << 17).verdict in ("DIFFERS", "NOT VERIFIED")


def test_external_data_are_compared_too(tmp_path: Path) -> None:
    onnx.save(deep(), tmp_path / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    (tmp_path / "away").mkdir()
    made = pipeline.bake(tmp_path / "model.onnx", build.stats()).verify(limit=LIMIT)
    assert made.comparison is not None and made.comparison.how == "proof" and made.comparison.verified
    for out in (tmp_path / "beside.onnx", tmp_path / "away" / "out.onnx"):
        made.save(out)
        found = pipeline.verify(out, tmp_path / "model.onnx", build.stats(), limit=LIMIT)
        assert found.verified and found.how == "proof", found.reason
    data = bytearray((tmp_path / "away" / "model.data").read_bytes())
    data[-2] ^= 0x10
    (tmp_path / "away" / "model.data").write_bytes(data)
    assert not pipeline.verify(
        tmp_path / "away" / "out.onnx", tmp_path / "model.onnx", build.stats(), limit=LIMIT
    ).verified


def test_a_first_layer_over_the_limit_is_not_verified() -> None:
    found = build.bake(deep()).verify(limit=500).comparison
    assert found is not None and found.verdict == "NOT VERIFIED"
    assert "'h' has over 500 bytes of its own. --verify-limit sets how large" in found.reason


def test_captured_inputs_are_proved() -> None:
    for make in (build.if_captured, build.loop, build.scan):
        made = build.bake(make())
        assert proving.compared(made.original, _subject(made), made.plan).ends
        found = _proved(made)
        assert found.verified, (make.__name__, found.reason)


def _subject(made: pipeline.Baked) -> pipeline.Subject:
    return pipeline.Subject(made.edited.proto, made.original, made.to_bytes(), made.edited.seams)


def _proved(made: pipeline.Baked) -> pipeline.Comparison:
    return proving.prove(made.original, _subject(made), made.plan, 1 << 30)


def test_a_target_scaler_is_proved_at_its_seam() -> None:
    target = {"mean": [3.0, 1.0, -2.0], "std": [250.0, 3.0, 0.5]}
    assert _proved(pipeline.bake(build.mlp(), build.stats(), target=target, form="nodes")).verified
    wrong = pipeline.bake(
        build.mlp(), build.stats(), target={"mean": [3.1, 1.0, -2.0], "std": [250.0, 3.0, 0.5]}, form="nodes"
    )
    right = pipeline.bake(build.mlp(), build.stats(), target=target, form="nodes")
    assert proving.prove(right.original, _subject(wrong), right.plan, 1 << 30).verdict == "DIFFERS"


def test_on_the_command_line(cli, tmp_path: Path) -> None:
    onnx.save(deep(), tmp_path / "model.onnx")
    (tmp_path / "s.json").write_text(json.dumps({"mean": build.MEAN.tolist(), "std": build.STD.tolist()}))
    made = cli("bake", tmp_path / "model.onnx", tmp_path / "s.json", "--verify-limit", "30KB")
    assert made.returncode == 0 and "VERIFIED: proved: " in made.stdout, made.stdout + made.stderr
    checked = cli("verify", tmp_path / "model.baked.onnx", "--against", tmp_path / "model.onnx", tmp_path / "s.json",
                  "--verify-limit", "30KB", "--json")  # fmt: skip
    assert json.loads(checked.stdout)["how"] == "proof"
    assert onnxscale.inspect(tmp_path / "model.baked.onnx").record["verification"]["how"] == "proof"  # type: ignore[index]
    bad = cli("bake", tmp_path / "model.onnx", tmp_path / "s.json", "--verify-limit", "much")
    assert bad.returncode == 2 and "no size" in bad.stderr


def test_sizes() -> None:
    assert [size(t) for t in ("10", "2KB", "1.5MiB", "4g", "1 TB")] == [10, 2048, 3 << 19, 4 << 30, 1 << 40]


def test_double_models_and_lists_of_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "size", lambda model: 1 << 60)
    for made in (build.bake(build.forest(trees=60, depth=8), form="auto"), build.bake(build.double())):
        found = made.verify(limit=1 << 30).comparison
        assert found is not None and found.verified and found.how == "proof"


def test_a_half_precision_model() -> None:
    assert _proved(build.bake(build.half())).verified


def test_a_fold_that_cannot_be_proved_becomes_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "size", lambda model: 1 << 60)
    case = next(c for c in ALL if str(c) == "linnerud_targets")
    folded = baked(case, case.stats[0], form="auto")
    assert {p.role: p.form for p in folded.plan.placements}["output"] == "fold"
    made = folded.verify(limit=1 << 30)
    assert made.comparison is not None and made.comparison.verified
    assert "took the target's scaler in" in made.comparison.notes[0]
    assert {p.form for p in made.plan.placements} == {"nodes"}


def test_a_model_of_100_gigabytes(cli, tmp_path: Path) -> None:
    """Its weights are a sparse file: nothing reads them, and nothing copies them."""
    side = 163_840
    first = build.tensor(build.draw(build.WIDTH, 64), "w")
    large = onnx.TensorProto(name="large", dims=[side, side], data_type=onnx.TensorProto.FLOAT, data_location=1)
    for key, value in (("location", "model.data"), ("offset", "0"), ("length", str(4 * side * side))):
        large.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Gather", ["large", "h"], ["g"]),
        helper.make_node("Identity", ["g"], ["y"]),
    ]
    onnx.save(build.model(nodes, [build.value("x")], [build.value("y", None)], [first, large]), tmp_path / "model.onnx")
    with (tmp_path / "model.data").open("wb") as data:
        data.truncate(4 * side * side)
    (tmp_path / "s.json").write_text(json.dumps({"mean": build.MEAN.tolist(), "std": build.STD.tolist()}))
    made = cli("bake", tmp_path / "model.onnx", tmp_path / "s.json", "-o", tmp_path / "out.onnx")
    assert made.returncode == 0 and "VERIFIED: proved: " in made.stdout, made.stdout + made.stderr
    assert f"{4 * side * side:,} bytes" in made.stdout or "107,374" in made.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx", "model.data", "s.json", "out.onnx"}
    back = cli("unbake", tmp_path / "out.onnx", "-o", tmp_path / "back.onnx")
    assert back.returncode == 0 and (tmp_path / "back.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
