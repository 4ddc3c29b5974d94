"""Diff: one function is one function however it was written, and every difference is named with its place and its size."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import onnxscale
from onnxscale import ports
from onnxscale.changes import digit
from onnxscale.errors import ModelError, PlanError, StatisticsError
from tests import build
from tests.pipelines import Case, cases
from tests.test_remote import Ranged

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def image(**more: Any) -> dict[str, Any]:
    return {
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN.tolist(),
        "image_std": STD.tolist(), **more,
    }  # fmt: skip


def z(mean: Any = build.MEAN, std: Any = build.STD, **more: Any) -> dict[str, Any]:
    return {"mean": np.asarray(mean).tolist(), "std": np.asarray(std).tolist(), **more}


def offset_scale(mean: Any, std: Any) -> dict[str, Any]:
    return {"dialect": "affine", "scale": (1 / np.asarray(std)).tolist(), "shift": (-np.asarray(mean) / std).tolist()}


def save(path: Path, model: Any) -> Path:
    onnx.save(model, path)
    return path


def baked(model: Any, scaler: Any, **how: Any) -> bytes:
    return onnxscale.bake(model, scaler, **how).to_bytes()


decimal = st.floats(-1e4, 1e4).map(lambda v: float(f"{v:.6g}"))
positive = st.floats(1e-2, 1e4).map(lambda v: float(f"{v:.6g}"))


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(st.tuples(decimal, positive), min_size=4, max_size=4),
    ways=st.tuples(*[st.sampled_from(["z", "variance", "affine", "minmax", "nodes", "fold"])] * 2),
)
def test_one_function_in_any_two_written_forms_is_the_same(numbers, ways) -> None:
    mean, std = (np.array(v) for v in zip(*numbers, strict=True))
    made = []
    for way in ways:
        written: Any = {
            "variance": {"mean": mean.tolist(), "var": (std**2).tolist()},
            "affine": {"scale": (1 / std).tolist(), "shift": (-mean / std).tolist()},
            "minmax": {"kind": "minmax", "data_min": mean.tolist(), "data_max": (mean + std).tolist()},
        }.get(way, z(mean, std))
        if way in ("nodes", "fold"):
            written = baked(build.mlp(), written, form="nodes" if way == "nodes" else "auto")
        made.append(written)
    found = onnxscale.diff(*made, tolerance=1e-9)
    assert found.same, [t.reason for t in found.tensors]


@pytest.mark.parametrize("form", ["nodes", "auto"])
def test_written_forms_of_an_image_scaler(form: str, cli, tmp_path: Path) -> None:
    written = [
        image(),
        z(MEAN * 255, STD * 255, axis=1),
        {"inputs": {"x": z(MEAN * 255, STD * 255, axis=1)}},
        {"scale": (1 / (STD * 255)).tolist(), "shift": (-MEAN / STD).tolist(), "axis": 1},
        {"mean": (MEAN * 255).tolist(), "var": ((STD * 255) ** 2).tolist(), "axis": 1},
    ]
    models = []
    for i, w in enumerate(written):
        models.append(tmp_path / f"{i}.onnx")
        models[-1].write_bytes(baked(build.cnn(), w, form=form))
    for other in models[1:]:
        got = cli("diff", models[0], other)
        assert got.returncode == 0 and got.stdout.startswith("SAME"), got.stdout + got.stderr


DIGITS = [1.23456789, 123456.789, 9.99999998e-3, 5.00000001, -87654321.9]


@pytest.mark.parametrize("value", DIGITS)
@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("key", ["mean", "std"])
def test_any_changed_digit_of_nine_is_told(value: float, place: int, key: str) -> None:
    first = z([1.0, value, 3.0], [1.0, abs(value) if key == "std" else 2.0, 3.0], features=["a", "b", "c"])
    text = f"{value:.8e}"
    at = [i for i, c in enumerate(text.partition("e")[0]) if c.isdigit()][place]
    other = float(text[:at] + ("7" if text[at] != "7" else "3") + text[at + 1 :])
    second = json.loads(json.dumps(first))
    second[key][1] = other if key == "mean" else abs(other)
    found = onnxscale.diff(first, second)
    (tensor,) = found.tensors
    (feature,) = tensor.features
    assert not found.same and (feature.feature, feature.name) == (1, "b")
    a, b = feature.constants[key]
    assert (a, b) == pytest.approx((first[key][1], second[key][1]), rel=1e-14) and digit(a, b) == place + 1
    k = np.array([-3, 0, 3])
    m, s, n, t = first["mean"][1], first["std"][1], second["mean"][1], second["std"][1]
    size = np.abs((m - n + k * s) / t - k).max()
    assert feature.sigmas == pytest.approx(size, rel=1e-3, abs=1e-15)


def rows_folder(tmp_path: Path, rows: int = 40) -> Path:
    raw = np.random.default_rng(0).standard_normal((rows, 4)) * build.STD + build.MEAN
    np.save(tmp_path / "rows.npy", raw.astype("f"))
    return tmp_path / "rows.npy"


LOOKS = {
    "the normalization left the graph": (lambda: baked(build.mlp(), z()), build.mlp),
    "the normalization came into the graph": (build.mlp, lambda: baked(build.mlp(), z())),
    "is not in the graph of A": (build.mlp, z),
    "B scales twice": (lambda: baked(build.mlp(), z()), lambda: baked(baked(build.mlp(), z()), z(), again=True)),
    "A scales twice": (lambda: baked(baked(build.mlp(), z()), z(), again=True), lambda: baked(build.mlp(), z())),
    "ddof changed: every std is sqrt(n / (n - 1)) times as large in B as in A, for n about 891 rows": (
        z, lambda: z(std=build.STD * np.sqrt(891 / 890)),
    ),
    "the rule for constant features changed: feature 2 is divided by 1 in A, by 1e-08 in B": (
        lambda: z(std=[1.5, 2, 1, 4]), lambda: z(std=[1.5, 2, 1e-8, 4]),
    ),
    "an epsilon of 1e-05 is added to the variance in B only": (z, lambda: z(std=np.sqrt(build.STD**2 + 1e-5))),
    "an epsilon of 1e-06 is added to the std in A only": (lambda: z(std=build.STD + 1e-6), z),
    "only by what float32 rounds": (lambda: z(build.MEAN / 7), lambda: z((build.MEAN / 7).astype("f").astype("d"))),
    "in another order (features 0, 1 moved)": (z, lambda: z(build.MEAN[[1, 0, 2, 3]], build.STD[[1, 0, 2, 3]])),
    "B does not subtract the mean": (z, lambda: z(build.MEAN * 0)),
    "A does not divide by the std": (lambda: z(std=build.STD * 0 + 1), z),
    "B divides by the variance": (z, lambda: z(std=build.STD**2)),
    "A clips its values, B does not": (
        lambda: {"kind": "minmax", "data_min": [0, 0], "data_max": [1, 2], "clip": True},
        lambda: {"kind": "minmax", "data_min": [0, 0], "data_max": [1, 2]},
    ),
    "255 times as large": (lambda: z([0.5] * 4, [0.25] * 4), lambda: z([127.5] * 4, [63.75] * 4)),
    "B expects raw values 3.5 times": (z, lambda: z(build.MEAN * 3.5, build.STD * 3.5)),
    "feature 1 is as in another unit: its mean and std are 1000 times as large in A as in B": (
        lambda: z([1, 2000, 3, 4], [1, 3000, 2, 5]), lambda: z([1, 2, 3, 4], [1, 3, 2, 5]),
    ),
    "feature 1 is as in degrees Fahrenheit in B": (
        lambda: z([1, 20, 3, 4], [1, 5, 2, 5]), lambda: z([1, 68, 3, 4], [1, 9, 2, 5])
    ),
    "each feature has the same constants, but they come in another order: feature 0 is 'a' in A, 'd' in B": (
        lambda: z(features=list("abcd")), lambda: z(build.MEAN[::-1], build.STD[::-1], features=list("dcba")),
    ),
    "made for 4": (z, lambda: z([1.0, 2.0], [1.0, 2.0])),
    "is in 'cm' in A, in 'mm' in B": (lambda: z(units=["cm"] * 4), lambda: z(units=["cm", "mm", "cm", "cm"])),
    "the same features in another order": (lambda: z(features=list("abcd")), lambda: z(features=list("bacd"))),
    "B has no such tensor": (
        lambda: {"inputs": {"u": z(), "v": z()}}, lambda: {"inputs": {"u": z()}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", LOOKS)
def test_a_difference_is_named(words: str) -> None:
    a, b = (make() for make in LOOKS[words])
    if words == "B has no such tensor":
        words = "is scaled in A"
    found = onnxscale.diff(a, b)
    assert not found.same
    assert any(words in t.reason for t in found.tensors), [t.reason for t in found.tensors]
    assert not onnxscale.diff(b, a).same


def normalized_first(std: np.ndarray, epsilon: float) -> bytes:
    """A model whose first layer is a BatchNormalization that does what a scaler would."""
    tensors = {
        "one": np.ones(4),
        "zero": np.zeros(4),
        "mean": build.MEAN,
        "var": std**2 - epsilon,
        "W": np.ones((4, 2)),
    }
    graph = helper.make_graph(
        [
            helper.make_node("BatchNormalization", ["x", "one", "zero", "mean", "var"], ["z"], epsilon=epsilon),
            helper.make_node("MatMul", ["z", "W"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 4])],
        [helper.make_tensor_value_info("y", 1, ["N", 2])],
        [onnx.numpy_helper.from_array(v.astype("f"), k) for k, v in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_a_scaler_that_is_the_first_batch_normalization() -> None:
    model = normalized_first(build.STD, 1e-9)
    assert onnxscale.diff(z(), model).same and onnxscale.diff(model, baked(build.mlp(), z())).same
    (other,) = onnxscale.diff(z(std=build.STD * [1, 1, 1.002, 1]), model).tensors
    assert other.verdict == "differs" and [f.feature for f in other.features] == [2]
    (far,) = onnxscale.diff(z(mean=build.MEAN + 9 * build.STD), model).tensors
    assert "is not in the graph of B" in far.reason and "begins with another function" in far.reason


def test_what_is_read_back_from_float32_is_not_said_to_hold_to_nine_digits(cli, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(normalized_first(build.STD, 1e-9))
    (tmp_path / "s.json").write_text(json.dumps(z()))
    said = cli("diff", tmp_path / "s.json", tmp_path / "m.onnx")
    assert said.returncode == 0 and "as far as the float32 constants of a graph tell" in said.stdout


def test_two_bare_models_are_not_said_to_have_one_normalization(cli, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        save(tmp_path / f"{name}.onnx", build.mlp(seed=seed))
    said = cli("diff", "a.onnx", "b.onnx", cwd=tmp_path)
    assert said.returncode == 0 and said.stdout.startswith(
        "SAME: neither carries a normalization that can be read; none was compared"
    )


def test_rows_of_another_width_are_told_as_that(cli, tmp_path: Path) -> None:
    save(tmp_path / "a.onnx", build.mlp())
    np.save(tmp_path / "rows.npy", np.zeros((5, 3), "f"))
    said = cli("diff", "a.onnx", "a.onnx", "--data", "rows.npy", cwd=tmp_path)
    assert (
        said.returncode == 2
        and "the rows have the shape (5, 3), which does not fit input 'x' float32 [N, 4]" in said.stderr
    )


def test_a_small_drift_of_both_constants_is_no_other_unit() -> None:
    (t,) = onnxscale.diff(z([1, 2, 3, 4], [1, 3, 2, 5]), z([1, 2.0002, 3, 4], [1, 3.0003, 2, 5])).tensors
    assert t.verdict == "differs" and "unit" not in t.reason


def test_names_that_came_and_went_are_listed() -> None:
    (t,) = onnxscale.diff(z(features=list("abcd")), z([1, 2, 4], [1, 2, 4], features=list("abd"))).tensors
    assert t.verdict == "differs" and "only in A: 'c'" in t.notes[0]


def test_channels_the_other_way_round() -> None:
    a, b = (baked(build.cnn(), z(m * 255, s * 255, axis=1)) for m, s in ((MEAN, STD), (MEAN[::-1], STD[::-1])))
    (t, *_) = onnxscale.diff(a, b).tensors
    assert "RGB for BGR" in t.reason and [f.feature for f in t.features] == [0, 2]  # green stays


def test_one_feature_that_moved_is_no_change_of_ddof() -> None:
    found = onnxscale.diff(z(), z(std=build.STD * [1, 1, np.sqrt(100 / 99), 1]))
    assert found.tensors[0].reason == "the constants differ"
    constant = onnxscale.diff(
        z(std=[1, 2, 3, 4]), z(std=np.array([1, 2, 3, 4]) * np.sqrt([1, 100 / 99, 100 / 99, 100 / 99]))
    )
    assert "ddof changed" in constant.tensors[0].reason


def test_a_declared_ddof_is_noted_where_the_numbers_are_the_same() -> None:
    found = onnxscale.diff(z(ddof=0), z(ddof=1))
    assert found.same and found.tensors[0].notes == ("ddof 0 in A, 1 in B",)


@pytest.mark.parametrize("form", ["nodes", "auto"])
def test_a_scaler_before_somebody_elses_scaler_is_twice(form: str) -> None:
    """The record tells of the scaler that was there before ours, also where a fold has absorbed it."""
    theirs = onnx.load_from_string(baked(build.mlp(), z(), form="nodes", precision="single"))
    del theirs.metadata_props[:]
    assert "B scales twice" in onnxscale.diff(theirs, baked(theirs, z(), form=form, again=True)).tensors[0].reason


@pytest.mark.parametrize("case", [c for c in cases() if c.target is None], ids=str)
def test_the_same_nodes_without_a_record_are_recognized(case: Case) -> None:
    """As others write them; also one factor for all, where only the other side can tell that it is a scaler."""
    made = baked(case.model, case.stats[0], axis=case.axis, input=case.input or "", form="nodes")
    (entry, *_) = json.loads(next(p.value for p in onnx.load_from_string(made).metadata_props if p.key == "onnxscale"))[
        "scalers"
    ]
    if {s["op"] for s in entry["steps"]} <= {"Sub", "Div", "Mul", "Add", "Max", "Min"}:
        theirs = onnx.load_from_string(made)
        del theirs.metadata_props[:]
        found = onnxscale.diff(theirs.SerializeToString(), case.stats[0], input=case.input or "")
        assert all(t.verdict == "same" for t in found.tensors if t.role == "input"), [t.reason for t in found.tensors]


def test_what_it_does_to_the_outputs(cli, tmp_path: Path) -> None:
    rows = rows_folder(tmp_path, 700)
    a, same, off = (tmp_path / f"{n}.onnx" for n in ("a", "same", "off"))
    a.write_bytes(baked(build.mlp(), z()))
    same.write_bytes(baked(build.mlp(), z(), form="nodes"))
    off.write_bytes(baked(build.mlp(), z(std=build.STD * [1, 1, 40, 1])))
    assert cli("diff", a, same, "--data", rows).returncode == 0
    got = cli("diff", a, off, "--data", rows, "--json")
    (output,) = json.loads(got.stdout)["outputs"]
    x = np.load(rows)
    one, two = (onnx_run(p, x) for p in (a, off))
    assert got.returncode == 1 and not output["holds"] and output["rows"] == 700
    assert output["largest"] == pytest.approx(float(np.abs(one - two).max()), rel=1e-5)
    assert output["worst"]["row"] == int(np.abs(one - two).max(1).argmax())
    assert output["decisions"] == int((one.argmax(1) != two.argmax(1)).sum()) > 0


def onnx_run(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime as ort

    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_models_of_a_fixed_batch_and_labels(tmp_path: Path) -> None:
    constants = [build.tensor(np.eye(4), "w")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("ArgMax", ["m"], ["y"], axis=1)]
    fixed = build.model(
        nodes, [build.value("x", (1, 4))], [build.value("y", (1, 1), onnx.TensorProto.INT64)], constants
    )
    found = onnxscale.diff(baked(fixed, z()), baked(fixed, z(build.MEAN[::-1])), data=rows_folder(tmp_path))
    (output,) = found.outputs
    assert output.kind == "exact" and output.rows == 40 and 0 < output.decisions <= 40


def test_a_probability_that_crosses_a_half_is_a_decision(tmp_path: Path) -> None:
    a, b = (tmp_path / n for n in ("a.onnx", "b.onnx"))
    a.write_bytes(baked(build.logistic(), z()))
    b.write_bytes(baked(build.logistic(), z(build.MEAN + build.STD)))
    (output,) = onnxscale.diff(a, b, data=rows_folder(tmp_path)).outputs
    x = np.load(tmp_path / "rows.npy")
    assert output.decisions == int(((onnx_run(a, x) > 0.5) != (onnx_run(b, x) > 0.5)).sum()) > 0


def test_weights_that_differ_are_seen_on_rows(tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{s}.onnx", build.mlp(seed=s)) for s in (0, 1))
    found = onnxscale.diff(a, b)
    assert found.same and any("the files differ in more" in n for n in found.notes)
    assert not onnxscale.diff(a, b, data=rows_folder(tmp_path)).same
    assert not onnxscale.diff(a, a).notes[1:]


def test_a_tolerance_in_sigmas() -> None:
    a, b = z(), z(std=build.STD * (1 + 1e-7))
    assert not onnxscale.diff(a, b).same
    assert onnxscale.diff(a, b, tolerance=1e-4).same
    assert not onnxscale.diff(a, b, tolerance=1e-9).same


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        ("none.onnx", "none.onnx", ModelError, "no such file"),
        ("none.json", "none.json", StatisticsError, "no such file"),
        ({"mean": [1.0]}, {"mean": [1.0]}, StatisticsError, "missing"),
        (b"", z(), StatisticsError, "empty"),
        (z(), build.mlp().SerializeToString()[:200], ModelError, "cut off|damaged"),
    ],
)
def test_what_cannot_be_compared(a: Any, b: Any, error: type[Exception], message: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        onnxscale.diff(a, b)


def test_statistics_that_fit_two_inputs_ask(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["u", "v"], ["y"])]
    two = build.model(nodes, [build.value("u"), build.value("v")], [build.value("y")])
    with pytest.raises(PlanError, match="'u', 'v'; say which with --input"):
        onnxscale.diff(two, z())
    both = baked(two, {"inputs": {"u": z(), "v": z(build.MEAN + 1)}})
    assert onnxscale.diff(both, z(), input="u").same
    assert not onnxscale.diff(both, z(), input="v").same


def test_a_target_is_compared_as_an_output() -> None:
    made = baked(build.mlp(), z(), target={"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]})
    assert onnxscale.diff(made, {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}, output="y").same
    assert not onnxscale.diff(made, {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 7.0]}, output="y").same


def test_names_cannot_steer_the_terminal(cli, tmp_path: Path) -> None:
    names = ["\x1b[2Jred", "b\u202ee", "c\nd", "d"]
    for file, mean in (("a.json", build.MEAN), ("b.json", build.MEAN + 1)):
        (tmp_path / file).write_text(json.dumps(z(mean, features=names)))
    got = cli("diff", tmp_path / "a.json", tmp_path / "b.json")
    assert got.returncode == 1 and "\\x1b[2Jred" in got.stdout
    assert not set("\x1b\u202e") & set(got.stdout)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, type[Ranged]]]:
    handler = type("Handler", (Ranged,), {"sent": 0})
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", handler
    served.shutdown()
    thread.join()
    served.server_close()


def test_a_far_model_is_compared_over_byte_ranges(server, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs the extra [remote]")
    url, handler = server
    weights = [build.tensor(np.zeros((1000, 1000)), f"w{i}") for i in range(12)]
    nodes = [helper.make_node("MatMul", ["x" if not i else f"h{i}", f"w{i}"], [f"h{i + 1}"]) for i in range(12)]
    big = build.model(nodes, [build.value("x", ("N", 1000))], [build.value("h12", ("N", 1000))], weights)
    scaler = z(np.arange(1000.0), np.arange(1.0, 1001.0))
    (tmp_path / "big.onnx").write_bytes(baked(big, scaler, form="nodes"))
    assert (tmp_path / "big.onnx").stat().st_size > 40_000_000
    (tmp_path / "stats.json").write_text(json.dumps(scaler))
    assert onnxscale.diff(f"{url}/big.onnx", f"{url}/stats.json").same
    changed = z(np.arange(1000.0), np.arange(1.0, 1001.0) + np.eye(1000)[17])
    found = onnxscale.diff(f"{url}/big.onnx", changed)
    assert [f.feature for f in found.tensors[0].features] == [17]
    assert 0 < handler.sent < 1_000_000


@pytest.mark.parametrize("form", ["nodes", "auto"])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_every_shipped_model_is_the_same_as_each_of_its_statistics_files(case: Case, form: str) -> None:
    """Files that the frameworks themselves wrote; what of a record's steps can be read back from the nodes agrees."""
    made = baked(case.model, case.stats[0], target=case.target, axis=case.axis, input=case.input or "", form=form)
    assert not [p.note for p in ports.of(made) if p.note]
    for file in case.stats:
        found = onnxscale.diff(made, file, input=case.input or "")
        assert found.same, (file, [t.reason for t in found.tensors])
    if case.target is not None:
        outputs = [p.name for p in ports.of(made) if p.role == "output" and p.how == "baked"]
        assert onnxscale.diff(made, case.target, output=outputs[0]).same


BASES = [
    baked(build.mlp(), z()), baked(build.mlp(), z(), form="nodes"), baked(build.forest(), z()),
    baked(build.mlp(), z(), form="nodes", precision="single"),
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    base=st.sampled_from(BASES),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), min_size=1, max_size=3),
)
def test_a_damaged_model_is_an_error_or_an_answer_and_never_a_crash(base: bytes, flips) -> None:
    damaged = bytearray(base)
    for at, bit in flips:
        damaged[at % len(base)] ^= 1 << bit
    with contextlib.suppress(onnxscale.OnnxscaleError):
        onnxscale.diff(bytes(damaged), z())


def test_node_names_that_are_not_utf8_are_compared_like_others() -> None:
    model = onnx.load_from_string(BASES[1])
    for node in model.graph.node:
        node.name = f"name of {node.name}"
    odd = model.SerializeToString().replace(b"name of", b"name \xfff")
    assert isinstance(onnx.load_from_string(odd).graph.node[0].name, bytes)
    assert onnxscale.diff(odd, z()).same
