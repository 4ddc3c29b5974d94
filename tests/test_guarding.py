"""Guards: what a baked model says of the raw values, against numpy; answers unchanged; records, unbake, diff, lock, verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T

import onnxscale
from onnxscale import graph, modelfile, ports, recognition
from onnxscale.errors import PlanError
from onnxscale.reporting import text
from onnxscale.statistics import Statistics
from onnxscale.worker import Runnable, started
from tests import build
from tests.thinning import thinned

LOW, HIGH = build.MEAN - 3 * build.STD, build.MEAN + 3 * build.STD
MODES = ("observe", "clamp", "nan")


def known(**more: Any) -> Statistics:
    return build.stats(data_min=LOW, data_max=HIGH, **more)


def run(model: onnx.ModelProto, *feeds: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    with started(1 << 20) as worker:
        answers = worker.run(Runnable(model.SerializeToString()), list(feeds))
    assert isinstance(answers, list), answers
    return answers  # type: ignore[return-value]


def rows(count: int = 64, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    drawn = build.MEAN + build.STD * np.clip(build.draw(count, build.WIDTH, seed=seed), -2.9, 2.9)
    return drawn.astype(dtype)


WILD = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 1.0, 5.5, -120.25]


@pytest.mark.parametrize("opset", thinned([9, 11, 13, 17, 18, 21]))
@pytest.mark.parametrize("form", ["auto", "nodes"])
@pytest.mark.parametrize("mode", MODES)
def test_answers_are_those_of_the_unguarded_bake(mode: str, form: str, opset: int) -> None:
    model = build.mlp(opset=opset, ir=10 if opset > 13 else 7)
    plain = onnxscale.bake(model, known(), form=form)
    guarded = onnxscale.bake(model, known(), form=form, guard=mode, guard_stats=True)
    x = rows()
    (a,), (b,) = run(plain.to_proto(), {"x": x}), run(guarded.to_proto(), {"x": x})
    assert a["y"].tobytes() == b["y"].tobytes()
    assert guarded.verify().comparison.verified, text.comparison(guarded.verify().comparison)
    onnx.checker.check_model(guarded.to_proto(), full_check=True)


@pytest.mark.parametrize("opset", [8, 9, 10, 11, 13, 18])
def test_count_and_distance_row_by_row(opset: int) -> None:
    x = rows(6)
    x[1, 0], x[2, 1], x[3, 2], x[4] = np.nan, 1e30, -np.inf, [LOW[0], HIGH[1], LOW[2], HIGH[3]]
    made = onnxscale.bake(build.mlp(opset=opset), known(), guard="observe").to_proto()
    (got,) = run(made, {"x": x})
    assert got["x_guard_outside"].tolist() == [0, 1, 1, 1, 0, 0]
    z = (x.astype(np.float64) - build.MEAN) / build.STD
    np.testing.assert_allclose(got["x_guard_distance"][[0, 4, 5]], np.sqrt((z**2).mean(axis=1))[[0, 4, 5]], rtol=1e-4)
    assert np.isnan(got["x_guard_distance"][1]) and np.isinf(got["x_guard_distance"][[2, 3]]).all()
    assert got["x_guard_looks_scaled"].shape == () and not got["x_guard_looks_scaled"]


@given(
    st.lists(st.lists(st.sampled_from(WILD) | st.floats(width=32), min_size=4, max_size=4), min_size=1, max_size=7),
    st.sampled_from(MODES),
)
@settings(max_examples=40)
def test_outputs_are_those_of_the_reference(values: list[list[float]], mode: str) -> None:
    x = np.array(values, np.float32)
    baked = _guarded(mode)
    guard = baked.plan.placements[0].guard
    assert guard is not None
    (got,) = run(baked.to_proto(), {"x": x})
    for kind, (off, _) in guard.says(x, got).items():
        assert off <= {"distance": 1e-3, "sum": 1e-12, "square": 1e-12}.get(kind, 0.0), kind
    if mode == "nan":
        assert (np.isnan(got["y"]).all(axis=1) | ~guard.wrong(x)).all()
    if mode == "clamp":
        (inside,) = run(_guarded("observe").to_proto(), {"x": np.clip(x, *guard.bounds("float32"))})
        assert np.array_equal(got["y"], inside["y"], equal_nan=True)


def _guarded(mode: str, made: dict[str, Any] = {}) -> Any:  # noqa: B006  made once a mode
    if mode not in made:
        made[mode] = onnxscale.bake(build.mlp(), known(), guard=mode, guard_stats=True)
    return made[mode]


def image(shape: tuple[Any, ...], dtype: int = T.FLOAT, opset: int = 13) -> onnx.ModelProto:
    node = onnx.helper.make_node("GlobalAveragePool" if len(shape) == 4 else "Relu", ["x"], ["y"])
    return build.model([node], [build.value("x", shape, dtype)], [build.value("y", None, dtype)], opset=opset)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("opset", [pytest.param(9, marks=SLOW), 13, pytest.param(18, marks=SLOW)])
@pytest.mark.parametrize(
    ("shape", "axis"), [(("N", 4, 5, 6), 1), (("N", 7, 4), 2), ((2, 4), 1), ((4,), 0), (("T", 4), 1), ((3, 4, 5, 6), 1)]
)
@pytest.mark.parametrize("mode", MODES)
def test_every_rank_and_layout(shape: tuple[Any, ...], axis: int, mode: str, opset: int) -> None:
    model = image(shape, opset=opset)
    if mode == "nan" and shape[0] == "N":
        model.graph.output[0].CopyFrom(build.value("y", shape if len(shape) < 4 else ("N", 4, 1, 1)))
    elif mode == "nan":
        model.graph.output[0].CopyFrom(build.value("y", shape if len(shape) < 4 else (3, 4, 1, 1)))
    baked = onnxscale.bake(model, known(), axis=axis, guard=mode, guard_stats=True, form="nodes").verify()
    assert baked.comparison is not None and baked.comparison.verified, text.comparison(baked.comparison)
    sizes = tuple(3 if isinstance(d, str) else d for d in shape)
    x = np.moveaxis(rows(int(np.prod(sizes)) // 4).reshape(*[s for i, s in enumerate(sizes) if i != axis], 4), -1, axis)
    (got,) = run(baked.to_proto(), {"x": np.ascontiguousarray(x)})
    np.testing.assert_array_equal(got["x_guard_n"], x.size // 4)
    other = tuple(i for i in range(x.ndim) if i != axis)
    np.testing.assert_array_equal(got["x_guard_max"], x.astype(np.float64).max(axis=other) if other else x)
    assert got["x_guard_outside"].shape == (() if axis == 0 else sizes[:1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("make", "dtype"), [(build.half, "float16"), (build.double, "float64"), (build.mlp, "int16"), (build.mlp, "int32")]
)
def test_types_of_inputs(make: Any, dtype: str, mode: str) -> None:
    mean, std = np.array([5.5, -12.25, 3, 101.2]), np.array([2.5, 3.0, 1.25, 8.1])
    stats = build.stats(mean, std, data_min=mean - 3 * std, data_max=mean + 3 * std)
    baked = onnxscale.bake(
        make(), stats, input_dtype="keep" if dtype.startswith("float") else dtype, guard=mode, guard_stats=True
    )
    baked = baked.verify()
    assert baked.comparison is not None and baked.comparison.verified, text.comparison(baked.comparison)
    if mode == "clamp":
        ends = np.array([[-500] * 4, [500] * 4]).astype(dtype)
        guard = baked.plan.placements[0].guard
        assert guard is not None
        (far,), (near,) = (run(baked.to_proto(), {"x": v}) for v in (ends, guard.clamped(ends)))
        assert np.array_equal(far["y"], near["y"]) and far["x_guard_outside"].tolist() == [4, 4]


def test_rows_that_cannot_be_right_are_taken_out() -> None:
    baked = onnxscale.bake(build.mlp(), known(), guard="nan")
    x = rows(5)
    x[2] += 1000 * build.STD
    (got,) = run(baked.to_proto(), {"x": x})
    assert np.isnan(got["y"]).all(axis=1).tolist() == [False, False, True, False, False]
    scaled = ((x - build.MEAN) / build.STD).astype(np.float32)[[0, 1]]
    (got,) = run(baked.to_proto(), {"x": scaled})
    assert np.isnan(got["y"]).all() and got["x_guard_looks_scaled"]


@pytest.mark.parametrize("classes", [0, 3])
def test_a_layer_whose_output_is_the_model_s_folds_under_nan(classes: int) -> None:
    """What the folded layer gives is an output that loses rows: so does the original's that it is compared with."""
    linear_model, skl2onnx = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("skl2onnx")
    z = np.clip(build.draw(128, build.WIDTH, seed=1), -2.9, 2.9).astype(np.float32)
    y = np.arange(128) % classes if classes else z.sum(axis=1)
    fitted = (linear_model.LogisticRegression() if classes else linear_model.Ridge()).fit(z, y)
    model = skl2onnx.to_onnx(fitted, z[:1], options={"zipmap": False} if classes else None)
    checked = onnxscale.bake(model, known(), guard="nan").verify().comparison
    assert checked.verified, text.comparison(checked)
    assert any(s.role == "layer" for s in checked.seams)


