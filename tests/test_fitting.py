"""Statistics of data of any size: every engine the same as a reference in more digits, merged as measured at once."""

from __future__ import annotations

import importlib.util
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import onnxscale
from onnxscale import data
from onnxscale.data import Selection
from onnxscale.errors import DataError
from onnxscale.fitting import merge, next_round, shard
from onnxscale.fitting.kernel import summarized
from onnxscale.fitting.rounds import Round
from onnxscale.fitting.summary import Summary
from onnxscale.profile import Profile

pytest.importorskip("narwhals", reason="needs the extra [fit]")
ENGINES = [e for e in ("polars", "duckdb", "pyarrow", "dask") if importlib.util.find_spec(e)]
ROWS = 20_000
DRAW = np.random.default_rng(3)
HARD = {
    "far": 1.7e9 + DRAW.normal(0, 1e-3, ROWS),
    "farther": 1e12 + DRAW.normal(0, 1, ROWS),
    "constant": np.full(ROWS, 1.7e9 + 0.1),
    "usual": DRAW.normal(5, 2, ROWS),
    "late": np.concatenate([np.zeros(2000), DRAW.normal(1e6, 1e-2, ROWS - 2000)]),  # its head says nothing of it
    "counts": DRAW.poisson(3, ROWS).astype(np.int64),
    "narrow": DRAW.normal(-3, 0.1, ROWS).astype(np.float32),
    "skewed": DRAW.lognormal(3, 2, ROWS),
}


def exact(x: np.ndarray) -> tuple[float, float]:
    """Mean and std (ddof 0) of the finite values, by rational numbers and one rounding each."""
    values = [Fraction(float(v)) for v in x if np.isfinite(v)]
    n = len(values)
    mean = sum(values) / n
    variance = sum(v * v for v in values) / n - mean * mean
    return float(mean), float(Fraction(math.isqrt(int(variance * 2**2400))) / 2**1200)


REFERENCE = {name: exact(x) for name, x in HARD.items()}


def parquet(folder: Path, columns: dict) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    pq.write_table(pa.table(columns), folder / "data.parquet", row_group_size=3000)
    return folder / "data.parquet"


def profile_of(found: onnxscale.Statistics) -> Profile:
    p = found.inputs[None].profile
    assert p is not None
    return p


@pytest.mark.parametrize("engine", ENGINES)
def test_mean_and_std_are_right_on_hard_columns(engine: str, tmp_path: Path) -> None:
    p = profile_of(onnxscale.fit(parquet(tmp_path, HARD), engine=engine))
    assert p.features == tuple(HARD) and p.rows == ROWS and (p.count == ROWS).all()
    for i, (name, x) in enumerate(HARD.items()):
        mean, std = REFERENCE[name]
        assert abs(p.mean[i] - mean) <= 1e-11 * std + np.spacing(abs(mean)), name
        assert abs(p.std[i] - std) <= (1e-11 if name == "far" else 1e-12) * std, name
        assert p.min[i] == x.min() and p.max[i] == x.max()
        np.testing.assert_array_equal(
            p.quantiles[i], np.quantile(x.astype(float), np.linspace(0, 1, 65), method="inverted_cdf")
        )
    assert p.integral.tolist() == [False, False, False, False, False, True, False, False]
    assert p.std[list(HARD).index("constant")] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_null_nan_and_infinity_are_counted_apart_and_left_out(engine: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    x = DRAW.normal(5, 2, 5000)
    null, nan, infinite = np.zeros(5000, bool), x.copy(), x.copy()
    null[::7], nan[::11], infinite[::13], infinite[1::13] = True, np.nan, np.inf, -np.inf
    columns = {"null": pa.array(x, mask=null), "nan": nan, "inf": infinite, "f4": nan.astype(np.float32)}
    p = profile_of(onnxscale.fit(parquet(tmp_path, columns), engine=engine))
    kept = [x[~null], x[np.isfinite(nan)], x[np.isfinite(infinite)], x[np.isfinite(nan)].astype(np.float32)]
    assert p.count.tolist() == [len(k) for k in kept]
    expected = [0, int(np.isnan(nan).sum()), int(np.isinf(infinite).sum()), int(np.isnan(nan).sum())]
    missing = [int(null.sum()), 0, 0, 0]
    if engine == "dask":  # pandas has no null in a column of floats: NaN and null are one
        missing, expected = [int(null.sum()), expected[1], 0, expected[3]], [0, 0, expected[2], 0]
    assert p.nulls.tolist() == missing and p.nonfinite.tolist() == expected
    for i, values in enumerate(kept):
        mean, std = exact(values.astype(np.float64))
        assert abs(p.mean[i] - mean) < 1e-12 and abs(p.std[i] / std - 1) < 1e-12
        assert p.min[i] == values.min() and p.max[i] == values.max()


def test_every_engine_writes_the_same_statistics(tmp_path: Path) -> None:
    path = parquet(tmp_path, HARD)
    found = {e: profile_of(onnxscale.fit(path, engine=e, correlation=True)) for e in ENGINES}
    first = next(iter(found.values()))
    for p in found.values():
        np.testing.assert_allclose(p.std, first.std, rtol=1e-10)
        np.testing.assert_allclose(p.mean, first.mean, rtol=1e-10)
        np.testing.assert_allclose(p.correlation, first.correlation, atol=1e-9)
        for key in ("count", "nulls", "nonfinite", "min", "max", "quantiles", "integral"):
            np.testing.assert_array_equal(getattr(p, key), getattr(first, key))
    varied = [i for i, n in enumerate(HARD) if n != "constant"]
    reference = np.corrcoef(np.stack([HARD[n] - HARD[n][0] for n in HARD if n != "constant"]))
    np.testing.assert_allclose(first.correlation[np.ix_(varied, varied)], reference, atol=1e-7)


def test_a_relation_that_takes_nan_for_a_number_is_refused(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    x = DRAW.normal(size=1000)
    x[::7] = np.nan
    path = parquet(tmp_path, {"x": x})
    relation = duckdb.sql(f"SELECT * FROM read_parquet('{path}')")
    with pytest.raises(DataError, match="can_have_nan"):
        onnxscale.summarize(relation)


FLOATS = (
    st.floats(-1e6, 1e6) | st.floats(1.7e9, 1.7e9 + 1) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324])
)
TABLES = hnp.arrays(np.float64, st.tuples(st.integers(2, 60), st.just(3)), elements=FLOATS)


