"""Kinds that fit makes, each the scaler that its framework fits on the same rows; and pictures, groups, steps on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from onnxscale import fitting, sources
from onnxscale.cli import app
from onnxscale.errors import DataError

sk = pytest.importorskip("sklearn.preprocessing", reason="needs scikit-learn")
DRAW = np.random.default_rng(11)
TABLE = np.stack(
    [DRAW.normal(3, 2, 4000), DRAW.lognormal(0, 1, 4000), DRAW.integers(0, 9, 4000) + 1.0, np.full(4000, 2.5)], axis=1
)


def scaled(found: Any, rows: np.ndarray) -> np.ndarray:
    return np.asarray(found.inputs[None].transform()(rows))


def holes(rows: np.ndarray) -> np.ndarray:
    made = rows.copy()
    made[::13, 0] = np.nan
    return made


@pytest.mark.parametrize("output", ["uniform", "normal"])
@pytest.mark.parametrize("n_quantiles", [7, 1000, 100_000])
def test_quantile_is_scikit_learns(output: str, n_quantiles: int) -> None:
    rows = holes(TABLE)
    theirs = sk.QuantileTransformer(
        n_quantiles=min(n_quantiles, len(rows)), output_distribution=output, subsample=None
    ).fit(rows)
    found = fitting.fit(rows, "quantile", n_quantiles=n_quantiles, output=output)
    scaler: Any = found.inputs[None].scaler
    np.testing.assert_array_equal(scaler.quantiles, theirs.quantiles_)
    np.testing.assert_array_equal(scaler.references, theirs.references_)
    assert scaler.output == output
    assert any("as many as there are rows" in w for w in found.inputs[None].warnings) == (n_quantiles > len(rows))


@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
def test_power_is_scikit_learns(method: str) -> None:
    rows = TABLE[:, :3] if method == "yeo-johnson" else TABLE[:, 1:3]
    theirs = sk.PowerTransformer(method=method).fit(rows)
    found = fitting.fit(rows, "power", method=method)
    np.testing.assert_allclose(scaled(found, rows), theirs.transform(rows), atol=3e-6)
    bare = fitting.fit(rows, "power", method=method, standardize=False)
    assert bare.inputs[None].scaler.mean is None  # type: ignore[attr-defined]


def test_power_tells_of_the_rows_it_reads() -> None:
    told: list[int] = []
    fitting.fit(TABLE[:, :2], "power", exact=False, tell=told.append)
    assert sum(told) == 3 * len(TABLE)  # moments, sums of logarithms, and one step: the start saw all rows


def test_power_leaves_a_constant_column_at_zero() -> None:
    assert np.abs(scaled(fitting.fit(TABLE, "power"), TABLE)[:, 3]).max() < 1e-12


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_imputer_is_scikit_learns(strategy: str) -> None:
    from sklearn.impute import SimpleImputer

    rows = holes(TABLE)
    theirs = SimpleImputer(strategy=strategy).fit(rows)
    np.testing.assert_allclose(
        fitting.fit(rows, "imputer", strategy=strategy).inputs[None].scaler.value, theirs.statistics_, rtol=1e-14
    )  # type: ignore[attr-defined]


def test_clip_is_numpys() -> None:
    scaler: Any = fitting.fit(TABLE, "clip", bounds=(5, 90)).inputs[None].scaler
    np.testing.assert_array_equal([scaler.low, scaler.high], np.percentile(TABLE, [5, 90], axis=0))


def test_by_groups() -> None:
    pl = pytest.importorskip("polars")
    store = np.where(np.arange(4000) % 3 == 0, "b", "a")
    frame = pl.DataFrame({"x": TABLE[:, 0], "y": TABLE[:, 1], "store": store, "price": TABLE[:, 2]})
    found = fitting.fit(frame, group="store", target="price")
    scaler: Any = found.inputs[None].scaler
    assert scaler.kind == "grouped" and scaler.groups == ("a", "b") and scaler.by == "store"
    for i, key in enumerate("ab"):
        np.testing.assert_allclose(scaler.mean[i], TABLE[store == key, :2].mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(scaler.std[i], TABLE[store == key, :2].std(axis=0), rtol=1e-13)
    assert found.outputs[None].scaler.kind == "standard"
    with pytest.raises(DataError, match="only mean and std"):
        fitting.fit(frame, "robust", group="store")
    with pytest.raises(DataError, match="--group COLUMN"):
        fitting.fit(frame.drop("store"), "grouped")


def test_a_group_without_values_is_told() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"x": [1.0, 3.0, None, 5.0], "g": [1, 1, 2, None]})
    found = fitting.fit(frame, group="g").inputs[None]
    scaler: Any = found.scaler
    assert scaler.groups == (1, 2) and scaler.mean.ravel().tolist() == [2, 3]
    said = " ".join(found.warnings)
    assert "1 of 2 groups have no value" in said and "1 rows have no g" in said


@pytest.mark.parametrize("kind", ["standard", "minmax", "maxabs", "robust"])
def test_per_step(kind: str) -> None:
    cube = DRAW.normal(size=(300, 6, 2)) * np.arange(1, 13).reshape(6, 2)
    found = fitting.fit(cube, kind, steps=True)
    flat = fitting.fit(cube.reshape(300, 12), kind)
    np.testing.assert_array_equal(scaled(found, cube), scaled(flat, cube.reshape(300, 12)).reshape(cube.shape))
    over = fitting.fit(np.moveaxis(cube, 2, 1), kind, axis=1)
    assert over.inputs[None].axis == 1
    np.testing.assert_allclose(scaled(over, cube), scaled(fitting.fit(cube.reshape(-1, 2), kind), cube))
    with pytest.raises(DataError, match="no statistics by step"):
        fitting.fit(cube, "quantile", steps=True)


def test_what_reads_again_is_refused_where_it_cannot() -> None:
    with pytest.raises(DataError, match="iterator"):
        fitting.fit(iter([TABLE]), "power", exact=False)


def run(*arguments: Any) -> Any:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done


def test_pictures_on_the_command_line(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    kept = []
    for i in range(6):
        values = DRAW.integers(0, 256, (9, 7, 3)).astype(np.uint8)
        image.fromarray(values).save(tmp_path / f"{i}.png")
        kept.append(values.reshape(-1, 3))
    rows = np.concatenate(kept)
    done = run("fit", tmp_path, "-o", tmp_path / "stats.json")
    assert "red" in done.output and "378 pixels of 6 pictures" in done.output
    read: Any = sources.read(tmp_path / "stats.json").inputs[None]
    np.testing.assert_allclose(read.scaler.mean, rows.mean(axis=0) / 255, rtol=1e-15)
    assert read.profile.quantiles.shape == (3, 65) and read.profile.about["pictures"] == 6
    for i in (1, 2):
        run("fit", tmp_path, "--shard", f"{i}/2", "-o", tmp_path / f"part{i}.json")
    run("stats", "merge", tmp_path / "part1.json", tmp_path / "part2.json", "-o", tmp_path / "merged.json")
    merged: Any = sources.read(tmp_path / "merged.json").inputs[None]
    assert (
        merged.scaler.mean.tolist() == read.scaler.mean.tolist()
        and merged.scaler.std.tolist() == read.scaler.std.tolist()
    )
    refused = CliRunner().invoke(app, ["stats", "merge", str(tmp_path / "part2.json")])
    assert isinstance(refused.exception, DataError)


def test_every_kind_is_written_and_read_back(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.abs(TABLE[:, :3]) + 0.1)
    for kind, more in {
        "quantile": ["--n-quantiles", "50", "--output", "normal"],
        "power": ["--method", "box-cox"],
        "imputer": ["--strategy", "median"],
        "clip": ["--bounds", "2,98"],
        "standard": ["--ddof", "1"],
    }.items():
        out = tmp_path / f"{kind}.json"
        said = json.loads(run("fit", tmp_path / "rows.npy", "--kind", kind, *more, "-o", out, "--json").stdout)
        assert said["fitted"][0]["kind"] == kind
        read = sources.read(out)
        assert read.inputs[None].scaler.kind == kind and read.inputs[None].profile is not None


def test_steps_are_named_by_their_place(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", DRAW.normal(size=(30, 3, 2)))
    done = run("fit", tmp_path / "cube.npy", "--per-step", "-o", tmp_path / "stats.json")
    assert "  2,1  " in done.output
    read: Any = sources.read(tmp_path / "stats.json").inputs[None]
    assert read.scaler.mean.shape == (3, 2) and read.profile.about["shape"] == [3, 2]