def test_a_large_mean_does_not_cost_the_distance() -> None:
    mean, std = np.array([1.7e9, 1, 2, 3.0]), np.array([1e3, 1, 1, 1.0])
    stats = build.stats(mean, std, data_min=mean - 3 * std, data_max=mean + 3 * std)
    x = (mean + std * build.draw(8, 4)).astype(np.float32)
    (got,) = run(onnxscale.bake(build.mlp(), stats, guard="observe").to_proto(), {"x": x})
    expected = np.sqrt((((x.astype(np.float64) - mean) / std) ** 2).mean(axis=1))
    np.testing.assert_allclose(got["x_guard_distance"], expected, rtol=1e-6)


def test_sums_are_those_of_the_rows() -> None:
    baked = _guarded("observe")
    guard = baked.plan.placements[0].guard
    x = rows(100)
    x[3, 1], x[5, 1], x[7, 2] = np.nan, np.inf, np.nan
    (got,) = run(baked.to_proto(), {"x": x})
    assert got["x_guard_n"].tolist() == [100, 98, 99, 100] and got["x_guard_missing"].tolist() == [0, 2, 1, 0]
    mean = guard.shift + got["x_guard_sum"] / got["x_guard_n"]
    var = got["x_guard_square"] / got["x_guard_n"] - (got["x_guard_sum"] / got["x_guard_n"]) ** 2
    wide = np.where(np.isfinite(x), x.astype(np.float64), np.nan)
    np.testing.assert_allclose(mean, np.nanmean(wide, axis=0), rtol=1e-13)
    np.testing.assert_allclose(np.sqrt(var), np.nanstd(wide, axis=0), rtol=1e-12)


