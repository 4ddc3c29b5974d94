"""Scalers of each row by its own statistics, by its group, and of images in another layout: the framework's formula, baked,
verified, and served by onnxruntime on raw values."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import onnxscale
from onnxscale import looking, pipeline
from onnxscale.errors import PlanError, StatisticsError
from onnxscale.scalers import make
from tests.build import identity, model, tensor, value
from tests.test_steps import answers as _answers  # noqa: F401


def answers(made: bytes, **fed: np.ndarray) -> list[np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(made, options, providers=["CPUExecutionProvider"]).run(None, fed)


def waves(shape=("N", "T"), opset: int = 17, dtype: int = T.FLOAT, extra=()) -> onnx.ModelProto:
    """y = 2 x + the sum of what else is fed."""
    two = numpy_helper.from_array(np.array(2, helper.tensor_dtype_to_np_dtype(dtype)), "two")
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"])]
    graph = helper.make_graph(nodes, "w", [value("x", shape, dtype), *extra], [value("y", shape, dtype)], [two])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def verified(made: onnx.ModelProto, stats: object, **asked: object) -> bytes:
    baked = onnxscale.bake(made, stats, **asked).verify()
    assert baked.comparison.verified, baked.comparison
    content = baked.to_bytes()
    onnx.checker.check_model(onnx.load_from_string(content))
    return content


RNG = np.random.default_rng(5)
WAVE = (RNG.standard_normal((5, 400)) * 3 + 7).astype("f")
IMAGES = RNG.integers(0, 256, (3, 3, 8, 10)).astype("f")

FORMULAS = {
    "wav2vec2": (
        {"over": [-1], "eps": 1e-7, "eps_at": "var"},
        lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-7),
    ),
    "z-norm": (
        {"over": [1], "eps": 1e-5, "eps_at": "std", "ddof": 1},
        lambda x: (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True, ddof=1) + 1e-5),
    ),
    "peak": ({"over": [1], "center": "min", "spread": "range"}, lambda x: (x - x.min(1, keepdims=True)) / np.ptp(x, 1)[:, None]),
    "chronos": (
        {"over": [1], "center": "none", "spread": "abs", "eps_at": "zero"},
        lambda x: x / np.abs(x).mean(1, keepdims=True),
    ),
    "per_image_standardization": (
        {"over": [1], "eps_at": "size"},
        lambda x: (x - x.mean(1, keepdims=True)) / np.maximum(x.std(1, keepdims=True), 1 / np.sqrt(x.shape[1])),
    ),
    "floored": (
        {"over": [1], "eps": 4.0, "eps_at": "floor"},
        lambda x: (x - x.mean(1, keepdims=True)) / np.maximum(x.std(1, keepdims=True), 4.0),
    ),
    "mean only": ({"over": [1], "spread": "none"}, lambda x: x - x.mean(1, keepdims=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("opset", [8, 13, 18, 21])
def test_each_row_by_its_own_statistics(name: str, opset: int) -> None:
    fields, formula = FORMULAS[name]
    scaler = make("instance", fields)
    x = WAVE.astype(np.float64)
    np.testing.assert_allclose(scaler.transform()(x), formula(x), rtol=1e-12, atol=1e-12)
    made = verified(waves(opset=opset), {"kind": "instance", **fields})
    np.testing.assert_allclose(answers(made, x=WAVE)[0], 2 * formula(x), rtol=3e-7, atol=1e-7)
    assert json.loads(json.dumps(scaler.transform().to_json()))


def test_wav2vec2_as_transformers_has_it() -> None:
    extractor = pytest.importorskip("transformers").Wav2Vec2FeatureExtractor(return_attention_mask=True)
    clips = [WAVE[0, :n] for n in (400, 123, 57)]
    want = extractor(clips, sampling_rate=16000, padding=True, return_tensors="np")
    raw = np.stack([np.pad(c, (0, 400 - len(c))) for c in clips])
    lengths = np.array([len(c) for c in clips])
    fields = {"kind": "instance", "over": [-1], "eps": 1e-7, "eps_at": "var", "pad": 0.0}
    by_mask = verified(waves(), {**fields, "mask": "attention_mask"})
    got = answers(by_mask, x=raw, attention_mask=want["attention_mask"].astype(np.int64))[0] / 2
    np.testing.assert_allclose(got, want["input_values"], rtol=2e-5, atol=2e-6)  # transformers computes in float32
    by_length = verified(waves(), {**fields, "mask": "length", "mask_kind": "length"})
    np.testing.assert_array_equal(answers(by_length, x=raw, length=lengths)[0] / 2, got)


@pytest.mark.parametrize("dtype", [T.INT64, T.INT32, T.BOOL, T.FLOAT])
def test_a_mask_that_the_model_takes_itself(dtype: int) -> None:
    mask = value("attention_mask", ("N", "T"), dtype)
    made = waves(extra=[mask])
    made.graph.node.append(helper.make_node("Cast", ["attention_mask"], ["seen"], to=T.FLOAT))
    made.graph.node.append(helper.make_node("Identity", ["seen"], ["mask_out"]))
    made.graph.output.append(value("mask_out", ("N", "T")))
    stats = {"inputs": {"x": {"kind": "instance", "over": [1], "eps": 1e-6, "eps_at": "var", "mask": "attention_mask"}}}
    content = verified(made, stats)
    assert [i.name for i in onnx.load_from_string(content).graph.input] == ["x", "attention_mask"]
    keep = np.arange(400) < np.array([[400], [3], [1], [200], [77]])
    fed = keep.astype(helper.tensor_dtype_to_np_dtype(dtype))
    got = answers(content, x=WAVE, attention_mask=fed)[0]
    for row, size in enumerate((400, 3, 1, 200, 77)):
        part = WAVE[row, :size].astype("d")
        want = (WAVE[row] - part.mean()) / np.sqrt(part.var() + 1e-6)
        np.testing.assert_allclose(got[row], 2 * want, rtol=1e-5, atol=1e-3 if size == 1 else 1e-5)


def test_images_by_their_own_channels() -> None:
    made = verified(waves(("N", 3, 8, 10)), {"kind": "instance", "over": [2, 3]}, input_dtype="uint8")
    got = answers(made, x=IMAGES.astype(np.uint8))[0]
    want = (IMAGES - IMAGES.mean((2, 3), keepdims=True, dtype="d")) / IMAGES.std((2, 3), keepdims=True, dtype="d")
    np.testing.assert_allclose(got, 2 * want, rtol=1e-6, atol=1e-6)


def test_nan_that_counts_for_nothing() -> None:
    x = WAVE.copy()
    x[0, :5] = np.nan
    x[1, 1:] = np.nan
    fields = {"over": [1], "center": "none", "spread": "abs", "eps_at": "zero", "skip_nan": True}
    made = verified(waves(), {"kind": "instance", **fields})
    want = x / np.nanmean(np.abs(x.astype("d")), 1, keepdims=True)
    np.testing.assert_allclose(answers(made, x=x)[0] / 2, want, rtol=1e-6)


def forecaster() -> onnx.ModelProto:
    """[N, 24, 3] -> [N, 5, 3]: a linear map over time."""
    weights = tensor(np.random.default_rng(2).standard_normal((5, 24)) / 5, "w")
    node = helper.make_node("MatMul", ["w", "x"], ["y"])
    return model([node], [value("x", ("N", 24, 3))], [value("y", ("N", 5, 3))], [weights])


def test_revin_scales_the_answer_back_by_the_input() -> None:
    """RevIN (Kim et al., 2022): (x - mean) / sqrt(var + eps) w + b, and the answer by the reverse."""
    w, b = np.array([0.5, 2.0, 1.5]), np.array([0.1, 0.0, -3.0])
    own = {"kind": "instance", "over": [1], "eps": 1e-5, "eps_at": "var", "weight": w.tolist(), "bias": b.tolist()}
    stats = {"inputs": {"x": own}, "outputs": {"y": {**own, "of": "x"}}}
    made = verified(forecaster(), stats)
    x = np.random.default_rng(3).standard_normal((4, 24, 3)) * [1, 10, 100] + [5, 50, -500]
    mean, sd = x.mean(1, keepdims=True), np.sqrt(x.var(1, keepdims=True) + 1e-5)
    inside = ((x - mean) / sd * w + b).astype("f")
    (y,) = answers(forecaster().SerializeToString(), x=inside)
    want = (y.astype("d") - b) / w * sd + mean
    np.testing.assert_allclose(answers(made, x=x.astype("f"))[0], want, rtol=2e-5, atol=1e-3)
    assert pipeline.verify(made, forecaster(), stats).verified
    assert looking.selftest(made).verdict == "VERIFIED"


def test_chronos_scales_quantiles_back() -> None:
    """A context [N, T], answers [N, Q, H]: the scale of a row is that of all its answers."""
    nodes = [helper.make_node("Unsqueeze", ["x", "one"], ["r"]), helper.make_node("MatMul", ["w", "r"], ["y"])]
    nodes[0] = helper.make_node("Reshape", ["x", "shape"], ["r"])
    held = [tensor([0, 24, 1], "shape", np.int64), tensor(np.random.default_rng(1).standard_normal((1, 6, 24)), "w")]
    nodes.append(helper.make_node("Reshape", ["m", "back"], ["y"]))
    nodes[1] = helper.make_node("MatMul", ["w", "r"], ["m"])
    held.append(tensor([0, 2, 3], "back", np.int64))
    made = model(nodes, [value("x", ("N", 24))], [value("y", ("N", 2, 3))], held)
    own = {"kind": "instance", "over": [1], "center": "none", "spread": "abs", "eps_at": "zero"}
    content = verified(made, {"inputs": {"x": own}, "outputs": {"y": {**own, "of": "x"}}})
    x = (np.random.default_rng(0).standard_normal((5, 24)) * 40).astype("f")
    scale = np.abs(x.astype("d")).mean(1)[:, None]
    (y,) = answers(made.SerializeToString(), x=(x / scale).astype("f"))
    np.testing.assert_allclose(answers(content, x=x)[0], y * scale[:, :, None], rtol=1e-5, atol=1e-4)


def test_whisper_as_transformers_has_it() -> None:
    pytest.importorskip("transformers")
    fields = {"kind": "logmel"}
    made = verified(waves(("N", 80, 30)), fields)
    mel = (np.random.default_rng(0).standard_normal((4, 80, 30)) * 4 - 3).astype("f")
    floor = np.maximum(mel, mel.max((1, 2), keepdims=True) - np.float32(8))
    np.testing.assert_allclose(answers(made, x=mel)[0], 2 * ((floor + 4) / 4), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("keys", [["a", "b", "ü"], [7, -3, 10**12]])
@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("shape", [("N", 4), ("N", 6, 4)])
def test_constants_of_the_group_of_a_row(keys: list, default: bool, shape: tuple) -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.standard_normal((3, 4)) * 50, rng.uniform(0.5, 9, (3, 4))
    stats = {"kind": "grouped", "by": "store", "groups": keys, "mean": mean.tolist(), "std": std.tolist()}
    stats |= {"default": keys[1]} if default else {}
    made = waves(shape)
    content = verified(made, stats)
    listed = [keys[0], keys[2], keys[1], keys[1], "?" if isinstance(keys[0], str) else 99]
    x = (rng.standard_normal((5, *shape[1:])) * 30).astype("f")
    ids = np.array(listed, dtype=object if isinstance(keys[0], str) else np.int64)
    got = answers(content, x=x, store=ids)[0]
    for row, group in enumerate([0, 2, 1, 1, 1]):
        want = (x[row].astype("d") - mean[group]) / std[group]
        if row == 4 and not default:
            assert np.isnan(got[row]).all()
        else:
            np.testing.assert_array_equal(got[row], (want.astype("f") * np.float32(2)))
    assert pipeline.verify(content, made, stats).verified
    assert pipeline.opened(content).name  # opens again


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6, unique=True), st.integers(0, 10**6))
def test_groups_go_there_and_back(keys: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (len(keys), 3)
    scaler = make(
        "grouped",
        {"by": "g", "groups": keys, "mean": rng.standard_normal(shape) * 9, "std": rng.uniform(0.1, 9, shape)},
    )
    x, ids = rng.standard_normal((8, 3)), rng.choice(np.array(keys), 8)
    forward, beside = scaler.transform(), {"g": ids}
    inverse = forward.inverse()
    assert inverse is not None
    np.testing.assert_allclose(inverse(forward(x, beside=beside), beside=beside), x, rtol=1e-9, atol=1e-9)
    with pytest.raises(StatisticsError, match="reads 'g' beside"):
        forward(x)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("channels", ["keep", "reversed"])
def test_pixels_as_the_app_has_them(dtype: str, channels: str) -> None:
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    made = waves(("N", 3, 8, 10))
    content = verified(made, {"mean": mean, "std": std, "axis": 1}, layout="nhwc", channels=channels, input_dtype=dtype)
    proto = onnx.load_from_string(content)
    assert [d.dim_value or d.dim_param for d in proto.graph.input[0].type.tensor_type.shape.dim] == ["N", 8, 10, 3]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 10, 3)).astype(dtype)
    rgb = pixels[..., ::-1] if channels == "reversed" else pixels
    want = ((rgb.astype("d") - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(answers(content, x=pixels)[0], 2 * want, rtol=1e-6, atol=1e-6)
    again = pipeline.verify(content, made, {"mean": mean, "std": std, "axis": 1})
    assert again.verified
    assert pipeline.verify(content, made, {"mean": mean[::-1], "std": std, "axis": 1}).verdict == "DIFFERS"


def test_gray_pixels_for_a_model_of_three_channels_and_back() -> None:
    content = verified(waves(("N", 3, 8, 10)), {"mean": [0.5, 0.4, 0.3], "std": [1, 2, 4], "axis": 1}, channels="gray")
    x = np.random.default_rng(0).random((2, 1, 8, 10)).astype("f")
    want = (x.astype("d") - np.array([0.5, 0.4, 0.3]).reshape(3, 1, 1)) / np.array([1, 2, 4]).reshape(3, 1, 1)
    np.testing.assert_allclose(answers(content, x=x)[0], 2 * want, rtol=1e-6, atol=1e-7)
    gray = verified(waves(("N", 1, 8, 10)), {"kind": "gray", "axis": 1})
    x = np.random.default_rng(1).random((2, 3, 8, 10)).astype("f")
    want = (x * np.array([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(1, keepdims=True)
    np.testing.assert_allclose(answers(gray, x=x)[0], 2 * want, rtol=1e-6)


def test_decibels_and_samples() -> None:
    decibels = np.array([[-60.0, -40.0, -20.0, 0.0]], "f")
    np.testing.assert_array_equal(make("decibel", {}).transform()(decibels), [[-0.5, 0, 0.5, 1]])
    np.testing.assert_array_equal(make("decibel", {"clip": True}).transform()(decibels), [[0, 0, 0.5, 1]])
    content = verified(waves(), {"kind": "pcm"}, input_dtype="int16")
    got = answers(content, x=np.array([[-32768, 0, 16384, 32767]], np.int16))[0]
    np.testing.assert_array_equal(got, np.array([[-2, 0, 1, 2 * 32767 / 32768]], "f"))
    np.testing.assert_array_equal(
        make("pcm", {"bits": 8, "unsigned": True}).transform()([[0, 128, 255]]), [[-1, 0, 127 / 128]]
    )


@pytest.mark.parametrize(
    ("stats", "asked", "words"),
    [
        ({"kind": "instance", "over": [0]}, {}, "axis 0 counts rows"),
        ({"kind": "instance", "over": [-2]}, {}, "axis 0 counts the rows"),
        ({"kind": "instance", "over": [3]}, {}, "2 dimensions"),
        ({"kind": "instance", "over": [1], "spread": "mad"}, {}, "expected one of std, abs"),
        ({"kind": "instance", "over": [1], "pad": 0}, {}, "there is no mask"),
        ({"kind": "instance", "over": [1], "eps": 1e-5}, {}, "without eps_at, which says where it enters: var, std"),
        ({"kind": "grouped", "by": "g", "groups": [1, "a"], "mean": [1, 2], "std": [1, 2]}, {}, "all whole numbers or all text"),
        ({"kind": "grouped", "by": "g", "groups": [1, 2], "mean": [1, 2], "std": [1, 0]}, {}, "std is 0"),
        ({"kind": "grouped", "by": "g", "groups": [1, 2], "mean": [1, 2, 3], "std": [1, 2, 3]}, {}, "for each of the 2 groups"),
        ({"kind": "grouped", "by": "two", "groups": [1, 2], "mean": [1, 2], "std": [1, 1]}, {}, "has that name already"),
        ({"outputs": {"y": {"kind": "instance", "over": [1], "of": "z"}}}, {}, "reads input 'z', which the model lacks"),
        ({"outputs": {"y": {"kind": "instance", "over": [1]}}}, {}, "has no inverse"),
        ({"mean": 1.0, "std": 2.0}, {"layout": "nhwc"}, "is no image"),
        ({"mean": 1.0, "std": 2.0}, {"channels": "gray"}, "no known number of channels"),
        ({"mean": 1.0, "std": 2.0}, {"channels": "bgr"}, "choose one of keep, reversed, gray"),
        ({"kind": "pcm", "bits": 1}, {}, "from 2 to 32"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(stats: dict, asked: dict, words: str) -> None:
    with pytest.raises((PlanError, StatisticsError), match=words):
        onnxscale.bake(waves(), stats, **asked)


@pytest.mark.parametrize("dtype", [T.FLOAT16, T.DOUBLE])
def test_other_types(dtype: int) -> None:
    content = verified(waves(dtype=dtype), {"kind": "instance", "over": [1], "eps": 1e-5, "eps_at": "var"})
    x = WAVE if dtype == T.FLOAT16 else WAVE.astype("d")
    want = (x - x.mean(1, keepdims=True, dtype="d")) / np.sqrt(x.var(1, keepdims=True, dtype="d") + 1e-5)
    got = answers(content, x=x)[0]
    np.testing.assert_allclose(
        got, 2 * want, rtol=2e-3 if dtype == T.FLOAT16 else 1e-9, atol=1e-2 if dtype == T.FLOAT16 else 1e-9
    )


@pytest.mark.parametrize(
    "stats",
    [
        {"over": [-1], "eps": 1e-7, "eps_at": "var"}, {"over": [1, 2], "eps": 1e-6, "eps_at": "std"}, {"over": [1], "eps_at": "size"},
        {"over": [-1], "center": "none", "spread": "abs", "eps_at": "zero"}, {"over": [2], "eps": 1e-5, "eps_at": "std", "mask": "m"},
    ],
)  # fmt: skip
def test_a_model_in_float64_sees_the_order_of_a_sum(stats: dict) -> None:
    """The sums of onnxruntime and numpy differ in their last bits, which a float64 model can tell."""
    baked = onnxscale.bake(identity(("N", 7, 50), T.DOUBLE), {"kind": "instance", **stats}).verify()
    assert baked.comparison.verified, baked.comparison
    assert baked.comparison.outputs[0].tolerance < 1e-4 and not baked.comparison.outputs[0].vacuous


def test_it_is_undone_byte_for_byte(tmp_path) -> None:
    made = waves()
    onnx.save(made, tmp_path / "m.onnx")
    stats = {"kind": "instance", "over": [1], "mask": "length", "mask_kind": "length", "eps": 1e-5, "eps_at": "var"}
    onnxscale.bake(tmp_path / "m.onnx", stats).verify().save(tmp_path / "b.onnx")
    assert {i.name for i in looking.inspect(tmp_path / "b.onnx").inputs} == {"x", "length"}
    onnxscale.unbake(tmp_path / "b.onnx", tmp_path / "o.onnx")
    assert (tmp_path / "o.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize(
    ("stats", "words"),
    [
        ({"kind": "binarizer", "threshold": [0.5] * 4}, "discontinuous"),
        ({"kind": "normalizer"}, "per row"),
        ({"kind": "instance", "over": [-1]}, "per row"),
        ({"mean": [1, 2, 3, 4], "std": [1, 2, 3, 4]}, ""),
        ({"kind": "select", "columns": [3, 2, 1, 0], "width": 4}, ""),
    ],
)
def test_the_plan_says_what_no_affine_scaler_does(stats: dict, words: str) -> None:
    notes = " ".join(onnxscale.bake(waves(("N", 4)), stats).plan.placements[0].notes)
    assert words in notes if words else not any(w in notes for w in ("discontinuous", "per row"))
