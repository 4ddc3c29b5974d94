"""check on what is no plain table: pictures in either layout, steps of a series, batches, tables of pandas with their row labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

import onnxscale
from onnxscale.checking import check
from onnxscale.errors import DataError, StatisticsError


def pieces(count: int, seed: int) -> np.ndarray:
    """Pieces of two photographs, uint8 of (count, 64, 64, 3): pixels of one are alike, so few of them drift."""
    datasets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("PIL")
    photos = datasets.load_sample_images().images
    draw = np.random.default_rng(seed)
    found = []
    for i in range(count):
        y, x = draw.integers(0, 427 - 64), draw.integers(0, 640 - 64)
        found.append(photos[i % 2][y : y + 64, x : x + 64])
    return np.stack(found)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory):
    """Statistics of a folder of pictures, as the channels last and first are fed with them."""
    image = pytest.importorskip("PIL.Image")
    home = tmp_path_factory.mktemp("pictures")
    for i, one in enumerate(pieces(60, 0)):
        image.fromarray(one).save(home / f"{i}.png")
    return onnxscale.fit(home)


@pytest.mark.parametrize("first", [False, True], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize("seed", range(3))
def test_pictures_in_bgr_are_told_in_both_layouts_though_few_pictures_drift(
    pictures, tmp_path, first: bool, seed: int
) -> None:
    rest = pieces(60, seed + 1)
    turned = rest[..., ::-1]
    for x, wrong in ((rest, False), (turned, True)):
        laid = np.ascontiguousarray(np.moveaxis(x, -1, 1) if first else x)
        np.save(tmp_path / "x.npy", laid)
        for data in (laid, tmp_path / "x.npy", iter([laid[:30], laid[30:]])):
            found = check(pictures, data)
            assert (found.verdict == "bgr") == wrong, found.story
            assert wrong or found.level != "mismatch"
            assert found.width == 3 and found.rows == 60 * 64 * 64


def test_what_was_done_to_pictures_before_they_came(pictures) -> None:
    scaler = pictures.inputs[None].scaler
    x = np.moveaxis(pieces(60, 4), -1, 1).astype(np.float32)
    mean, std = (np.asarray(v, np.float32).reshape(1, 3, 1, 1) for v in (scaler.mean, scaler.std))
    for given, verdict in ((x / 255, "/255"), (x * 255, "x255"), ((x / 255 - mean) / std, "z-scored")):
        assert check(pictures, given).verdict == verdict
    forgotten = check(pictures, (x - mean) / std)
    assert forgotten.verdict == "half-scaled" and "rescale before it was forgotten" in forgotten.story


def test_a_series_is_held_against_statistics_of_its_steps(cli, tmp_path) -> None:
    draw = np.random.default_rng(0)
    steps = np.arange(5) * 10 + np.arange(12)[:, None] * 3
    rows = draw.normal(steps, 1 + np.arange(5), (500, 12, 5))
    np.save(tmp_path / "train.npy", rows)
    assert cli("fit", tmp_path / "train.npy", "--per-step", "-o", tmp_path / "s.json").returncode == 0
    new = draw.normal(steps, 1 + np.arange(5), (100, 12, 5))
    np.save(tmp_path / "new.npy", new)
    assert cli("check", tmp_path / "s.json", tmp_path / "new.npy").returncode == 0
    stats = onnxscale.read(tmp_path / "s.json")
    for data in (new, new.reshape(100, -1), iter([new[:50], new[50:]])):
        assert check(stats, data).verdict == "as expected"
    assert check(stats, (new - rows.mean(0)) / rows.std(0)).verdict == "z-scored"
    with pytest.raises(DataError, match=r"shape \(100, 12, 4\).* 60 features"):
        check(stats, new[..., :4])


def test_no_batch_of_an_iterator_is_lost_where_the_model_has_names() -> None:
    pandas = pytest.importorskip("pandas")
    rows = np.random.default_rng(0).normal(5, 2, (400, 3))
    stats = onnxscale.fit(pandas.DataFrame(rows, columns=["a", "b", "c"]))
    for batches in ([rows[:100]], [rows[:100], rows[100:]]):
        assert check(stats, iter(batches)).rows == sum(map(len, batches))


def test_row_labels_that_pandas_writes_are_no_feature(cli, tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = np.random.default_rng(0).normal(5, 2, (400, 2))
    shuffled = pandas.DataFrame(rows, columns=["a", "b"]).sample(frac=1, random_state=0)
    shuffled.to_parquet(tmp_path / "t.parquet")
    assert cli("fit", tmp_path / "t.parquet", "-o", tmp_path / "s.json").returncode == 0
    assert json.loads((tmp_path / "s.json").read_text())["features"] == ["a", "b"]
    plain = onnxscale.fit(rows)
    assert check(plain, tmp_path / "t.parquet").verdict == "as expected"
    named = onnxscale.fit(tmp_path / "t.parquet", columns=["__index_level_0__"])
    assert named.inputs[None].features == ("__index_level_0__",)


def test_robust_scaled_twice() -> None:
    rows = np.random.default_rng(0).gamma(3, 20, (2000, 4)) + np.array([0.0, 100.0, 500.0, 9.0])
    low, middle, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
    once = (rows - middle) / (high - low)
    assert check(onnxscale.fit(rows), once[:200]).verdict == "robust-scaled"
    assert check(onnxscale.fit(rows), ((once - middle) / (high - low))[:200]).verdict == "twice"


@pytest.mark.parametrize("name", ["stats.py", "stats.txt"])
def test_a_program_is_no_table_of_statistics(tmp_path, name: str) -> None:
    (tmp_path / name).write_text("import os, sys\nimport numpy as np\nmean = [1.0, 2.0]\n")
    with pytest.raises(StatisticsError, match="Python program" if name == "stats.py" else "not a format that is known"):
        onnxscale.read(tmp_path / name)


def test_rows_of_data_given_for_statistics_are_sent_to_fit(tmp_path) -> None:
    (tmp_path / "rows.csv").write_text("alcohol,ash\n13.2,2.1\n12.8,2.4\n")
    with pytest.raises(StatisticsError, match="onnxscale fit makes statistics"):
        onnxscale.read(tmp_path / "rows.csv")
