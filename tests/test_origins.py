"""ONNX models as statistics: the scaler that one carries, read back and baked into another, gives the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import onnxscale
from onnxscale.errors import StatisticsError
from tests import build


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("form", ["nodes", "auto"])
def test_a_recorded_scaler_comes_back_bit_equal(form: str, tmp_path: Path) -> None:
    known = {
        "features": ("a", "b", "c", "d"),
        "units": ("V", "V", "m", "s"),
        "data_min": build.MEAN - 9,
        "data_max": build.MEAN + 9,
    }
    first = onnxscale.bake(build.mlp(), build.stats(**known), form=form).save(tmp_path / "first.onnx")
    found = onnxscale.read(first)
    fitted = found.inputs[None]
    assert fitted.transform() == build.stats().inputs[None].transform()
    assert (fitted.features, fitted.units) == (known["features"], known["units"])
    np.testing.assert_array_equal(fitted.data_min, known["data_min"])
    x = build.draw(20, build.WIDTH).astype("f") * 50
    again = onnxscale.bake(build.mlp(seed=7), first, form=form).to_bytes()
    want = onnxscale.bake(build.mlp(seed=7), build.stats(**known), form=form).to_bytes()
    np.testing.assert_array_equal(run(again, x), run(want, x))


def test_a_target_comes_back_the_right_way_round(tmp_path: Path) -> None:
    target = {"mean": [3.0, 1.0, -2.0], "std": [250.0, 3.0, 0.5]}
    first = onnxscale.bake(build.mlp(), build.stats(), target=target).save(tmp_path / "first.onnx")
    second = onnxscale.bake(build.mlp(), first).verify()
    assert second.comparison is not None and second.comparison.verified
    x = build.draw(20, build.WIDTH).astype("f")
    np.testing.assert_allclose(run(second.to_bytes(), x), run(first.read_bytes(), x), rtol=1e-5, atol=1e-5)


def test_the_scaler_of_another_converter_is_read_from_its_nodes(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((200, 4)) * build.STD + build.MEAN
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(x, x @ [1, 2, 3, 4])
    theirs = to_onnx(pipeline, x[:1].astype("f"), target_opset=18)
    found = onnxscale.read(theirs)
    np.testing.assert_allclose(found.inputs[None].transform()(x), pipeline[0].transform(x), rtol=1e-5, atol=1e-5)
    assert "read back from the nodes" in found.inputs[None].notes[0]
    onnxscale.convert(theirs.SerializeToString(), tmp_path / "stats.json")
    assert onnxscale.read(tmp_path / "stats.json").inputs[None].transform() == found.inputs[None].transform()


def test_a_model_without_a_scaler_is_no_source(tmp_path: Path, cli) -> None:
    onnx.save(build.mlp(), tmp_path / "model.onnx")
    with pytest.raises(StatisticsError, match="carries no scaler \\(after 'x' comes Gemm\\)"):
        onnxscale.read(tmp_path / "model.onnx")
    done = cli("bake", tmp_path / "model.onnx", tmp_path / "model.onnx")
    assert done.returncode == 2 and "carries no scaler" in done.stderr
    with pytest.raises(StatisticsError):
        onnxscale.read(b"\x08\x07\x12garbage")


def test_one_of_several_inputs_is_picked() -> None:
    nodes = []
    for name in ("a", "b"):
        nodes += [
            helper.make_node("Sub", [name, f"m{name}"], [f"s{name}"]), helper.make_node("Div", [f"s{name}", "d"], [f"z{name}"]),
        ]  # fmt: skip
    nodes.append(helper.make_node("Add", ["za", "zb"], ["y"]))
    held = [build.tensor(np.arange(4) + i, f"m{n}") for i, n in enumerate("ab")] + [build.tensor(np.arange(4) + 2, "d")]
    model = build.model(nodes, [build.value("a"), build.value("b")], [build.value("y")], held)
    with pytest.raises(
        StatisticsError, match="several inputs with a scaler: 'a', 'b'; name the one that is meant with --pick"
    ):
        onnxscale.read(model)
    found = onnxscale.read(model, onnxscale.Reading(pick="b"))
    np.testing.assert_array_equal(found.inputs[None].transform().steps[0].operands[0], np.arange(4) + 1)