@given(TABLES, st.data())
@settings(max_examples=150)
def test_merging_in_any_order_is_measuring_at_once(table: np.ndarray, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(1, len(table) - 1), max_size=4, unique=True)))
    parts = [summarized(data.opened(t), correlation=True) for t in np.split(table, cuts)]
    order = draw.draw(st.permutations(range(len(parts))))
    whole = parts[order[0]]
    for i in order[1:]:
        whole = whole + Summary.from_json(json.loads(json.dumps(parts[i].to_json())))
    assert whole.rows == len(table)
    complete = table[np.isfinite(table).all(axis=1)]
    assert whole.cross is not None and whole.cross.rows == len(complete)
    for i, column in enumerate(table.T):
        finite = column[np.isfinite(column)]
        assert whole.count[i] == len(finite)
        if len(finite):
            mean, std = exact(finite)
            assert abs(whole.mean[i] - mean) <= 2 * np.spacing(abs(mean)) + 1e-15 * std
            tiny = 1e-150  # squares of less than that are no float64
            assert abs(whole.std[i] - std) <= 1e-12 * std + 1e-15 * (finite.max() - finite.min()) + tiny
            assert whole.min[i] == finite.min() and whole.max[i] == finite.max()
            assert whole.whole[i] == (finite == np.floor(finite)).all()


@given(TABLES)
@settings(max_examples=50)
def test_a_summary_reads_back_bit_equal(table: np.ndarray) -> None:
    found = summarized(data.opened(table), correlation=True)
    back = Summary.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    for key in ("count", "nulls", "shift", "sum", "square", "min", "max", "whole"):
        assert getattr(back, key).tobytes() == getattr(found, key).tobytes()
    assert back.cross.product.tobytes() == found.cross.product.tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["standard", "min-max", "max-abs", "robust"])
def test_scikit_learns_own_scalers_say_the_same(kind: str) -> None:
    pre = pytest.importorskip("sklearn.preprocessing")
    made = {
        "standard": pre.StandardScaler,
        "min-max": pre.MinMaxScaler,
        "max-abs": pre.MaxAbsScaler,
        "robust": pre.RobustScaler,
    }
    x = np.stack(
        [DRAW.normal(5, 2, 4001), DRAW.lognormal(1, 1, 4001), np.full(4001, 2.5), DRAW.integers(0, 5, 4001)], axis=1
    )
    x[::50, 0] = np.nan
    theirs = made[kind]().fit(x)
    ours = onnxscale.fit(x, kind).inputs[None].transform()(x)
    tolerance = 1e-13 if kind == "standard" else 1e-15
    np.testing.assert_allclose(ours, theirs.transform(x), rtol=tolerance, atol=tolerance)


