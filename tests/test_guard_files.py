"""What serving kept of a guard's sums reads back as the summary that the rows themselves have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxscale
from onnxscale.errors import DataError
from onnxscale.fitting.summary import Summary
from onnxscale.guarding import reading
from onnxscale.guarding.values import SUMS
from onnxscale.worker import Runnable, started
from tests import build

X = (build.MEAN + build.STD * build.draw(300, build.WIDTH)).astype(np.float32)


def served(stats: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record of a guarded model, and its sums on three batches."""
    x = X.copy()
    x[5, 1], x[250, 2] = np.nan, np.inf
    baked = onnxscale.bake(build.mlp(), build.stats(features=tuple("abcd")), guard="observe", guard_stats=stats)
    with started(1 << 20) as worker:
        answers = worker.run(Runnable(baked.to_bytes()), [{"x": v} for v in (x[:64], x[64:65], x[65:])])
    assert isinstance(answers, list)
    kept = [{f"x_guard_{k}": a[f"x_guard_{k}"] for k in SUMS} for a in answers if stats and isinstance(a, dict)]
    return dict(baked.record()), kept


@pytest.mark.parametrize("kind", ["npz", "jsonl"])
def test_batches_add_up_to_the_rows(tmp_path: Path, kind: str) -> None:
    record, kept = served()
    path = tmp_path / f"sums.{kind}"
    if kind == "npz":
        np.savez(path, **{k: np.stack([b[k] for b in kept]) for k in kept[0]})
    else:
        path.write_text("\n".join(json.dumps({k: v.tolist() for k, v in b.items()}) for b in kept))
    found = reading.summaries(record, path)["x"]
    wide = X.astype(np.float64)
    wide[5, 1] = wide[250, 2] = np.nan
    assert found.rows == 300 and found.count.tolist() == [300, 299, 299, 300] and found.features == tuple("abcd")
    np.testing.assert_allclose(found.mean, np.nanmean(wide, axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.std, np.nanstd(wide, axis=0), rtol=1e-12)
    assert np.array_equal(found.min, np.nanmin(wide, axis=0)) and np.array_equal(found.max, np.nanmax(wide, axis=0))
    seen = found.profile()
    assert seen.nonfinite.tolist() == [0, 1, 1, 0] and seen.quantiles is None


def test_they_merge_with_what_fit_measures(tmp_path: Path) -> None:
    record, kept = served()
    np.savez(tmp_path / "one.npz", **kept[0])
    np.savez(tmp_path / "rest.npz", **{k: np.stack([b[k] for b in kept[1:]]) for k in kept[0]})
    np.savez(tmp_path / "all.npz", **{k: np.stack([b[k] for b in kept]) for k in kept[0]})
    one, rest, whole = (reading.summaries(record, tmp_path / f"{n}.npz")["x"] for n in ("one", "rest", "all"))
    both = one + Summary.from_json(rest.to_json())
    np.testing.assert_allclose(both.std, whole.std, rtol=1e-14)
    assert both.rows == whole.rows == 300


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    record, kept = served()
    path = tmp_path / "bad.npz"
    np.savez(path, **{k: v for k, v in kept[0].items() if k != "x_guard_n"})
    with pytest.raises(DataError, match="'x_guard_n' missing"):
        reading.summaries(record, path)
    np.savez(path, **{**kept[0], "x_guard_n": kept[0]["x_guard_n"] + 0.5})
    with pytest.raises(DataError, match="not a whole number"):
        reading.summaries(record, path)
    np.savez(path, **{**kept[0], "x_guard_sum": np.zeros(3)})
    with pytest.raises(DataError, match="4 features"):
        reading.summaries(record, path)
    path.write_bytes(b"\x93no")
    with pytest.raises(DataError, match="expected an npz file or JSON lines"):
        reading.summaries(record, path)
    with pytest.raises(DataError, match="bake it with --guard-stats"):
        reading.summaries(served(stats=False)[0], path)