def test_two_inputs_and_names_in_use(tmp_path: Path) -> None:
    model = build.two_inputs()
    names = [s.name for s in graph.inputs(model)]
    widths = [s.shape[-1] for s in graph.inputs(model)]  # type: ignore[index]
    part = {
        n: {"kind": "standard", "mean": [50.0] * w, "std": [2.0] * w, "data_min": [40.0] * w, "data_max": [60.0] * w}
        for n, w in zip(names, widths, strict=True)
    }
    baked = onnxscale.bake(model, {"inputs": part}, guard="observe").verify()
    assert baked.comparison is not None and baked.comparison.verified
    assert {f"{n}_guard_outside" for n in names} <= {o.name for o in baked.to_proto().graph.output}
    named = build.mlp()
    named.graph.node[1].output[0] = named.graph.node[2].input[0] = "x_guard_outside"
    outputs = [o.name for o in onnxscale.bake(named, known(), guard="observe").to_proto().graph.output]
    assert "x_guard_outside_1" in outputs


def test_what_is_not_known_is_said() -> None:
    bare = build.stats()
    plan = onnxscale.bake(build.mlp(), bare, guard="observe").plan
    assert "outside" not in plan.placements[0].guard.outputs  # type: ignore[union-attr]
    assert any("no count of values outside" in n and "onnxscale fit" in n for n in plan.placements[0].notes)
    with pytest.raises(PlanError, match=r"--guard clamp: .* no range .* `onnxscale fit"):
        onnxscale.bake(build.mlp(), bare, guard="clamp")
    ranged = {"kind": "minmax", "data_min": [1.0, 2, 3, 4], "data_max": [5.0, 6, 7, 8]}
    plan = onnxscale.bake(build.mlp(), ranged, guard="observe").plan
    assert "distance" not in plan.placements[0].guard.outputs  # type: ignore[union-attr]
    with pytest.raises(PlanError, match=r"--guard nan: .* no mean and std"):
        onnxscale.bake(build.mlp(), ranged, guard="nan")
    with pytest.raises(PlanError, match="--guard maybe: unknown"):
        onnxscale.bake(build.mlp(), bare, guard="maybe")