def test_settings_of_kinds() -> None:
    x = DRAW.normal(size=(100, 2))
    got = onnxscale.fit(x, ddof=1).inputs[None].scaler
    np.testing.assert_allclose(got.std, x.std(axis=0, ddof=1), rtol=1e-13)  # type: ignore[attr-defined]
    ranged = onnxscale.fit(x, "minmax", feature_range=(-1, 1), clip=True).inputs[None].transform()(x * 2)
    assert ranged.min() == -1 and ranged.max() == 1
    with pytest.raises(DataError, match="--clip: a standard scaler has no such setting"):
        onnxscale.fit(x, clip=True)
    with pytest.raises(DataError, match="unknown kind 'zscore'; fit knows 'standard'"):
        onnxscale.fit(x, "zscore")


def test_a_target_is_no_feature_and_has_a_scaler_of_its_own() -> None:
    found = onnxscale.fit({"a": DRAW.normal(size=50), "y": np.arange(50.0)}, target="y")
    assert found.inputs[None].features == ("a",) and found.outputs[None].features == ("y",)
    np.testing.assert_allclose(found.outputs[None].scaler.mean, [24.5])  # type: ignore[attr-defined]


def test_every_shard_once_is_the_whole(tmp_path: Path) -> None:
    path = parquet(tmp_path, HARD)
    whole = profile_of(onnxscale.fit(path, correlation=True))
    parts = [shard(path, (i, 3), correlation=True) for i in (1, 2, 3)]
    p = profile_of(merge(parts))
    np.testing.assert_allclose(p.std, whole.std, rtol=1e-13)
    np.testing.assert_allclose(p.mean, whole.mean, rtol=1e-15)
    np.testing.assert_allclose(p.correlation, whole.correlation, atol=1e-9)
    assert p.rows == whole.rows and p.quantiles is not None
    np.testing.assert_array_equal(p.quantiles, whole.quantiles)  # fewer than 65,536 values: the first round is exact
    with pytest.raises(DataError, match=r"shard 2/3 .* is missing"):
        merge([parts[0], parts[2]])
    with pytest.raises(DataError, match="shard 1/3 of the data that part 1 has already"):
        merge([parts[0], *parts])
    other = shard(path, (2, 3), Selection(columns=("far",)))
    with pytest.raises(DataError, match="of 1 columns"):
        merge([parts[0], other, parts[2]])
    parquet(tmp_path, {**HARD, "usual": HARD["usual"] * 2})
    changed = shard(path, (2, 3), correlation=True)
    with pytest.raises(DataError, match=r"missing|had changed"):
        merge([parts[0], changed, parts[2]])


def test_quantiles_of_shards_are_exact_after_the_rounds_they_ask_for(tmp_path: Path, cli) -> None:
    n = 210_000  # more than a round keeps as they are
    x = np.stack([DRAW.normal(size=n), DRAW.lognormal(3, 2, n), DRAW.integers(0, 9, n)], axis=1)
    np.save(tmp_path / "x.npy", x)
    whole = onnxscale.fit(x, "robust")
    parts = [shard(tmp_path / "x.npy", (i, 3)) for i in (1, 2, 3)]
    rough = merge(parts, "robust")
    assert "quantiles are approximate" in "".join(rough.inputs[None].warnings)
    assert 0 < profile_of(rough).about["quantile_rank_error"] < 0.05
    rounds = 1
    while (asked := next_round(parts, "robust")) is not None:
        asked = Round.from_json(json.loads(json.dumps(asked.to_json())))
        parts = [shard(tmp_path / "x.npy", (i, 3), after=asked) for i in (1, 2, 3)]
        rounds += 1
    assert 2 <= rounds <= 4
    found = merge(parts, "robust")
    np.testing.assert_array_equal(profile_of(found).quantiles, profile_of(whole).quantiles)
    np.testing.assert_array_equal(found.inputs[None].scaler.scale, whole.inputs[None].scaler.scale)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="another kind or with other settings"):
        merge(parts, "robust", quantile_range=(10, 90))
    with pytest.raises(DataError, match="is missing"):
        next_round(parts[:2], "robust")
    for i in (1, 2):
        assert cli("fit", tmp_path / "x.npy", "--shard", f"{i}/2", "-o", tmp_path / f"p{i}.json").returncode == 0
    pair = [tmp_path / "p1.json", tmp_path / "p2.json"]
    got = cli("stats", "merge", *pair, "--next", tmp_path / "r.json", "-o", tmp_path / "s.json")
    assert got.returncode == 0 and "2 columns need another round" in got.stdout, got.stderr
    got = cli("fit", tmp_path / "x.npy", "--shard", "1/2", "--next", tmp_path / "r.json", "-o", tmp_path / "q1.json")
    assert got.returncode == 0, got.stderr
    got = cli("stats", "merge", tmp_path / "q1.json", pair[1], "-o", tmp_path / "s.json")
    assert got.returncode == 2 and "different rounds" in got.stderr


