"""Configurations of transformers' audio extractors, timm and diffusers, written by the libraries where they are installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Reading

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
        ({"feature_extractor_type": "WhisperFeatureExtractor"}, "depends on the clip"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "zero mean and unit variance of its own"),
        ({"feature_extractor_type": "SomethingElse"}, "no feature extractor that is known"),
        ({"do_normalize": False}, "scales nothing"),
        ({"std": 0}, "std is 0"),
    ],
)
def test_audio_that_has_no_constant_scaler_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        sources.read({**AST, **changed})
    with pytest.raises(StatisticsError, match="without 'mean'"):
        sources.read({k: v for k, v in AST.items() if k != "mean"})


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
    with pytest.raises(StatisticsError, match="latents_mean"):
        sources.read({**VAE, "latents_mean": [0.0] * 16}, Reading(dialect="encode"))


def test_latents_of_diffusers_itself(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    made = diffusers.AutoencoderKL(block_out_channels=(32,), scaling_factor=0.25, shift_factor=0.5)
    made.save_config(tmp_path)
    z = np.random.default_rng(0).standard_normal((2, 4))
    found = sources.read(tmp_path / "config.json", Reading(dialect="encode")).inputs[None].transform()
    np.testing.assert_array_equal(found(z), (z - 0.5) * 0.25)
