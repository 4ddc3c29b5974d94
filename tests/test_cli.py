"""The command line as a user meets it: plans, flags, JSON, exit codes, one clear message for bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from tests.thinning import thinned

FEATURES = 4
MEAN, STD = [1.0, -2.0, 300.0, 0.5], [2.0, 0.5, 40.0, 1.0]


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((FEATURES, 3)).astype(np.float32)
    graph = h.make_graph(
        [h.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N", FEATURES])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N", 3])],
        [nh.from_array(weight, "w")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def stats(tmp_path: Path) -> Path:
    return write(tmp_path, "stats.json", {"mean": MEAN, "std": STD})


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_help_is_quick_and_has_examples(cli) -> None:
    got = cli("--help")
    assert got.returncode == 0 and "Examples" in got.stdout
    for command in ("bake", "verify", "selftest", "inspect", "unbake", "schema", "diff", "lock"):
        shown = cli(command, "--help").stdout
        assert "Example" in shown and "--json" in shown, command


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['onnxscale', '--help']\ntry:\n import onnxscale.cli as c; c.app()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('onnx', 'onnxruntime', 'numpy') if m in sys.modules])"
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout.splitlines()[-1] == "[]"


def test_the_default_output_lies_beside_the_model(cli, model: Path, stats: Path) -> None:
    got = cli("bake", model, stats)
    assert got.returncode == 0, got.stderr
    out = model.with_name("model.baked.onnx")
    x = np.random.default_rng(1).standard_normal((5, FEATURES)).astype("f")
    expected = answers(model, ((x.astype("d") - MEAN) / STD).astype("f"))
    np.testing.assert_allclose(answers(out, x), expected, rtol=1e-5, atol=1e-4)
    assert cli("bake", model, stats).returncode == 0, "a baked model is replaced: it can be made again"
    out.write_bytes(b"mine")
    again = cli("bake", model, stats)
    assert again.returncode == 2 and "--force" in again.stderr and out.read_bytes() == b"mine"
    assert cli("bake", model, stats, "--force").returncode == 0


def test_dry_run_writes_nothing_and_shows_the_plan(cli, model: Path, stats: Path) -> None:
    got = cli("bake", model, stats, "--dry-run")
    assert got.returncode == 0 and "the only one of that size" in got.stdout
    assert not model.with_name("model.baked.onnx").exists()
    plan = json.loads(cli("bake", model, stats, "--dry-run", "--json").stdout)
    assert plan["out"] is None and plan["plan"]["placements"][0]["tensor"]["name"] == "x"


def test_in_place_and_back(cli, model: Path, stats: Path) -> None:
    before = model.read_bytes()
    assert cli("bake", model, stats, "-o", model).returncode == 2
    assert model.read_bytes() == before
    assert cli("bake", model, stats, "--in-place").returncode == 0
    back = model.with_name("back.onnx")
    assert cli("unbake", model, "-o", back).returncode == 0
    assert back.read_bytes() == before


def test_the_record_follows_its_schema(cli, model: Path, stats: Path) -> None:
    out = model.with_name("out.onnx")
    assert cli("bake", model, stats, "-o", out).returncode == 0
    record = json.loads(next(p.value for p in onnx.load(out).metadata_props if p.key == "onnxscale"))
    jsonschema.validate(record, json.loads(cli("schema", "record").stdout))
    steps = record["scalers"][0]["steps"]
    assert [s["op"] for s in steps] == ["Sub", "Div"] and steps[0]["operands"] == [MEAN]
    assert cli("inspect", out, "--json").returncode == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(cli("schema", "stats").stdout))


def test_baking_the_same_twice_gives_the_same_bytes(cli, model: Path, stats: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"{i}.onnx" for i in range(3)]
    for out in outs:
        assert cli("bake", model, stats, "-o", out).returncode == 0
    assert len({out.read_bytes() for out in outs}) == 1


def test_verify_says_which_row_differs(cli, model: Path, stats: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert cli("bake", model, stats, "-o", out, "--form", "nodes").returncode == 0
    other = write(tmp_path, "other.json", {"mean": MEAN, "std": [2.0, 0.5, 40.1, 1.0]})
    got = cli("verify", out, "--against", model, other)
    assert got.returncode == 1 and "DIFFERS" in got.stdout and "worst row" in got.stdout and "feature 2" in got.stdout


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_your_own_rows_are_checked(cli, model: Path, stats: Path, tmp_path: Path, suffix: str) -> None:
    rows = np.random.default_rng(2).standard_normal((7, FEATURES)).astype("f")
    file = tmp_path / f"rows.{suffix}"
    if suffix == "npy":
        np.save(file, rows)
    elif suffix == "npz":
        np.savez(file, x=rows)
    else:
        file.write_text("a,b,c,d\n" + "\n".join(",".join(map(str, r)) for r in rows.tolist()))
    got = cli("bake", model, stats, "--data", file, "--json")
    assert got.returncode == 0, got.stderr
    assert json.loads(got.stdout)["verification"]["verdict"] == "VERIFIED"


def test_a_named_output_is_scaled_back(cli, model: Path, stats: Path, tmp_path: Path) -> None:
    target = write(tmp_path, "target.json", {"kind": "minmax", "data_min": [0, 0, 10], "data_max": [1, 2, 30]})
    out = tmp_path / "out.onnx"
    got = cli("bake", model, stats, "--target", target, "-o", out)
    assert got.returncode == 0, got.stderr
    x = np.random.default_rng(1).standard_normal((5, FEATURES)).astype("f")
    scaled = answers(model, ((x.astype("d") - MEAN) / STD).astype("f")).astype("d")
    np.testing.assert_allclose(answers(out, x), scaled * [1, 2, 20] + [0, 0, 10], rtol=1e-5, atol=1e-3)


BAD = {
    "no such file": ("nowhere.json", None),
    "stats have 7 features, input 'x' has 4 at axis -1": ("a.json", {"mean": [0.0] * 7, "std": [1.0] * 7}),
    "std is 0 at feature 1": ("b.json", {"mean": MEAN, "std": [1, 0, 1, 1]}),
    "std is -1.0 at feature 0": ("c.json", {"mean": MEAN, "std": [-1, 1, 1, 1]}),
    "--dialect": ("d.json", {"min": MEAN, "scale": STD}),
    "'std' (or 'scale', 'var') is missing": ("e.json", {"mean": MEAN}),
    "'z', which is not an input; the inputs are 'x'": ("f.json", {"inputs": {"z": {"mean": MEAN, "std": STD}}}),
    "holds NaN": ("g.json", '{"mean": [NaN, 0, 0, 0], "std": [1, 1, 1, 1]}'),
    "broken JSON at line 1": ("h.json", '{"mean": [1, 2'),
    "stands twice": ("i.json", '{"mean": [1, 2, 3, 4], "mean": [0, 0, 0, 0], "std": [1, 1, 1, 1]}'),
    "larger than a float64": ("j.json", '{"mean": [1e400, 0, 0, 0], "std": [1, 1, 1, 1]}'),
    "nested more than": ("k.json", "[" * 100_000),
    "expected numbers, got true or false": ("l.json", {"mean": MEAN, "std": [True] * 4}),
    "expected numbers, got text": ("m.json", {"mean": ["a"] * 4, "std": STD}),
    "different widths": ("n.json", {"mean": MEAN, "std": [1.0, 2.0]}),
    "unknown keys 'meen'": ("o.json", {"meen": MEAN, "mean": MEAN, "std": STD}),
    "5 names for 4 features": ("p.json", {"mean": MEAN, "std": STD, "features": list("abcde")}),
    "'do_rescale' is missing": ("q.json", {"image_mean": [0.5], "image_std": [0.5], "do_normalize": True}),
    "the file is empty": ("r.json", ""),
}


@pytest.mark.parametrize("message", thinned(BAD))
def test_bad_statistics_get_one_clear_message(cli, model: Path, tmp_path: Path, message: str) -> None:
    name, content = BAD[message]
    path = tmp_path / name if content is None else write(tmp_path, name, content)
    before = sorted(tmp_path.iterdir())
    got = cli("bake", model, path)
    assert got.returncode == 2, (got.stdout, got.stderr)
    assert message in got.stderr and "Traceback" not in got.stderr and len(got.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_an_error_is_json_where_json_is_asked_for(cli, tmp_path: Path) -> None:
    got = cli("bake", tmp_path / "absent.onnx", tmp_path / "absent.json", "--json")
    assert got.returncode == 2 and json.loads(got.stdout)["exit"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_in_one_line(sent: signal.Signals) -> None:
    wait = f"lambda **how: (os.kill(os.getpid(), {int(sent)}), time.sleep(9))"
    code = f"import os, time; from onnxscale import cli; cli.app = {wait}; cli.main()"
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (got.returncode, got.stderr, got.stdout) == (128 + sent, "interrupted; nothing was written\n", "")
