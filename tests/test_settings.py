"""Settings of runtimes that scale by themselves: what `convert` writes for them is read back, and so is what people write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import yaml

from onnxscale import sources, targets
from onnxscale.errors import StatisticsError
from onnxscale.scalers import Affine, Image, MinMax, Standard
from onnxscale.statistics import Fitted, Reading
from tests import damaging

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
X = np.random.default_rng(0).normal(size=(200, 3)) * 100 + 100
SCALERS = {
    "channels": Standard(MEAN, STD), "one value": Standard(0.1, 1 / 3), "one std": Standard(MEAN, 57.3),
    "one std each": Standard(MEAN, [57.3] * 3), "image": Image(1 / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "minmax": MinMax([0.0, 0.0, 0.0], [255.0, 255.0, 255.0]), "affine": Affine([0.1, 0.2, 0.7], [-1.0, 2.0, 0.3]),
}  # fmt: skip


def written(source: object, to: str) -> bytes:
    return targets.target("-", to).write(sources.read(source))


def one(source: object, **flags: object) -> Fitted:
    return sources.read(source, Reading(**flags)).inputs[None]


@pytest.mark.parametrize("to", ["rknn", "tflite", "openvino", "deepstream"])
@pytest.mark.parametrize("name", SCALERS)
def test_the_round_trip_is_the_same_function_bit_for_bit(name: str, to: str) -> None:
    scaler = SCALERS[name]
    if to == "deepstream" and name in ("channels", "image", "affine"):
        with pytest.raises(StatisticsError, match="one net-scale-factor"):
            written(scaler, to)
        return
    data = written(scaler, to)
    back = one(data)
    assert written(back, to) == data
    got = back.transform()(X, 1)
    if isinstance(scaler, Standard) and to != "deepstream":
        np.testing.assert_array_equal(got, scaler.transform()(X, 1))
    else:  # written in the runtime's own form, which rounds otherwise
        np.testing.assert_allclose(got, scaler.transform()(X, 1), rtol=1e-12, atol=1e-12)
    if to == "deepstream":
        lines = dict(line.split("=") for line in data.decode().splitlines()[1:])
        want = float(lines["net-scale-factor"]) * (X - np.array([float(v) for v in lines["offsets"].split(";")]))
        np.testing.assert_array_equal(got, want)


CONFIG = """# primary detector
[property]
gpu-id=0
net-scale-factor=0.0173520735728
offsets=123.675;116.28;103.53
model-color-format=1
onnx-file=m.onnx
labelfile-path=a=b.txt
[class-attrs-all]
threshold=0.2
"""


def test_deepstream_as_people_write_it() -> None:
    found = sources.read(CONFIG.encode())
    fitted = found.inputs[None]
    assert found.source.framework == "DeepStream" and fitted.layout["Image.BitmapPixelFormat"] == "Bgr8"
    np.testing.assert_array_equal(fitted.transform()(X, 1), 0.0173520735728 * (X - MEAN))
    listed = {
        "property": {"net-scale-factor": 0.0173520735728, "offsets": "123.675;116.28;103.53", "model-color-format": 1}
    }
    np.testing.assert_array_equal(one(yaml.safe_dump(listed).encode()).transform()(X, 1), fitted.transform()(X, 1))
    assert one(b"[property]\nnet-scale-factor=0.5\n").transform()(X, 1).tolist() == (X * 0.5).tolist()
    assert (
        one(b"[user-configs]\npixel-normalization-factor=0.5\noffsets=1;2;3\n").transform()(X, 1).tolist()
        == ((X - [1, 2, 3]) * 0.5).tolist()
    )
    assert (
        one(b"[property]\noffsets=1;2;3;\n", accept_defaults=True).transform()(X, 1).tolist()
        == (X - [1, 2, 3]).tolist()
    )


def test_tflite_metadata() -> None:
    options = {"mean": [127.5], "std": [127.5]}
    image = {
        "name": "image",
        "process_units": [{"options_type": "NormalizationOptions", "options": options}],
        "stats": {"max": [1]},
    }
    tokens = {"name": "ids", "process_units": [{"options_type": "BertTokenizerOptions", "options": {}}]}
    whole = {
        "name": "m",
        "subgraph_metadata": [{"input_tensor_metadata": [image], "output_tensor_metadata": [{"name": "y"}]}],
    }
    fitted = one(json.dumps(whole).encode())
    np.testing.assert_array_equal(fitted.transform()(X, 1), (X - 127.5) / 127.5)
    whole["subgraph_metadata"][0]["input_tensor_metadata"] = [image, tokens]
    assert set(sources.read(whole).inputs) == {"image"}


def test_rknn_of_two_inputs_and_openvino_by_name() -> None:
    two = {"mean_values": [MEAN, [1.0]], "std_values": [STD, [2.0]], "target_platform": "rk3588"}
    with pytest.raises(StatisticsError, match="inputs without a name: '0', '1'"):
        one(two)
    assert one(two, pick="1").transform()(np.float64(5.0)) == 2.0
    np.testing.assert_array_equal(one({"mean_values": MEAN, "std_values": STD}).transform()(X, 1), (X - MEAN) / STD)
    found = sources.read({"mean_values": {"x": MEAN}, "scale_values": {"x": STD}})
    np.testing.assert_array_equal(found.inputs["x"].transform()(X, 1), (X - MEAN) / STD)


TRITON = """name: "m"
platform: "onnxruntime_onnx"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
parameters { key: "mean" value: { string_value: "[123.675, 116.28, 103.53]" } }
parameters: { key: "std", value: { string_value: "58.395,57.12 57.375" } }  # of "training"
parameters [ { key: "EXECUTION_ENV_PATH" value: { string_value: "$$TRITON/env.tar.gz" } } ]
"""


def test_triton_parameters() -> None:
    np.testing.assert_array_equal(one(TRITON.encode()).transform()(X, 1), (X - MEAN) / STD)
    single = TRITON.replace("[123.675, 116.28, 103.53]", "0.5").replace("58.395,57.12 57.375", "0.25")
    np.testing.assert_array_equal(one(single.encode()).transform()(X, 1), (X - 0.5) / 0.25)


REFUSED: dict[str, tuple[Any, str]] = {
    "no parameters": (TRITON.replace('"mean"', '"m"').replace('"std"', '"s"').encode(), "it has 'm', 's'"),
    "a parameter twice": (TRITON.replace('"std"', '"mean"').encode(), "'mean' stands twice"),
    "a parameter alone": (TRITON.replace('"std"', '"s"').encode(), "'std' .* is missing"),
    "words": (TRITON.replace("58.395,57.12 57.375", "a b").encode(), "std: expected numbers"),
    "an empty parameter": (TRITON.replace("58.395,57.12 57.375", "").encode(), "'std' is empty"),
    "a mean image": (b"[property]\nnet-scale-factor=1\nmean-file=mean.ppm\n", "mean image"),
    "no factor": (b"[property]\noffsets=1;2;3\n", "'net-scale-factor' is missing; its default is 1.0"),
    "a factor twice": (b"[property]\nnet-scale-factor=1\nnet-scale-factor=2\n", "broken configuration"),
    "no number": (b"[property]\nnet-scale-factor=x\n", "expected a number"),
    "infinite": (b"[property]\nnet-scale-factor=1e999\n", "expected a number"),
    "zero": (b"[property]\nnet-scale-factor=0\n", "is 0"),
    "two offsets": (b"[property]\nnet-scale-factor=1\noffsets=1;2\n", "2 values"),
    "a color": (b"[property]\nnet-scale-factor=1\nmodel-color-format=7\n", "model-color-format is '7'"),
    "two sections": (b"[property]\nnet-scale-factor=1\n[user-configs]\noffsets=1;2;3\n", "both scale"),
    "no std_values": ({"mean_values": [MEAN]}, "std_values: expected a list"),
    "no lists": ({"mean_values": 7, "std_values": [STD]}, "mean_values: expected a list"),
    "other counts": ({"mean_values": [MEAN, MEAN], "std_values": [STD]}, "different number of inputs"),
    "a std of zero": ({"mean_values": [MEAN], "std_values": [[0, 1, 1]]}, "std_values is 0"),
    "too deep": ({"mean_values": [[MEAN]], "std_values": [[STD]]}, "one list of values"),
    "no options": ({"process_units": []}, "no input has NormalizationOptions"),
    "no mean": ({"process_units": [{"options_type": "NormalizationOptions", "options": {"std": [1]}}]}, "has no mean"),
    "units of nothing": ({"process_units": 3}, "expected a list of objects"),
    "two subgraphs": ({"subgraph_metadata": [{}, {}]}, "expected one subgraph"),
    "no tensors": ({"subgraph_metadata": [{}]}, "expected a list of tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_scaler_is_refused(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(StatisticsError, match=message):
        sources.read(content)


@pytest.mark.parametrize("to", ["rknn", "tflite", "openvino", "deepstream", "triton"])
def test_damage_is_refused_and_never_a_traceback(to: str) -> None:
    files = {"deepstream": CONFIG.encode(), "triton": TRITON.encode()}
    whole = files[to] if to in files else written(SCALERS["channels"], to)
    refused, _ = damaging.refused([*damaging.cut(whole, short=2), *damaging.flipped(whole, 500)])
    assert refused > 50
