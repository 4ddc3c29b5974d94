"""Statistics by group: those of numpy over each group's rows, whatever engine groups them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import fitting
from onnxscale.data import Selection, opened
from onnxscale.errors import DataError
from onnxscale.fitting.grouping import grouped

pl = pytest.importorskip("polars", reason="needs polars")
pytest.importorskip("narwhals", reason="needs narwhals")


def table(rows: int = 5000) -> Any:
    draw = np.random.default_rng(0)
    store = draw.choice(["north", "south", "east", "rare"], rows, p=[0.5, 0.3, 0.19, 0.01])
    base = np.select([store == "north", store == "south"], [10.0, 1.7e9], -5.0)
    values = base + draw.normal(0, 1, rows)
    values[::50] = np.nan
    values[7] = np.inf
    made = pl.DataFrame(
        {"store": store, "code": np.where(store == "north", 3, -8), "x": values, "flat": np.full(rows, 2.5)}
    )
    return made.with_columns(pl.when(pl.int_range(pl.len()) % 91 == 0).then(None).otherwise(pl.col("x")).alias("x"))


def engines() -> dict[str, Any]:
    def duck(frame: Any) -> Any:
        return pytest.importorskip("duckdb").sql("SELECT * FROM frame")

    return {
        "polars": lambda f: f,
        "lazy": lambda f: f.lazy(),
        "pandas": lambda f: f.to_pandas(),
        "pyarrow": lambda f: f.to_arrow(),
        "duckdb": duck,
    }


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("by", ["store", "code"])
def test_each_group_is_numpys(engine: str, by: str) -> None:
    frame = table()
    data = opened(engines()[engine](frame), Selection(("x", "flat"), group=by))
    found = grouped(data, np.asarray([1e8, 2.5]))
    assert list(found.keys) == sorted(frame[by].unique().to_list())
    assert data.names == ("x", "flat")
    for g, key in enumerate(found.keys):
        rows = frame.filter(pl.col(by) == key)
        kept = rows["x"].drop_nulls().to_numpy()
        kept = kept[np.isfinite(kept)].astype(np.longdouble)
        assert found.rows[g] == len(rows) and found.count[g].tolist() == [len(kept), len(rows)]
        assert found.mean[g, 0] == pytest.approx(float(kept.mean()), rel=1e-13)
        assert found.std[g, 0] == pytest.approx(float(kept.std()), rel=1e-9)
        assert (found.min[g, 0], found.max[g, 0]) == (kept.min(), kept.max())
        assert found.std[g, 1] == 0 and found.mean[g, 1] == 2.5


def test_rows_without_a_key_are_counted() -> None:
    frame = pl.DataFrame({"k": ["a", None, "a", "b"], "x": [1.0, 2.0, 3.0, None]})
    found = grouped(opened(frame, Selection(group="k")), np.zeros(1))
    assert found.keys == ("a", "b") and found.unkeyed == 1
    assert found.mean[0, 0] == 2 and np.isnan(found.mean[1, 0])


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["b", "a"]), pl.String])
def test_keys_that_are_labels_are_text(dtype: Any) -> None:
    frame = pl.DataFrame({"k": ["b", "a", "b"], "x": [1.0, 2.0, 3.0]}).with_columns(pl.col("k").cast(dtype))
    found = grouped(opened(frame, Selection(group="k")), np.zeros(1))
    assert found.keys == ("a", "b") and found.mean.ravel().tolist() == [2, 2]


def test_refusals(tmp_path: Path) -> None:
    pl.DataFrame({"k": ["a"], "x": [1.0]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="dask, not pyarrow"):
        fitting.fit(str(tmp_path / "a.parquet"), group="k", engine="pyarrow")
    frame = pl.DataFrame({"k": [1.5, 2.5], "x": [1.0, 2.0]})
    with pytest.raises(DataError, match="whole numbers or text"):
        grouped(opened(frame, Selection(group="k")), np.zeros(1))
    with pytest.raises(DataError, match="no column 'none'"):
        opened(frame, Selection(group="none"))
    with pytest.raises(DataError, match="need a table"):
        grouped(opened(np.ones((3, 2))), np.zeros(2))
