"""What a guarded model sums up while it serves: checked, and added to what `fit` measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import onnxscale
from onnxscale import fitting
from onnxscale.checking import check_summary, guarded
from onnxscale.errors import DataError
from onnxscale.fitting.summary import Summary
from tests import build

draw = np.random.default_rng(5)
MEAN, STD = np.array([50.0, 1.7e5, -3.0, 0.02]), np.array([5.0, 30.0, 0.5, 0.01])
TRAIN, LATER = (draw.normal(MEAN, STD, (n, 4)).astype(np.float32) for n in (4000, 700))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    fitted = onnxscale.fit(TRAIN)
    baked = onnxscale.bake(build.mlp(4), fitted, guard="observe", guard_stats=True).verify()
    assert baked.comparison is not None and baked.comparison.verified
    baked.save(tmp_path / "guarded.onnx")
    return tmp_path / "guarded.onnx"


def served(model: Path, rows: np.ndarray, size: int = 64) -> list[dict[str, np.ndarray]]:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    (fed,) = (i.name for i in session.get_inputs())
    return [
        dict(zip(names, session.run(None, {fed: rows[at : at + size]}), strict=True))
        for at in range(0, len(rows), size)
    ]


def kept(batches: list[dict[str, np.ndarray]], path: Path) -> Path:
    """As an app keeps them: npz of stacked batches, or a line of JSON for each."""
    guards = [{k: v for k, v in b.items() if "_guard_" in k} for b in batches]
    if path.suffix == ".npz":
        np.savez(path, **{k: np.stack([g[k] for g in guards]) for k, v in guards[0].items() if v.shape == (4,)})
    else:
        path.write_text("".join(json.dumps({k: v.tolist() for k, v in g.items()}) + "\n" for g in guards))
    return path


@pytest.mark.parametrize("name", ["sums.npz", "sums.jsonl"])
def test_the_sums_are_those_of_the_rows(model: Path, name: str) -> None:
    rows = LATER.copy()
    rows[3, 0], rows[5, 2] = np.nan, np.inf
    found = guarded.summary(model, kept(served(model, rows), model.parent / name))
    want = fitting.summarize(rows)
    assert found.rows == want.rows and np.array_equal(found.count, want.count)
    assert np.array_equal(found.min, want.min) and np.array_equal(found.max, want.max)
    np.testing.assert_allclose(found.mean, want.mean, rtol=1e-13)
    np.testing.assert_allclose(found.std, want.std, rtol=1e-10)


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        (LATER, 0, "AS EXPECTED"),
        (((LATER - MEAN) / STD).astype(np.float32), 1, "z-scored"),
        (LATER * np.float32(255), 1, "255 times too large"),
        (LATER[:20], 2, "too few"),
    ],
)
def test_on_the_command_line(model: Path, cli, rows: np.ndarray, code: int, words: str) -> None:
    got = cli("check", model, "--from-guard", kept(served(model, rows), model.parent / "sums.npz"))
    assert got.returncode == code and words in got.stdout, got.stdout + got.stderr


def test_they_merge_with_what_fit_measured(model: Path, cli) -> None:
    folder = model.parent
    sums = kept(served(model, LATER), folder / "sums.npz")
    assert cli("stats", "guard", model, sums, "-o", folder / "served.json").returncode == 0
    part = Summary.from_json(json.loads((folder / "served.json").read_text()))
    np.save(folder / "train.npy", TRAIN)
    assert cli("fit", folder / "train.npy", "--shard", "1/1", "-o", folder / "train.json").returncode == 0
    got = cli("stats", "merge", folder / "train.json", folder / "served.json", "-o", folder / "both.json")
    assert got.returncode == 0, got.stderr
    both = json.loads((folder / "both.json").read_text())
    whole = np.concatenate([TRAIN, LATER]).astype(np.float64)
    assert both["profile"]["rows"] == len(whole) and part.rows == len(LATER)
    np.testing.assert_allclose(both["mean"], whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(both["std"], whole.std(0), rtol=1e-9)


def test_what_does_not_fit_is_named(model: Path, cli, tmp_path: Path) -> None:
    bare = tmp_path / "bare.onnx"
    onnxscale.bake(build.mlp(4), {"mean": MEAN.tolist(), "std": STD.tolist()}).save(bare)
    sums = kept(served(model, LATER), tmp_path / "sums.npz")
    with pytest.raises(DataError, match="--guard-stats"):
        guarded.summary(bare, sums)
    with pytest.raises(DataError, match="guarded are the inputs 'x'"):
        guarded.summary(model, sums, "other")
    got = cli("check", model, sums, "--from-guard", sums)
    assert got.returncode == 2 and "the sums stand for the data" in got.stderr


def test_from_python(model: Path) -> None:
    summary = guarded.summary(model, kept(served(model, LATER), model.parent / "sums.npz"))
    assert check_summary(model, summary).verdict == "as expected"
