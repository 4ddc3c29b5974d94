"""Constants as vision, speech and medical frameworks keep them: each in its own keys, formula and order."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Fitted, Reading

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
UNIT, SPREAD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PIXELS = np.random.default_rng(2).integers(0, 256, (20, 3)).astype(np.float64)


def one(source: Any, **said: Any) -> Fitted:
    return sources.read(source, Reading(**said)).inputs[None]


def close(found: Fitted, want: np.ndarray, x: np.ndarray = PIXELS) -> None:
    np.testing.assert_allclose(found.transform()(x), want, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    "document",
    [
        {"img_norm_cfg": {"mean": MEAN, "std": STD, "to_rgb": True}, "dataset_type": "CocoDataset"},
        {"model": {"data_preprocessor": {"type": "DetDataPreprocessor", "mean": MEAN, "std": STD, "bgr_to_rgb": True}}},
        {"pipeline": [{"type": "Resize", "scale": 2}, {"type": "Normalize", "mean": MEAN, "std": STD, "to_rgb": True}]},
        {"MODEL": {"PIXEL_MEAN": MEAN, "PIXEL_STD": STD}, "INPUT": {"FORMAT": "RGB"}, "VERSION": 2},
        {"PreProcess": {"transform_ops": [{"NormalizeImage": {"scale": "1.0/255.0", "mean": UNIT, "std": SPREAD}}]}},
        {"Preprocess": [{"type": "NormalizeImage", "is_scale": True, "mean": UNIT, "std": SPREAD}], "mode": "paddle"},
    ],
    ids=["mmcv", "mmengine", "pipeline", "detectron2", "paddle, scale", "paddle, is_scale"],
)  # fmt: skip
def test_pixels_of_vision_frameworks(document: dict[str, Any]) -> None:
    close(one(document), (PIXELS - MEAN) / STD)
    close(one(json.dumps(document).encode()), (PIXELS - MEAN) / STD)


def test_the_order_of_the_channels_is_said() -> None:
    detectron = {"MODEL": {"PIXEL_MEAN": MEAN[::-1], "PIXEL_STD": [1.0, 1.0, 1.0]}, "INPUT": {"FORMAT": "BGR"}}
    assert one(detectron).layout == {"Image.BitmapPixelFormat": "Bgr8"}
    assert one({"img_norm_cfg": {"mean": MEAN, "std": STD, "to_rgb": True}}).layout == {
        "Image.BitmapPixelFormat": "Rgb8"
    }
    assert "does not say whether" in one({"MODEL": {"PIXEL_MEAN": MEAN, "PIXEL_STD": STD}}).notes[0]


def test_what_a_document_leaves_open_is_asked_for() -> None:
    with pytest.raises(StatisticsError, match="--accept-defaults"):
        one({"NormalizeImage": {"mean": UNIT, "std": SPREAD}})
    close(one({"NormalizeImage": {"mean": UNIT, "std": SPREAD}}, accept_defaults=True), (PIXELS / 255 - UNIT) / SPREAD)
    two = [{"type": "Normalize", "mean": m, "std": STD, "to_rgb": True} for m in (MEAN, MEAN, MEAN[::-1])]
    with pytest.raises(StatisticsError, match="several normalizations of pixels"):
        one({"train": two[0], "val": two[1], "test": two[2]})
    close(one({"train": two[0], "val": two[1]}), (PIXELS - MEAN) / STD)


def test_albumentations_own_document(tmp_path: Path) -> None:
    albumentations = pytest.importorskip("albumentations")
    normalize = albumentations.Normalize(mean=UNIT, std=SPREAD, max_pixel_value=255.0)
    made = albumentations.Compose([albumentations.Resize(8, 8), normalize])
    albumentations.save(made, tmp_path / "a.json")
    image = PIXELS[:16].reshape(4, 4, 3).astype(np.uint8)
    want = normalize(image=image)["image"]
    np.testing.assert_allclose(
        one(tmp_path / "a.json").transform()(image.astype(np.float64)), want, rtol=2e-6, atol=2e-6
    )


FRAMES = np.random.default_rng(3).normal(9, 4, (500, 5))
SUMS, SQUARES = FRAMES.sum(0), (FRAMES**2).sum(0)


def test_sums_of_wenet_and_espnet(tmp_path: Path) -> None:
    want = (FRAMES - FRAMES.mean(0)) / FRAMES.std(0)
    wenet = {"mean_stat": SUMS.tolist(), "var_stat": SQUARES.tolist(), "frame_num": 500}
    np.testing.assert_allclose(one(json.dumps(wenet).encode()).transform()(FRAMES), want, rtol=1e-10, atol=1e-12)
    np.savez(tmp_path / "feats_stats.npz", count=500, sum=SUMS, sum_square=SQUARES)
    np.testing.assert_allclose(one(tmp_path / "feats_stats.npz").transform()(FRAMES), want, rtol=1e-10, atol=1e-12)
    with pytest.raises(StatisticsError, match="below zero"):
        one(wenet | {"frame_num": 5000, "var_stat": [1.0] * 5})


@pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
def test_a_matrix_that_kaldi_wrote(text: bool, tmp_path: Path) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    matrix = np.vstack([np.append(SUMS, 500.0), np.append(SQUARES, 0.0)])
    kaldiio.save_ark(str(tmp_path / "cmvn.ark"), {"global": matrix}, text=text)
    kaldiio.save_mat(str(tmp_path / "cmvn.mat"), matrix) if not text else None
    with pytest.raises(StatisticsError, match=r"--dialect mean-var.*--dialect mean-only"):
        one(tmp_path / "cmvn.ark")
    for name in ("cmvn.ark", "cmvn.mat") if not text else ("cmvn.ark",):
        found = one(tmp_path / name, dialect="mean-var").transform()(FRAMES)
        np.testing.assert_allclose(
            found, (FRAMES - FRAMES.mean(0)) / FRAMES.std(0), rtol=1e-4 if text else 1e-9, atol=1e-4 if text else 1e-9
        )
        only = one(tmp_path / name, dialect="mean-only").transform()(FRAMES)
        np.testing.assert_allclose(only, FRAMES - FRAMES.mean(0), rtol=1e-3, atol=1e-3)
    (tmp_path / "cut").write_bytes((tmp_path / "cmvn.ark").read_bytes()[:-9])
    with pytest.raises(StatisticsError):
        one(tmp_path / "cut", dialect="mean-var")


def test_intensities_of_nnunet() -> None:
    channel = {
        "max": 3071.0,
        "mean": 79.5,
        "median": 80.0,
        "min": -1024.0,
        "percentile_00_5": -100.5,
        "percentile_99_5": 240.5,
        "std": 70.2,
    }
    plans = {
        "plans_name": "nnUNetPlans", "configurations": {"3d_fullres": {"normalization_schemes": ["CTNormalization"]}},
        "foreground_intensity_properties_per_channel": {"0": channel},
    }  # fmt: skip
    x = np.linspace(-1000, 1000, 50)[:, None]
    close(one(plans), (np.clip(x, -100.5, 240.5) - 79.5) / 70.2, x)
    with pytest.raises(StatisticsError, match="ZScoreNormalization"):
        one(plans | {"configurations": {"2d": {"normalization_schemes": ["ZScoreNormalization"]}}})
    fingerprint = {"spacings": [[1, 1, 1]], "foreground_intensity_properties_per_channel": {"0": channel}}
    with pytest.raises(StatisticsError, match="--dialect CTNormalization"):
        one(fingerprint)
    close(one(fingerprint, dialect="CTNormalization"), (np.clip(x, -100.5, 240.5) - 79.5) / 70.2, x)


def test_documents_that_say_in_a_word_which_scaler_it_is() -> None:
    x = np.array([[2.0, 5.0]])
    full = {"mean": [1, 2], "std": [2, 3], "min": [0, 1], "max": [4, 9]}
    for word in ("StandardScaler", "z-score", "standardization"):
        np.testing.assert_array_equal(one(full | {"type": word}).transform()(x), (x - [1, 2]) / [2.0, 3.0])
    np.testing.assert_allclose(one(full | {"method": "min-max"}).transform()(x), (x - [0, 1]) / [4.0, 8.0], rtol=1e-15)
    with pytest.raises(StatisticsError, match="of the kind 'standard', not 'minmax'"):
        one({"type": "minmax", "mean": [1], "std": [2]})
    with pytest.raises(StatisticsError, match="unknown keys 'type'"):
        one({"type": "weird", "mean": [1], "std": [2]})
    with pytest.raises(StatisticsError, match="says 'minmax' itself"):
        one(full | {"type": "minmax"}, kind="standard")
    listed = {
        "features": [{"name": "age", "mean": 1, "std": 2}, {"name": "fare", "mean": 2, "std": 3}],
        "created_at": "2026-01-01",
    }
    assert one(listed).features == ("age", "fare")


def test_an_epsilon_is_read_in_the_way_that_is_said() -> None:
    held, x = {"mean": [1.0], "std": [0.5], "eps": 1e-3}, np.array([2.0])
    with pytest.raises(StatisticsError, match=r"--dialect plus-eps: .*--dialect max-eps"):
        one(held)
    assert one(held, dialect="plus-eps").transform()(x)[0] == 1 / (0.5 + 1e-3)
    assert one(held | {"std": [0.0]}, dialect="max-eps").transform()(x)[0] == 1 / 1e-3
    both = {"mean": [1.0], "var": [0.25], "epsilon": 1e-3}
    assert one(both, dialect="eps-inside").transform()(x)[0] == 1 / np.sqrt(0.25 + 1e-3)
    assert one(both, dialect="plus-eps").transform()(x)[0] == 1 / (0.5 + 1e-3)


def test_one_factor_beside_several_means_is_asked_for() -> None:
    opencv = {"mean": [104.0, 117.0, 123.0], "scale": 0.017}  # blobFromImage multiplies
    with pytest.raises(StatisticsError, match=r"--dialect standard: .*--dialect scale-mul"):
        one(opencv)
    close(one(opencv, dialect="scale-mul"), (PIXELS - opencv["mean"]) * 0.017)
    close(one({"mean": [104.0, 117.0, 123.0], "scale": [2.0, 3.0, 4.0]}), (PIXELS - opencv["mean"]) / [2.0, 3.0, 4.0])


def test_a_damaged_matrix_of_kaldis_is_refused() -> None:
    for data in (
        b"[ 1 2 3\n 4 5 ]\n",
        b"[ 1 2-3 3\n 4 5 6 ]\n",
        b"utt [ 1 2 3\n 4e 5 6 ]",
        b"\0BDM \4\2\0\0\0\4\3\0\0\0abc",
        b"\0BFM \4",
    ):
        with pytest.raises(StatisticsError):
            one(data, dialect="mean-var")
    started = time.monotonic()
    with pytest.raises(StatisticsError):
        one(b"[ 1 1" + b"\n" * 900_000 + b" ")
    assert time.monotonic() - started < 20