@pytest.mark.slow
def test_record_unbake_lock_verify_and_diff(tmp_path: Path, cli: Any) -> None:
    original, stats = tmp_path / "model.onnx", tmp_path / "stats.json"
    original.write_bytes(build.mlp().SerializeToString())
    content = {"kind": "standard", "mean": build.MEAN.tolist(), "std": build.STD.tolist()}
    stats.write_text(json.dumps({**content, "data_min": LOW.tolist(), "data_max": HIGH.tolist()}))
    for mode in MODES:
        out = tmp_path / f"{mode}.onnx"
        done = cli("bake", original, stats, "-o", out, "--guard", mode, "--guard-stats")
        assert done.returncode == 0, done.stderr
        assert "x_guard_looks_scaled" in done.stdout and "guard outputs" in done.stdout
        assert f"guard {mode}: x_guard_outside" in cli("inspect", out).stdout
        assert cli("selftest", out).returncode == 0
        done = cli("verify", out, "--against", original, stats)
        assert done.returncode == 0 and "guard  'x_guard_sum'" in done.stdout, done.stdout + done.stderr
        back = tmp_path / f"{mode}.back.onnx"
        assert cli("unbake", out, "-o", back).returncode == 0
        assert back.read_bytes() == original.read_bytes()
        assert cli("diff", out, stats).returncode == 0
        assert [p.name for p in ports.of(str(out)) if p.role == "output"] == ["y"]
    rows_file = tmp_path / "rows.npy"
    np.save(rows_file, rows(32))
    assert cli("bake", original, stats, "-o", tmp_path / "plain.onnx").returncode == 0
    done = cli("diff", tmp_path / "observe.onnx", tmp_path / "plain.onnx", "--data", rows_file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cli("lock", tmp_path / "observe.onnx", "--lock", tmp_path / "onnxscale.lock").returncode == 0
    assert cli("lock", "--check", "--lock", tmp_path / "onnxscale.lock").returncode == 0


def test_the_record_fits_its_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(onnxscale.__file__).parent / "schemas/record.schema.json").read_text())
    for mode in ("", *MODES):
        record = onnxscale.bake(build.mlp(), known(), guard=mode, guard_stats=True).record()
        jsonschema.validate(json.loads(json.dumps(record)), schema)


def test_a_second_bake_before_a_guarded_model(tmp_path: Path) -> None:
    first = _guarded("observe").to_bytes()
    again = onnxscale.bake(first, known(), again=True, guard="nan")
    names = [o.name for o in again.to_proto().graph.output]
    assert len(names) == len(set(names)) and "x_guard_outside_1" in names
    guard = again.plan.placements[0].guard
    assert guard is not None and list(guard.poisons) == ["y"]
    assert "x_guard_outside" in recognition.guard_outputs(modelfile.open_model(again.to_bytes()))


@pytest.mark.parametrize("form", ["auto", "nodes"])
@pytest.mark.parametrize("mode", ["observe", "clamp"])
def test_a_guard_of_a_large_model_is_proved(mode: str, form: str) -> None:
    model = build.mlp(hidden=400).SerializeToString()
    baked = onnxscale.bake(model, known(), guard=mode, guard_stats=True, form=form).verify(limit=len(model) - 200)
    found = baked.comparison
    assert found is not None and found.verified and found.how == "proof", found
    assert baked.folds == (form == "auto") and "x_guard_sum" in [s.tensor for s in found.seams]


