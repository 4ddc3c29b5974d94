"""OpenVINO IR that OpenVINO itself wrote: preprocessing behind a Parameter, and the arguments noted in rt_info."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import sources, targets
from onnxscale.errors import StatisticsError
from onnxscale.scalers import Image, MinMax, Standard
from onnxscale.statistics import Fitted, Reading

ov = pytest.importorskip("openvino", reason="needs openvino")
pytest.importorskip("defusedxml", reason="needs defusedxml")
from openvino import opset13 as op  # noqa: E402
from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: E402

from tests import damaging  # noqa: E402

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
SHAPE = {"NCHW": [1, 3, 4, 5], "NHWC": [1, 4, 5, 3]}


def model(layout: str = "NCHW", convolution: bool = False, inputs: tuple[str, ...] = ("x",)) -> Any:
    made, ends = [], []
    for name in inputs:
        parameter = op.parameter(SHAPE[layout], np.float32, name=name)
        parameter.output(0).set_names({name})
        weights = op.constant(np.full((4, 3, 1, 1), 0.3, np.float32))
        ends.append(
            op.convolution(parameter, weights, [1, 1], [0, 0], [0, 0], [1, 1]) if convolution else op.abs(parameter)
        )
        made.append(parameter)
    return ov.Model([op.result(e) for e in ends], made, "m")


def save(path: Path, made: Any, half: bool = False) -> Path:
    ov.save_model(made, path / "m.xml", compress_to_fp16=half)
    return path / "m.xml"


def one(path: Path, **flags: object) -> Fitted:
    found = sources.read(path, Reading(**flags))
    assert found.source.framework == "OpenVINO" and list(found.inputs) == [None]
    return found.inputs[None]


def scaled(made: Any, prepare: Callable[[Any], object], layout: str, u8: bool = False) -> Any:
    whole = PrePostProcessor(made)
    if u8:
        whole.input().tensor().set_element_type(ov.Type.u8)
        whole.input().preprocess().convert_element_type(ov.Type.f32)
    whole.input().model().set_layout(ov.Layout(layout))
    prepare(whole.input().preprocess())
    return whole.build()


PREPARED: dict[str, Callable[[Any], object]] = {
    "mean and scale": lambda p: p.mean(MEAN).scale(STD),
    "one value": lambda p: p.mean(127.5).scale(127.5),
    "scale then mean": lambda p: p.scale(255.0).mean([0.485, 0.456, 0.406]).scale([0.229, 0.224, 0.225]),
    "scale": lambda p: p.scale(STD),
    "mean": lambda p: p.mean(MEAN),
}


@pytest.mark.parametrize("u8", [False, True])
@pytest.mark.parametrize("layout", SHAPE)
@pytest.mark.parametrize("prepared", PREPARED)
def test_what_prepostprocessor_computes(prepared: str, layout: str, u8: bool, tmp_path: Path) -> None:
    path = save(tmp_path, scaled(model(layout), PREPARED[prepared], layout, u8))
    fitted = one(path)
    axis = {"NCHW": -3, "NHWC": -1}[layout]
    assert fitted.axis == (axis if fitted.transform().shape else None)
    x = np.random.default_rng(0).integers(0, 256, SHAPE[layout]).astype(np.float32)
    held = ov.Tensor(ov.Type.f32, ov.Shape(SHAPE[layout]))
    whole = ov.Core().read_model(path)
    assert whole.evaluate([held], [ov.Tensor(x.astype(np.uint8) if u8 else x)])  # OpenVINO's own reference, float32
    np.testing.assert_array_equal(np.abs(fitted.transform()(x, axis, np.float32)), held.data)


def test_a_layout_that_is_turned_leaves_the_axis_open(tmp_path: Path) -> None:
    whole = PrePostProcessor(model("NCHW"))
    whole.input().tensor().set_layout(ov.Layout("NHWC")).set_element_type(ov.Type.u8)
    whole.input().model().set_layout(ov.Layout("NCHW"))
    whole.input().preprocess().convert_element_type(ov.Type.f32).mean(MEAN).scale(STD)
    fitted = one(save(tmp_path, whole.build()))
    assert fitted.axis is None and fitted.transform().shape == (3,)


def test_float16_constants_are_said(tmp_path: Path) -> None:
    fitted = one(save(tmp_path, scaled(model("NHWC"), PREPARED["mean and scale"], "NHWC"), half=True))
    np.testing.assert_array_equal(fitted.transform().steps[0].operands[0], np.float16(MEAN).astype(float))
    assert any("float16" in n for n in fitted.notes)


def test_a_scale_that_was_moved_into_the_weights_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, scaled(model(convolution=True), PREPARED["mean and scale"], "NCHW"))
    with pytest.raises(StatisticsError, match="into the weights of the Convolution"):
        sources.read(path)


def test_the_models_own_arithmetic_is_not_preprocessing(tmp_path: Path) -> None:
    parameter = op.parameter([1, 3], np.float32, name="x")
    own = op.multiply(op.subtract(parameter, op.constant(np.float32(MEAN))), op.constant(np.float32(STD)))
    path = save(tmp_path, ov.Model([op.result(op.abs(own))], [parameter], "m"))
    with pytest.raises(StatisticsError, match="is the model's own"):
        sources.read(path)


def test_a_mean_image_is_refused(tmp_path: Path) -> None:
    made = scaled(model("NHWC"), PREPARED["mean and scale"], "NHWC")
    path = save(tmp_path, made)
    text = path.read_text()
    path.write_text(text.replace('shape="1, 1, 1, 3" offset="0" size="12"', 'shape="1, 1, 2, 3" offset="0" size="24"'))
    with pytest.raises(StatisticsError, match="mean image"):
        sources.read(path)


def test_colors_that_are_converted_are_said(tmp_path: Path) -> None:
    whole = PrePostProcessor(model("NHWC"))
    whole.input().tensor().set_element_type(ov.Type.f32).set_color_format(ColorFormat.BGR)
    whole.input().model().set_layout(ov.Layout("NHWC"))
    whole.input().tensor().set_layout(ov.Layout("NHWC"))
    whole.input().preprocess().convert_color(ColorFormat.RGB).mean(MEAN).scale(STD)
    fitted = one(save(tmp_path, whole.build()))
    np.testing.assert_array_equal(fitted.transform().steps[0].operands[0], np.float32(MEAN).astype(float))
    assert "stays with the app" in fitted.notes[0]


def test_two_inputs(tmp_path: Path) -> None:
    whole = PrePostProcessor(model("NHWC", inputs=("left", "right")))
    for name, mean in (("left", 1.0), ("right", 2.0)):
        whole.input(name).preprocess().mean(mean).scale(4.0)
    found = sources.read(save(tmp_path, whole.build()))
    assert set(found.inputs) == {"left", "right"}
    assert found.inputs["right"].transform()(np.float64(6.0)) == 1.0


# rt_info --------------------------------------------------------------------------------------------------------------


def noted(path: Path, made: Any, **arguments: str) -> Path:
    for key, value in arguments.items():
        made.set_rt_info(value, ["conversion_parameters", key])
    return save(path, made)


@pytest.mark.parametrize("value", ["[123.675,116.28,103.53]", "(123.675, 116.28, 103.53)", "x[123.675,116.28,103.53]"])
def test_arguments_of_the_conversion(value: str, tmp_path: Path) -> None:
    scale = value.replace("123.675", "58.395").replace("116.28", "57.12").replace("103.53", "57.375")
    found = sources.read(noted(tmp_path, model(), mean_values=value, scale_values=scale, reverse_input_channels="True"))
    (fitted,) = found.inputs.values()
    x = np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_array_equal(fitted.transform()(x, 1), (x - MEAN) / STD)
    assert "reverse order" in fitted.notes[0]


def test_arguments_beside_what_is_left_of_the_steps(tmp_path: Path) -> None:
    for convolution in (False, True):  # True: the scale is in the weights
        made = scaled(model(convolution=convolution), PREPARED["mean and scale"], "NCHW")
        path = noted(tmp_path, made, mean_values=str(MEAN), scale_values=str(STD))
        assert one(path).transform().steps[1].op == "Div"
        path = noted(tmp_path, made, mean_values="[1,2,3,4]", scale_values="[1,2,3,4]")
        with pytest.raises(StatisticsError, match="which of the two is meant"):
            sources.read(path)
        path = noted(tmp_path, made, mean_values="[1,2,3]", scale_values=str(STD))
        with pytest.raises(StatisticsError, match="which of the two is meant"):
            sources.read(path)


ARGUMENTS_REFUSED = {
    "[1,2": "expected \\[1,2,3\\]",
    "[1,a]": "expected numbers",
    "[1],[2]": "two groups",
    "y[1,2,3],y[1,2,3]": "two groups for y",
    "[1,nan,3]": "finite",
    "what": "expected",
}


@pytest.mark.parametrize("value", ARGUMENTS_REFUSED)
def test_arguments_that_are_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(StatisticsError, match=ARGUMENTS_REFUSED[value]):
        sources.read(noted(tmp_path, model(), mean_values=value, scale_values="[1,2,3]"))


# the command line -----------------------------------------------------------------------------------------------------


LINES = {
    "mo --input_model m.onnx --mean_values=[1,2,3] --scale_values=[4,5,6]": ([1, 2, 3], [4, 5, 6]),
    'mo --mean_values "[1,2,3]" --scale_values "[4,5,6]" --input_model m.onnx': ([1, 2, 3], [4, 5, 6]),
    "mo \\\n --mean-values [1,2,3] \\\n --scale 255 --framework onnx": ([1, 2, 3], 255),
    "mo --scale_values=[127.5]": (None, 127.5),
    "mo --mean_values=data[1,2,3] --scale_values=data[4,5,6]": ([1, 2, 3], [4, 5, 6]),
}


@pytest.mark.parametrize("line", LINES)
def test_command_lines(line: str, tmp_path: Path) -> None:
    (tmp_path / "convert.txt").write_text(line + "\n")
    ((name, fitted),) = sources.read(tmp_path / "convert.txt").inputs.items()
    assert name == ("data" if "data[" in line else None)
    mean, std = LINES[line]
    assert fitted.transform() == Standard(mean, std).transform()


@pytest.mark.parametrize("line", ["--mean_values=[1,2] --mean_values=[3,4]", "--mean_values=[] --scale_values=()",
                                  "--scale_values=[1] --scale 2", "--mean_values=a[1] --scale_values=[1]",
                                  "--mean_values=a[1] --scale_values=[1"])  # fmt: skip
def test_command_lines_that_are_refused(line: str) -> None:
    with pytest.raises(StatisticsError):
        sources.read(line.encode())


SCALERS = [
    Standard(MEAN, STD),
    Standard(0.1, 1 / 3),
    Image(1 / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    MinMax([0.0], [255.0]),
]


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda s: s.kind)
def test_what_we_write_we_read(scaler: Any) -> None:
    written = targets.target("x.txt", "openvino").write(sources.read(scaler))
    assert written == targets.target("x.txt", "openvino").write(sources.read(written))
    if scaler.kind == "standard":
        x = np.random.default_rng(0).normal(size=(9, 3))
        np.testing.assert_array_equal(sources.read(written).inputs[None].transform()(x, 1), scaler.transform()(x, 1))


# damage ---------------------------------------------------------------------------------------------------------------


def test_damage_is_refused_and_never_a_traceback(tmp_path: Path) -> None:
    path = save(tmp_path, scaled(model("NHWC"), PREPARED["mean and scale"], "NHWC"))
    whole = path.read_bytes()
    refused, total = damaging.refused(damaging.cut(whole, short=8), path)
    assert refused == total
    refused, _ = damaging.refused(damaging.flipped(whole, 500), path)
    assert refused > 100


HOSTILE = {
    "billion laughs": (
        b'<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><net name="&b;"/>',
        "DTD or entities",
    ),
    "outside": (b'<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net>&a;</net>', "DTD or entities"),
    "dtd": (b'<?xml version="1.0"?><!DOCTYPE net SYSTEM "http://localhost/x.dtd"><net/>', "DTD or entities"),
    "deep": (b"<net>" + b"<a>" * 200_000, "broken XML"),
    "closed deep": (b"<net>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</net>", "no mean and scale"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xml(name: str) -> None:
    with pytest.raises(StatisticsError, match=HOSTILE[name][1]):
        sources.read(HOSTILE[name][0])


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    path = save(tmp_path, scaled(model("NHWC"), PREPARED["mean and scale"], "NHWC"))
    with pytest.raises(StatisticsError, match="give the path"):
        sources.read(path.read_bytes())
    weights = tmp_path / "m.bin"
    weights.write_bytes(weights.read_bytes()[:20])
    with pytest.raises(StatisticsError, match="of another model"):
        sources.read(path)
    shutil.move(weights, tmp_path / "other.bin")
    weights.symlink_to(tmp_path / "other.bin")
    with pytest.raises(StatisticsError, match="cannot be read"):
        sources.read(path)
    weights.unlink()
    with pytest.raises(StatisticsError, match="cannot be read"):
        sources.read(path)
