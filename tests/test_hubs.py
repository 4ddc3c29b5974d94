"""Configurations of transformers' audio extractors, timm and diffusers, written by the libraries where they are installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import onnxscale
from onnxscale import origins, ports, sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Reading
from tests import build, vision

vision.torchvision()
AST = {
    "feature_extractor_type": "ASTFeatureExtractor",
    "sampling_rate": 16000,
    "do_normalize": True,
    "mean": -4.2677393,
    "std": 4.5689974,
}
TIMM = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
VAE = {
    "_class_name": "AutoencoderKL",
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "latents_mean": None,
    "latents_std": None,
}


def transform(content: dict, **how: str):  # type: ignore[no-untyped-def, type-arg]
    return sources.read(content, Reading(**how)).inputs[None].transform()


def test_ast_divides_by_twice_the_std() -> None:
    x = np.random.default_rng(0).standard_normal((50, 128)) * 4
    np.testing.assert_array_equal(transform(AST)(x), (x - AST["mean"]) / (AST["std"] * 2))


def test_ast_of_transformers_itself(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    try:
        extractor = transformers.ASTFeatureExtractor(mean=-3.5, std=2.25)
    except ImportError as error:
        pytest.skip(f"transformers cannot make it here: {str(error)[:60]}")
    extractor.save_pretrained(tmp_path)
    x = np.random.default_rng(0).standard_normal((50, 128)) * 4
    found = sources.read(tmp_path).inputs[None].transform()
    np.testing.assert_array_equal(found(x), extractor.normalize(x))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"feature_extractor_type": "SeamlessM4TFeatureExtractor"}, "two frames side by side"),
        ({"feature_extractor_type": "ClapFeatureExtractor"}, "relative to each clip"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "without 'return_attention_mask'"),
        ({"feature_extractor_type": "SomethingElse"}, "no feature extractor that is known"),
        ({"do_normalize": False}, "scales nothing"),
        ({"do_normalize": "yes"}, "expected true or false"),
        ({"std": 0}, "std is 0"),
    ],
)
def test_audio_that_no_step_stands_for_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        sources.read({**AST, **changed})
    with pytest.raises(StatisticsError, match="without 'mean'"):
        sources.read({k: v for k, v in AST.items() if k != "mean"})


CLIPS = [np.random.default_rng(n).standard_normal(n).astype("f") * 3 + 1 for n in (400, 123, 57)]


@pytest.mark.parametrize("masked", [True, False])
def test_wav2vec2_of_transformers_itself(tmp_path: Path, masked: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=masked, padding_value=0.0)
    extractor.save_pretrained(tmp_path)
    found = sources.read(tmp_path).inputs[None].transform()
    want = extractor(CLIPS, sampling_rate=16000, padding=True, return_tensors="np")
    raw = np.stack([np.pad(c, (0, 400 - len(c))) for c in CLIPS])
    beside = {"attention_mask": want["attention_mask"]} if masked else {}
    assert [c.name for c in found.reads] == list(beside)
    np.testing.assert_allclose(found(raw, beside=beside), want["input_values"], rtol=2e-5, atol=2e-6)


def test_speech2text_of_transformers_itself(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    cmvn = transformers.Speech2TextFeatureExtractor.utterance_cmvn
    content = {
        "feature_extractor_type": "Speech2TextFeatureExtractor", "sampling_rate": 16000, "do_ceptral_normalize": True,
        "normalize_means": True, "normalize_vars": True, "padding_value": 0.0,
    }  # fmt: skip
    x = np.random.default_rng(0).standard_normal((3, 50, 8)).astype("f") * 4 + 2
    lengths = [50, 20, 2]
    beside = {"attention_mask": np.arange(50) < np.array(lengths)[:, None]}
    want = np.stack([cmvn(row.copy(), n) for row, n in zip(x, lengths, strict=True)])
    np.testing.assert_allclose(transform(content)(x, beside=beside), want, rtol=1e-4, atol=1e-5)


def test_whisper_of_transformers_itself(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    extractor = transformers.WhisperFeatureExtractor(chunk_length=2)
    extractor.save_pretrained(tmp_path)
    found = sources.read(tmp_path).inputs[None].transform()
    wave = np.sin(np.arange(32000) / 7.0).astype("f") * np.linspace(0, 1, 32000, dtype="f")
    want = extractor([wave], sampling_rate=16000, return_tensors="np")["input_features"]
    audio = pytest.importorskip("transformers.audio_utils")
    mel = audio.spectrogram(
        wave, audio.window_function(extractor.n_fft, "hann"), frame_length=extractor.n_fft, hop_length=extractor.hop_length,
        power=2.0, mel_filters=extractor.mel_filters, log_mel="log10",
    )[:, :-1]  # fmt: skip
    np.testing.assert_allclose(
        found(mel[None]), want, rtol=1e-3, atol=2e-4
    )  # transformers takes torch's float32 spectra


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
PROCESSORS = [
    "ViT",
    "CLIP",
    "DeiT",
    "ConvNext",
    "Beit",
    "EfficientNet",
    "MobileViT",
    "Tvp",
    "Vivit",
    "Siglip",
    "GLPN",
    "Swin2SR",
    "LayoutLMv2",
]


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("other", [False, True])
def test_image_processors_of_transformers_itself(name: str, other: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("PIL", reason="needs pillow")
    made = getattr(transformers, f"{name}ImageProcessorPil", None) or getattr(
        transformers, f"{name}ImageProcessor", None
    )
    still = {"do_resize": False, "do_center_crop": False, "do_pad": False}
    if other:
        still |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.125], "rescale_factor": 1 / 127.5}
        still |= {"EfficientNet": {"rescale_offset": True, "include_top": False}, "Vivit": {"offset": False}}.get(
            name, {}
        )
    still |= {"apply_ocr": False} if name == "LayoutLMv2" else {}
    try:
        processor = made(**still)
    except (ImportError, TypeError) as error:
        pytest.skip(f"this transformers cannot make it here: {str(error)[:60]}")
    processor.save_pretrained(tmp_path)
    images: object = [PIXELS.transpose(1, 2, 0)]
    images = [images] if name in ("Tvp", "Vivit") else images
    want = np.asarray(processor(images, return_tensors="np")["pixel_values"]).reshape(3, 16, 16)
    found = sources.read(tmp_path).inputs[None].transform()
    np.testing.assert_allclose(found(PIXELS[None], 1)[0], want, rtol=1e-5, atol=2e-6)  # theirs is float32


@pytest.mark.parametrize("name", ["Pix2Struct", "Kosmos2_5"])
def test_processors_that_scale_image_by_image_stay_with_the_app(name: str) -> None:
    with pytest.raises(StatisticsError, match="its own mean and std before it cuts it into patches"):
        sources.read({"image_processor_type": f"{name}ImageProcessor", "do_normalize": True})


def test_uvdoc_turns_the_channels_round() -> None:
    content = {"image_processor_type": "UVDocImageProcessor", "do_rescale": True, "rescale_factor": 1 / 255}
    found = sources.read(content).inputs[None].transform()
    np.testing.assert_array_equal(found([[0.0, 51.0, 255.0]], 1), [[1.0, 51 * (1 / 255), 0.0]])


def test_a_processor_whose_own_flag_is_missing_asks_for_it() -> None:
    content = {
        "image_processor_type": "VivitImageProcessor",
        "do_rescale": True,
        "rescale_factor": 1 / 127.5,
        "do_normalize": False,
    }
    with pytest.raises(StatisticsError, match=r"'offset' is missing; its default .* is True"):
        sources.read(content)
    accepted = sources.read(content, Reading(accept_defaults=True)).inputs[None].transform()
    np.testing.assert_allclose(accepted([0.0, 255.0]), [-1.0, 1.0])


LEROBOT = {
    "observation.state": {
        "mean": [1.0, 2.0], "std": [0.5, 0.0], "min": [0.0, 2.0], "max": [3.0, 2.0], "q01": [0.1, 2.0], "q99": [2.9, 2.0],
    },
    "observation.images.top": {k: [[[0.4]], [[0.5]], [[0.6]]] for k in ("mean", "std", "min", "max")},
    "action": {"mean": [3.0], "std": [2.0], "min": [-4.0], "max": [6.0], "count": [9]},
    "timestamp": {"mean": [3.0], "std": [2.0], "min": [-4.0], "max": [6.0], "count": [9]},
}  # fmt: skip


def test_lerobot_scales_observations_in_and_the_action_back() -> None:
    found = sources.read(LEROBOT, Reading(dialect="mean-std"))
    assert (set(found.inputs), set(found.outputs)) == ({"observation.state", "observation.images.top"}, {"action"})
    x = np.array([[1.5, 2.0], [0.0, 2.0]])
    np.testing.assert_array_equal(
        found.inputs["observation.state"].transform()(x), (x - [1.0, 2.0]) / (np.array([0.5, 0.0]) + 1e-8)
    )
    back = found.outputs["action"].transform().inverse()
    np.testing.assert_array_equal(back([[0.5]]), [[4.0]])
    image = found.inputs["observation.images.top"]
    assert (image.axis, image.transform().shape) == (-3, (3,))
    ends = sources.read(LEROBOT, Reading(dialect="min-max")).inputs["observation.state"].transform()
    np.testing.assert_array_equal(ends([[0.0, 2.0], [3.0, 2.0]]), [[-1, -1], [1, -1]])
    picked = sources.read(LEROBOT, Reading(dialect="quantiles", pick="observation.state")).inputs[None].transform()
    np.testing.assert_allclose(picked([[0.1, 2.0], [2.9, 2.0]]), [[-1, -1], [1, -1]])


def test_lerobot_asks_how_and_says_what_is_missing() -> None:
    with pytest.raises(StatisticsError, match="--dialect mean-std"):
        sources.read(LEROBOT)
    with pytest.raises(StatisticsError, match=r"has no 'q10', 'q90'"):
        sources.read(LEROBOT, Reading(dialect="quantile10"))


MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def test_sentence_transformers_normalizes_what_leaves_the_model(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps(MODULES))
    baked = onnxscale.bake(build.mlp(), tmp_path).verify()
    assert baked.comparison is not None and baked.comparison.verified
    (x,) = (np.random.default_rng(0).standard_normal((6, 4)).astype("f") for _ in range(1))
    want, got = (
        ort.InferenceSession(m).run(None, {"x": x})[0] for m in (build.mlp().SerializeToString(), baked.to_bytes())
    )
    length = np.maximum(np.linalg.norm(want.astype("d"), axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(got, want / length, rtol=1e-6)
    again = origins.read(baked.to_bytes()).outputs[None]
    assert again.applied and again.transform().steps[0].op == "RowNorm"
    assert [p.outside.prose() for p in ports.of(baked.to_bytes()) if p.role == "output"] != ["raw"]
    with pytest.raises(StatisticsError, match="none of them is Normalize"):
        sources.read(MODULES[:2])
    with pytest.raises(StatisticsError, match="comes last"):
        sources.read([*MODULES, {"idx": 3, "type": "sentence_transformers.models.Dense"}])


@pytest.mark.parametrize("content", [TIMM, {"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": TIMM}])
def test_timm_divides_by_255_first(content: dict[str, object]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 5)).astype(np.float64)
    mean, std = (np.reshape(TIMM[k], (3, 1, 1)) for k in ("mean", "std"))
    found = sources.read(content).inputs[None]
    np.testing.assert_array_equal(found.transform()(x, 1), (x / 255 - mean) / std)
    assert "0 to 255" in found.notes[0]


def test_timm_of_timm_itself(tmp_path: Path) -> None:
    models = pytest.importorskip("timm.models", reason="needs timm")
    config = models.PretrainedCfg(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)).to_dict()
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x", "pretrained_cfg": config}))
    x = np.random.default_rng(0).integers(0, 256, (4, 3)).astype(np.float64)
    found = sources.read(tmp_path / "config.json").inputs[None].transform()
    np.testing.assert_array_equal(found(x, 1), (x / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4])


def test_timm_with_another_number_of_channels_is_refused() -> None:
    with pytest.raises(StatisticsError, match="has 1 channels"):
        sources.read({**TIMM, "input_size": [1, 28, 28]})


def test_latents_ask_for_their_direction() -> None:
    z = np.random.default_rng(0).standard_normal((2, 16, 4, 4))
    np.testing.assert_array_equal(transform(VAE, dialect="encode")(z), (z - 0.1159) * 0.3611)
    np.testing.assert_array_equal(transform(VAE, dialect="decode")(z), z / 0.3611 + 0.1159)
    np.testing.assert_array_equal(transform({**VAE, "shift_factor": None}, dialect="encode")(z), z * 0.3611)
    with pytest.raises(StatisticsError, match=r"--dialect encode: .*--dialect decode: "):
        sources.read(VAE)
    mean, std = np.linspace(-1, 1, 16), np.linspace(0.5, 2, 16)
    held = {**VAE, "shift_factor": None, "latents_mean": mean.tolist(), "latents_std": std.tolist()}
    m, s = mean.reshape(-1, 1, 1), std.reshape(-1, 1, 1)
    np.testing.assert_array_equal(transform(held, dialect="encode")(z, 1), (z - m) * 0.3611 / s)
    np.testing.assert_array_equal(transform(held, dialect="decode")(z, 1), z * s / 0.3611 + m)
    wan = {k: v for k, v in held.items() if k not in ("scaling_factor", "shift_factor")} | {
        "_class_name": "AutoencoderKLWan"
    }
    np.testing.assert_array_equal(transform(wan, dialect="encode")(z, 1), (z - m) / s)
    with pytest.raises(StatisticsError, match="latents_mean without"):
        sources.read({**VAE, "latents_mean": [0.0] * 16}, Reading(dialect="encode"))


def test_latents_of_diffusers_itself(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    made = diffusers.AutoencoderKL(block_out_channels=(32,), scaling_factor=0.25, shift_factor=0.5)
    made.save_config(tmp_path)
    z = np.random.default_rng(0).standard_normal((2, 4))
    found = sources.read(tmp_path / "config.json", Reading(dialect="encode")).inputs[None].transform()
    np.testing.assert_array_equal(found(z), (z - 0.5) * 0.25)


def test_the_modules_that_sentence_transformers_itself_writes(tmp_path: Path) -> None:
    st = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    try:
        modules = __import__("sentence_transformers.models", fromlist=["Normalize"])
        parts = [modules.BoW(vocab=["a", "b", "c", "d"]), modules.Normalize()]
        st.SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path))
    except (ImportError, AttributeError, TypeError) as error:
        pytest.skip(f"this sentence-transformers cannot make one here: {str(error)[:80]}")
    found = sources.read(tmp_path).outputs[None]
    x = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_allclose(found.transform()(x), x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-12)