@pytest.mark.parametrize("how", [{}, {"input_dtype": "uint8"}, {"channels": "reversed"}])
@pytest.mark.parametrize("mode", ["", *MODES])
def test_images_with_the_channels_last(mode: str, how: dict[str, str]) -> None:
    stats = {"kind": "standard", "mean": [120.0, 115, 100], "std": [58.0, 57, 50], "data_min": [0.0, 1, 2]}
    baked = onnxscale.bake(
        build.cnn(), {**stats, "data_max": [250.0, 251, 252]}, layout="nhwc", guard=mode, **how
    ).verify()
    assert baked.comparison is not None and baked.comparison.verified, text.comparison(baked.comparison)
    if mode:
        guard = baked.plan.placements[0].guard
        assert guard is not None and guard.low is not None and guard.axis == 3
        assert guard.low.tolist() == ([2, 1, 0] if "channels" in how else [0, 1, 2])


def test_a_wrong_guard_is_found() -> None:
    """The verifier is no formality: a model whose guard counts against other bounds differs."""
    from dataclasses import replace

    baked = onnxscale.bake(build.mlp(), known(), guard="observe", form="nodes")
    p = baked.plan.placements[0]
    assert p.guard is not None and p.guard.low is not None
    lied = replace(
        baked, plan=replace(baked.plan, placements=(replace(p, guard=replace(p.guard, low=p.guard.low - 1)),))
    )
    found = lied.verify().comparison
    assert found is not None and not found.verified and "x_guard_outside" in found.reason


def tables() -> dict[str, np.ndarray]:
    datasets = pytest.importorskip("sklearn.datasets")
    return {
        "diabetes": datasets.load_diabetes(scaled=False).data,
        "wine": datasets.load_wine().data,
        "breast_cancer": datasets.load_breast_cancer().data,
        "digits": datasets.load_digits().data,
    }


def test_a_known_correlation_flags_no_clean_row_of_iris() -> None:
    """Four sizes of one flower move together: where that is known, two sigmas between raw and scaled rows are too few."""
    x = pytest.importorskip("sklearn.datasets").load_iris().data
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(150)
        a, b = x[order[:75]], x[order[75:]]
        baked = onnxscale.bake(build.mlp(4), onnxscale.fit(a, correlation=True), guard="observe")
        guard = baked.plan.placements[0].guard
        assert guard is not None
        assert guard.telling is None or not (guard.scores(b.astype(np.float32)) < guard.telling.threshold).any()


@pytest.mark.parametrize("name", ["diabetes", "wine", "breast_cancer", "digits"])
def test_what_looks_scaled_on_real_tables(name: str) -> None:
    """Never on rows of the same table that it was not fitted on, one at a time; nearly always on scaled rows, and on 32 of them."""
    x = tables()[name]
    rng = np.random.default_rng(0)
    for _ in range(5):
        index = rng.permutation(len(x))
        a, b = x[index[: len(x) // 2]], x[index[len(x) // 2 :]]
        std = np.where(a.std(0) > 0, a.std(0), 1.0)
        content = {"kind": "standard", "mean": a.mean(0).tolist(), "std": std.tolist()}
        content |= {"data_min": a.min(0).tolist(), "data_max": a.max(0).tolist()}
        baked = onnxscale.bake(build.mlp(x.shape[1]), content, guard="observe")
        guard = baked.plan.placements[0].guard
        assert guard is not None and guard.telling is not None
        spread = np.where(np.ptp(a, axis=0) > 0, np.ptp(a, axis=0), 1.0)
        cases = {"raw": b, "z-scored": (b - a.mean(0)) / std, "min-maxed": (b - a.min(0)) / spread}
        alone = {k: (guard.scores(v.astype(np.float32)) < guard.telling.threshold).mean() for k, v in cases.items()}
        assert alone["raw"] == 0 and alone["z-scored"] > 0.85 and alone["min-maxed"] > 0.9, alone
        few = rng.choice(len(b), 32)
        answers = run(baked.to_proto(), *({"x": v[few].astype(np.float32)} for v in cases.values()))
        assert [bool(g["x_guard_looks_scaled"]) for g in answers] == [False, True, True]