def test_parts_of_different_data_add_up() -> None:
    a, b = DRAW.normal(size=(500, 2)), DRAW.normal(3, 2, size=(700, 2))
    p = profile_of(merge([shard(a, (1, 1)), shard(b, (1, 1))]))
    both = np.concatenate([a, b])
    np.testing.assert_allclose(p.std, both.std(axis=0), rtol=1e-13)
    assert p.rows == 1200


def test_warnings_say_what_the_columns_lack(tmp_path: Path) -> None:
    x = DRAW.normal(size=1000)
    columns = {
        "worn": (1.7e9 + 100 * x).astype(np.float32),
        "gone": (1.7e9 + x).astype(np.float32),
        "still": np.full(1000, 2.0),
        "holes": np.where(x > 1, np.nan, x),
    }
    said = "\n".join(onnxscale.fit(parquet(tmp_path, columns)).inputs[None].warnings)
    assert "'worn': Float32 has destroyed them" in said
    assert "'gone': in Float32 the numbers around 1.7e+09 are 128 apart" in said
    assert "constant: 'gone', 'still'" in said and "left out as NaN or infinite: 'holes'" in said


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="'1': no finite value in 9 rows"):
        onnxscale.fit(np.stack([np.arange(9.0), np.full(9, np.nan)], axis=1))
    with pytest.raises(DataError, match="no rows"):
        onnxscale.fit(np.zeros((0, 2)))
    with pytest.raises(DataError, match="their std is no float64"):
        onnxscale.fit(np.array([[1e308], [-1e308]]))
    for asked in ({"exact": True}, {"kind": "robust"}):
        with pytest.raises(DataError, match="an iterator is read once"):
            onnxscale.fit(iter([np.eye(2)]), **asked)


@pytest.mark.parametrize(("exact", "said"), [(None, True), (False, False)])
def test_an_iterator_of_batches_has_moments_and_says_what_it_has_not(exact: bool | None, said: bool) -> None:
    rows = np.random.default_rng(4).normal(5, 2, (900, 3))
    found = onnxscale.fit(iter([rows[:500], rows[500:]]), exact=exact)
    profile = profile_of(found)
    assert profile.rows == 900 and profile.quantiles is None
    np.testing.assert_allclose(profile.std, rows.std(0), rtol=1e-14)
    assert any("read once" in w for w in found.inputs[None].warnings) == said
    assert profile_of(onnxscale.fit([rows[:500], rows[500:]])).quantiles is not None


def test_the_command_line(cli, tmp_path: Path) -> None:
    path = parquet(tmp_path, {**HARD, "name": ["x"] * ROWS})
    got = cli("fit", path, "-o", tmp_path / "s.json")
    assert got.returncode == 2 and "--exclude name" in got.stderr and not (tmp_path / "s.json").exists()
    got = cli("fit", path, "--exclude", "name", "--target", "counts", "--unit", "far=s", "-o", tmp_path / "s.json")
    assert got.returncode == 0, got.stderr
    assert "constant: 'constant'" in got.stderr and "median" in got.stdout
    read = onnxscale.read(tmp_path / "s.json").inputs[None]
    assert read.profile is not None and read.profile.quantiles is not None and read.profile.about["engine"]
    assert read.profile.about["files"][0]["sha256"] and read.units[0] == "s"
    np.testing.assert_allclose(read.scaler.mean[0], REFERENCE["far"][0])  # type: ignore[attr-defined]
    assert onnxscale.read(tmp_path / "s.target.json").inputs[None].features == ("counts",)
    got = cli("fit", path, "--exclude", "name", "-o", tmp_path / "s.json")
    assert got.returncode == 2 and "--force" in got.stderr
    for i in (1, 2):
        got = cli("fit", path, "--columns", "far,usual", "--shard", f"{i}/2", "-o", tmp_path / f"p{i}.json")
        assert got.returncode == 0, got.stderr
    got = cli(
        "stats",
        "merge",
        tmp_path / "p1.json",
        tmp_path / "p2.json",
        "--kind",
        "robust",
        "-o",
        tmp_path / "m.json",
        "--json",
    )
    assert got.returncode == 0, got.stderr
    assert json.loads(got.stdout)["fitted"][0]["rows"] == ROWS
    np.testing.assert_allclose(
        onnxscale.read(tmp_path / "m.json").inputs[None].scaler.center[1], np.median(HARD["usual"])
    )  # type: ignore[attr-defined]


def test_a_fit_is_baked(tmp_path: Path) -> None:
    from tests import build

    x = DRAW.normal(4, 3, size=(500, len(build.MEAN)))
    baked = onnxscale.bake(build.mlp(), onnxscale.fit(x)).verify()
    assert baked.comparison is not None and baked.comparison.verified
