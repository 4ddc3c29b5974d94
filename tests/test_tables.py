"""Tables of statistics that data frame libraries write: parquet, CSV, JSON of every orient, and npy with named fields."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Fitted, Reading

arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
from pyarrow import parquet  # noqa: E402

from tests import damaging  # noqa: E402

RNG = np.random.default_rng(3)
FRAME = pd.DataFrame(RNG.normal(size=(80, 3)) * [1, 20, 3e4] + [5, -6, 7e5], columns=["a", "b", "c"])
MEAN, STD = FRAME.mean().to_numpy(), FRAME.std().to_numpy()
X = RNG.normal(size=(50, 3)) * 100
WANT = (X - MEAN) / STD
SHORT = {"agg": FRAME.agg(["mean", "std"]), "describe": FRAME.describe()}
TABLES = SHORT | {f"{n} turned": t.T for n, t in SHORT.items()}


def one(source: object, **flags: object) -> Fitted:
    return sources.read(source, Reading(**flags)).inputs[None]


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    held = io.BytesIO()
    write(held)
    return held.getvalue()


WRITERS: dict[str, Callable[[pd.DataFrame], bytes]] = {
    "csv": lambda t: t.to_csv().encode(),
    "csv with semicolons": lambda t: t.to_csv(sep=";").encode(),
    "csv with tabs": lambda t: t.to_csv(sep="\t").encode(),
    "csv, index named": lambda t: t.rename_axis("what").to_csv().encode(),
    "parquet": lambda t: written(t.to_parquet),
    "parquet, index named": lambda t: written(t.rename_axis("what").to_parquet),
    "parquet, index as a column": lambda t: written(t.reset_index().to_parquet),
    "parquet without pandas' notes": lambda t: written(
        lambda f: parquet.write_table(arrow.Table.from_pandas(t).replace_schema_metadata(None), f)
    ),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("writer", WRITERS)
def test_tables_arrive_bit_by_bit(table: str, writer: str) -> None:
    found = sources.read(WRITERS[writer](TABLES[table]))
    fitted = found.inputs[None]
    assert fitted.features == ("a", "b", "c")
    np.testing.assert_array_equal(fitted.transform()(X, 1), WANT)
    assert found.source.ddof == (1 if "describe" in table else None)
    if "describe" in table:
        assert fitted.data_min is not None
        np.testing.assert_array_equal(fitted.data_min, FRAME.min())


# pandas' to_json writes at most 15 decimals, so these are not the same bits
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("orient", ["split", "index", "columns", "table"])
def test_json_of_every_orient(table: str, orient: str) -> None:
    fitted = one(TABLES[table].to_json(orient=orient, double_precision=15).encode())
    assert fitted.features == ("a", "b", "c")
    np.testing.assert_allclose(fitted.transform()(X, 1), WANT, rtol=1e-13)


@pytest.mark.parametrize("lines", [False, True])
def test_json_records(lines: bool) -> None:
    how: dict[str, Any] = {"orient": "records", "double_precision": 15, "lines": lines}
    for named in (TABLES["agg turned"].rename_axis("feature").reset_index(), TABLES["agg turned"].reset_index()):
        fitted = one(named.to_json(**how).encode())
        assert fitted.features == ("a", "b", "c")
        np.testing.assert_allclose(fitted.transform()(X, 1), WANT, rtol=1e-13)
    nameless = one(TABLES["agg turned"].to_json(**how).encode())
    assert nameless.features == ()
    np.testing.assert_allclose(nameless.transform()(X, 1), WANT, rtol=1e-13)
    with pytest.raises(StatisticsError, match="pandas leaves the index out"):
        one(TABLES["agg"].to_json(**how).encode())


def test_json_values_are_refused() -> None:
    with pytest.raises(StatisticsError, match="expected an object with statistics"):
        one(TABLES["agg"].to_json(orient="values").encode())


def test_a_row_of_lists_and_a_column_of_units() -> None:
    lists = arrow.table({"mean": [MEAN.tolist()], "std": [STD.tolist()]})
    np.testing.assert_array_equal(one(written(lambda f: parquet.write_table(lists, f))).transform()(X, 1), WANT)
    units = arrow.table({"unit": ["m", "s", "kg"], "feature": ["a", "b", "c"], "mean": MEAN, "std": STD})
    fitted = one(written(lambda f: parquet.write_table(units, f)))
    assert fitted.features == ("a", "b", "c") and fitted.units == ("m", "s", "kg")
    np.testing.assert_array_equal(fitted.transform()(X, 1), WANT)
    plain = arrow.table({"mean": MEAN.astype("f"), "std": STD})
    steps = one(written(lambda f: parquet.write_table(plain, f))).transform().steps
    np.testing.assert_array_equal(steps[0].operands[0], MEAN.astype("f").astype(float))


def test_text_numbers_as_spark_and_polars_describe() -> None:
    rows = {"summary": ["count", "mean", "stddev", "min", "max"], "a": ["80", "1.25", "0.5", "0.0", "2.0"]}
    fitted = one(written(lambda f: parquet.write_table(arrow.table(rows), f)))
    assert fitted.transform()(np.array([[2.25]]), 1).tolist() == [[2.0]]
    text = "statistic,a,b\ncount,80.0,80.0\nnull_count,0.0,0.0\nmean,1.25,1.0\nstd,0.5,2.0\nmin,0.0,0.0\n25%,1.0,0.5\n"
    text += "50%,1.2,1.0\n75%,1.5,2.0\nmax,2.0,3.0\n"
    assert one(text.encode()).transform()(np.array([[2.25, 3.0]]), 1).tolist() == [[2.0, 1.0]]


def test_polars_itself() -> None:
    polars = pytest.importorskip("polars", reason="needs polars")
    frame = polars.DataFrame({c: FRAME[c].to_numpy() for c in FRAME}).describe()
    for data in (written(frame.write_parquet), frame.write_csv().encode()):
        np.testing.assert_allclose(one(data).transform()(X, 1), WANT, rtol=1e-14)


def test_a_folder_of_parts(tmp_path: Path) -> None:
    turned = TABLES["agg turned"].rename_axis("feature").reset_index()
    for i in range(3):
        turned.iloc[i : i + 1].to_parquet(tmp_path / f"part-{i:05d}.snappy.parquet")
    (tmp_path / "_SUCCESS").touch()
    found = sources.read(tmp_path)
    assert found.source.format == "parquet" and found.inputs[None].features == ("a", "b", "c")
    np.testing.assert_array_equal(found.inputs[None].transform()(X, 1), WANT)
    turned.rename(columns={"mean": "mu"}).to_parquet(tmp_path / "part-00009.parquet")
    with pytest.raises(StatisticsError, match="different columns"):
        sources.read(tmp_path)


REFUSED: dict[str, tuple[Any, str]] = {
    "raw rows": ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, "expected feature, mean, std"),
    "no rows": ({"mean": arrow.array([], arrow.float64())}, "0 rows"),
    "a hole": ({"feature": ["a", "b"], "mean": [1.0, None], "std": [1.0, 2.0]}, "mean: expected numbers"),
    "a name twice": ({"feature": ["a", "a"], "mean": [1.0, 2.0], "std": [1.0, 2.0]}, "stands twice"),
    "not a number": ({"feature": ["a", "b"], "mean": [1.0, np.nan], "std": [1.0, 2.0]}, "finite number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_scaler_is_refused(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(StatisticsError, match=message):
        one(written(lambda f: parquet.write_table(arrow.table(content), f)))


def test_too_much_is_refused_before_it_is_unpacked() -> None:
    zeros = arrow.table({"mean": np.zeros(20_000_000, "i1"), "std": np.zeros(20_000_000, "i1")})
    data = written(lambda f: parquet.write_table(zeros, f))
    assert len(data) < 200_000
    with pytest.raises(StatisticsError, match="statistics have at most"):
        one(data)


def test_structured_npy(tmp_path: Path) -> None:
    held = np.zeros(3, [("name", "U3"), ("mean", "f8"), ("std", "f8")])
    held["name"], held["mean"], held["std"] = ["a", "b", "c"], MEAN, STD
    np.save(tmp_path / "s.npy", held)
    fitted = one(tmp_path / "s.npy")
    assert fitted.features == ("a", "b", "c")
    np.testing.assert_array_equal(fitted.transform()(X, 1), WANT)
    np.save(tmp_path / "s.npy", np.array((MEAN, STD), [("mean", "f8", 3), ("std", "f8", 3)]))
    np.testing.assert_array_equal(one(tmp_path / "s.npy").transform()(X, 1), WANT)
    np.save(tmp_path / "s.npy", MEAN)
    with pytest.raises(StatisticsError, match="one array without a name"):
        one(tmp_path / "s.npy")
    np.save(tmp_path / "s.npy", np.array([(1.0, [1])], [("mean", "f8"), ("std", "O")]), allow_pickle=True)
    with pytest.raises(StatisticsError, match="not unpickled"):
        one(tmp_path / "s.npy")


@pytest.mark.parametrize("name", [pytest.param("parquet", marks=pytest.mark.slow), "npy", "csv"])
def test_damage_is_refused_and_never_a_traceback(name: str) -> None:
    held = np.zeros(3, [("mean", "f8"), ("std", "f8")])
    held["std"] = STD
    kinds = {"parquet": WRITERS["parquet"], "csv": WRITERS["csv"], "npy": lambda t: written(lambda f: np.save(f, held))}
    whole = kinds[name](SHORT["agg"])
    refused, total = damaging.refused([*damaging.cut(whole, short=8), *damaging.flipped(whole, 400)])
    assert refused > total / 4
