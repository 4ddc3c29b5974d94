"""What a reader of the whole found once, and what must not come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import QuantileTransformer

import onnxscale
from onnxscale.errors import StatisticsError
from tests import build


@pytest.mark.parametrize("output", ["uniform", "normal"])
def test_quantiles_of_many_features_fold_into_trees(output: str) -> None:
    x, y = load_diabetes(return_X_y=True)
    scaler = QuantileTransformer(n_quantiles=100, output_distribution=output).fit(x)
    forest = RandomForestRegressor(10, random_state=0).fit(scaler.transform(x), y)
    made = onnxscale.bake(to_onnx(forest, x[:1].astype(np.float32)), scaler, form="fold").verify()
    assert made.comparison is not None and made.comparison.verified and made.folds, made.comparison


@pytest.mark.parametrize("split", [False, True], ids=["Gemm", "MatMul and Add"])
def test_an_input_and_a_target_fold_into_one_layer(split: bool) -> None:
    held = [build.tensor(build.draw(build.WIDTH, 1), "w"), build.tensor([0.5], "b")]
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    if split:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    model = build.model(nodes, [build.value("x")], [build.value("y", ("N", 1))], held)
    target = {"mean": [152.0], "std": [77.0]}
    made = onnxscale.bake(model, build.stats([1, 2, 3, 4], [2, 3, 4, 5]), target=target, form="fold").verify()
    assert made.comparison is not None and made.comparison.verified, made.comparison.reason
    assert [p.form for p in made.plan.placements] == ["fold", "fold"]
    wrong = onnxscale.verify(made.to_proto(), model, build.stats([1, 2, 3, 4.2], [2, 3, 4, 5]), target=target)
    assert wrong.verdict == "DIFFERS"


def test_recurrent_layers_stay_folded() -> None:
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        held = [
            build.tensor(build.draw(1, gates * 5, build.WIDTH) / 2, "W"),
            build.tensor(build.draw(1, gates * 5, 5) / 2, "R"),
            build.tensor(build.draw(1, 2 * gates * 5) / 2, "B"),
        ]
        node = helper.make_node(op, ["x", "W", "R", "B"], ["y"], hidden_size=5)
        model = build.model([node], [build.value("x", (6, "N", build.WIDTH))], [build.value("y", None)], held)
        made = onnxscale.bake(model, build.stats([1, 2, 3, 4], [2, 3, 4, 5]), axis=2).verify()
        assert made.comparison is not None and made.comparison.verified and made.folds, (op, made.comparison)


@pytest.mark.parametrize("kind", ["constant", "shape", "weights of zero"])
def test_what_is_constant_proves_nothing_without_a_seam(kind: str) -> None:
    held = [build.tensor(np.zeros((build.WIDTH, 2)), "w"), build.tensor([1, 2], "b")]
    node = {
        "constant": helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0]),
        "shape": helper.make_node("Shape", ["x"], ["y"]),
        "weights of zero": helper.make_node("Gemm", ["x", "w", "b"], ["y"]),
    }[kind]
    kind_of = onnx.TensorProto.INT64 if kind == "shape" else onnx.TensorProto.FLOAT
    outputs = [build.value("y", None, dtype=kind_of)]
    model = build.model([node], [build.value("x")], outputs, held if "zero" in kind else [])
    found = onnxscale.verify(model, model, build.stats())
    assert found.verdict == "NOT VERIFIED" and "constant" in found.reason, found
    made = build.bake(model, form="auto").verify().comparison  # nodes have a seam, where a fold has nothing to show
    assert made is not None and made.verified and "at the seam" in made.reason


def test_random_models_are_said_to_be_random() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("RandomUniformLike", ["h"], ["r"]),
        helper.make_node("Mul", ["h", "r"], ["y"]),
    ]
    model = build.model(
        nodes, [build.value("x")], [build.value("y", None)], [build.tensor(build.draw(build.WIDTH, 2), "w")]
    )
    for form in ("auto", "nodes"):
        found = build.bake(model, form=form).verify().comparison
        assert found is not None and found.verified and "random numbers (RandomUniformLike)" in found.reason
        assert "at the seam" in found.reason


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_command(end: signal.Signals, tmp_path: Path) -> None:
    onnx.save(build.mlp(hidden=400_000), tmp_path / "model.onnx")
    (tmp_path / "s.json").write_text(json.dumps({"mean": build.MEAN.tolist(), "std": build.STD.tolist()}))
    command = [sys.executable, "-m", "onnxscale", "bake", str(tmp_path / "model.onnx"), str(tmp_path / "s.json")]
    for seconds in (1.0, 2.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(end)
        process.wait()
        time.sleep(0.5)
        mark = str(tmp_path).encode()
        left = [p for p in Path("/proc").glob("[0-9]*") if mark in _command_line(p)]
        assert not left, [p.name for p in left]


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_errors_of_usage_are_json_too(cli, tmp_path: Path) -> None:
    for arguments in (
        ["bake", "--json"],
        ["bake", "a", "b", "--axis", "z", "--json"],
        ["inspect", "--bogus", "--json"],
    ):
        done = cli(*arguments)
        assert done.returncode == 2 and json.loads(done.stdout)["exit"] == 2, arguments
    onnx.save(build.mlp(), tmp_path / "m.onnx")
    (tmp_path / "s.json").write_text('{"mean": null, "std": null}')
    done = cli("bake", tmp_path / "m.onnx", tmp_path / "s.json")
    assert done.returncode == 2 and "is null" in done.stderr
    for bad in (["--seed", "-1"], ["--time-limit", "-1"]):
        assert cli("bake", tmp_path / "m.onnx", tmp_path / "s.json", *bad).returncode == 2
    assert "a folder; expected an ONNX file" in cli("bake", ".", tmp_path / "s.json").stderr


def test_in_place_follows_a_link(cli, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    onnx.save(build.mlp(), tmp_path / "real" / "model.onnx")
    os.symlink("real/model.onnx", tmp_path / "link.onnx")
    (tmp_path / "s.json").write_text(json.dumps({"mean": build.MEAN.tolist(), "std": build.STD.tolist()}))
    done = cli("bake", tmp_path / "link.onnx", tmp_path / "s.json", "--in-place")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link.onnx").is_symlink()
    assert onnxscale.inspect(tmp_path / "real" / "model.onnx").record is not None


def test_a_null_divisor_is_no_identity() -> None:
    with pytest.raises(StatisticsError, match="is null"):
        onnxscale.read({"mean": [1.0], "std": None})
