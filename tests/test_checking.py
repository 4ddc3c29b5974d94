"""Data held against what a model expects: the laws, the judgement on real tables, and the command on real files."""

from __future__ import annotations

import json

import numpy as np
import pytest

import onnxscale
from benchmarks import faults
from onnxscale.checking import check, check_summary, laws, sample
from onnxscale.checking.assignment import assigned
from onnxscale.errors import DataError, StatisticsError
from onnxscale.fitting import summarize
from onnxscale.profile import PROBABILITIES, Profile
from onnxscale.scalers.standard import Standard
from tests.thinning import thinned

pytest.importorskip("sklearn")
NAMED = {"clean": "as expected", "/255": "/255"}


def profile(rows: np.ndarray, **more: object) -> Profile:
    """What `fit` measures of these rows."""
    n, width = rows.shape
    count, none = np.full(width, n), np.zeros(width, np.int64)
    quantiles = np.quantile(rows, PROBABILITIES, axis=0, method="inverted_cdf").T
    whole = (rows == np.round(rows)).all(axis=0)
    return Profile(n, count, none, none, rows.mean(0), rows.std(0), rows.min(0), rows.max(0), quantiles, whole, **more)


@pytest.mark.parametrize("name", [*faults.TUNED, "housing", "counts", "sensors"])
@pytest.mark.parametrize("kind", [*faults.GLOBAL, *faults.LOCAL])
def test_each_mistake_has_its_name_on_256_rows(name: str, kind: str) -> None:
    held = faults.table(name)
    named = 0
    for seed in range(4):
        got = faults.drawn(held, kind, 256, False, np.random.default_rng([seed, 99]))
        assert got is not None
        found = check(profile(got[0]), got[1])
        named += found.verdict == kind
    assert named >= 3


@pytest.mark.parametrize("name", [*faults.TUNED, "housing", "zeros"])
@pytest.mark.parametrize("kind", faults.CLEAN)
@pytest.mark.parametrize("n", [32, 256])
def test_good_and_drifted_data_is_no_mistake(name: str, kind: str, n: int) -> None:
    held = faults.table(name)
    for seed in range(5):
        got = faults.drawn(held, kind, n, n == 32, np.random.default_rng([seed, 98]))
        if got is not None:
            found = check(profile(got[0]), got[1])
            assert found.level != "mismatch", (found.verdict, found.story)
            assert kind != "clean" or found.verdict == "as expected"


@pytest.mark.parametrize("seed", range(4))
def test_a_flag_that_was_moved_by_a_fraction_is_not_another_column(seed: int) -> None:
    """Moved, a flag is neither 0 nor 1: every law of a measurement is likelier than its own, and none is right."""
    draw = np.random.default_rng(seed)

    def rows(n: int) -> np.ndarray:
        return np.column_stack([np.exp(draw.normal(-1, 2, n)), draw.random(n) < 0.07, draw.normal(5, 2, (n, 3))])

    held = rows(4000)
    moved = rows(256) + np.array([-0.2, 0.1, 0.05, -0.1, 0.05]) * held.std(0)
    assert check(profile(held), moved).verdict == "drift"


@pytest.mark.parametrize("name", ["lognormal", "housing", "breast_cancer"])
def test_a_column_that_only_moved_is_drift_and_one_with_its_sign_turned_is_not(name: str) -> None:
    """A skewed column moved by some sigmas lies about where its mirror image would, in another shape."""
    held = faults.table(name)
    called = {"drift": 0, "unit": 0}
    for seed in range(12):
        draw = np.random.default_rng(seed)
        order = draw.permutation(len(held.rows))
        half = len(order) // 2
        train, rest = held.rows[order[:half]], held.rows[order[half : half + 32]].copy()
        j = int(draw.integers(train.shape[1]))
        moved, turned = rest.copy(), rest.copy()
        moved[:, j] -= draw.uniform(1, 3) * train[:, j].std()
        turned[:, j] *= -1
        known = profile(train)
        assert check(known, moved).level != "mismatch"
        called[check(known, turned).verdict] = called.get(check(known, turned).verdict, 0) + 1
    assert called["unit"] >= 11


def test_the_best_assignment_is_found() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    for n in (1, 2, 5, 40):
        for seed in range(10):
            draw = np.random.default_rng(seed)
            gains = draw.normal(size=(n, n)) if seed % 2 else np.round(draw.normal(size=(n, n)))
            ours = assigned(gains)
            rows, columns = optimize.linear_sum_assignment(-gains)
            assert sorted(ours) == list(range(n))
            assert np.isclose(gains[np.arange(n), ours].sum(), gains[rows, columns].sum())


def test_a_law_keeps_steps_and_maps() -> None:
    draw = np.random.default_rng(0)
    rows = np.column_stack([draw.normal(5, 2, 5000), draw.integers(0, 3, 5000), np.zeros(5000)])
    law = laws.from_quantiles(profile(rows).quantiles)
    drawn = sample.drawn([rows], 3)
    assert laws.distance(drawn.below(law), law).max() < 0.02
    falling = law.mapped(lambda x: -3.0 * x)
    turned = sample.drawn([-3.0 * rows], 3)
    assert laws.distance(turned.below(falling), falling).max() < 0.02
    narrow = sample.drawn([rows.astype(np.float32)], 3)
    assert laws.distance(narrow.below(law), law).max() < 0.02


def test_the_sample_of_a_stream_is_uniform_and_its_sums_are_of_all() -> None:
    rows = np.arange(40_000, dtype=np.float64)[:, None] + 1.7e9
    drawn = sample.drawn((rows[i : i + 997] for i in range(0, len(rows), 997)), 1)
    assert len(drawn.rows) == sample.MOST and drawn.seen == 40_000
    assert drawn.mean[0] == pytest.approx(rows.mean(), abs=1e-4)
    assert drawn.std[0] == pytest.approx(rows.std(), rel=1e-9)
    assert abs(np.mean(drawn.rows - 1.7e9) / 40_000 - 0.5) < 0.02
    again = sample.drawn((rows[i : i + 997] for i in range(0, len(rows), 997)), 1)
    assert np.array_equal(drawn.rows, again.rows)


WINE = faults.table("wine") if pytest.importorskip("sklearn") else None
COLUMNS = [f"w{i}" for i in range(13)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory):
    """A fitted statistics file, and a parquet file for each mistake, as their tools write them."""
    pandas = pytest.importorskip("pandas")
    home = tmp_path_factory.mktemp("check")
    draw = np.random.default_rng(0)
    assert WINE is not None
    order = draw.permutation(len(WINE.rows))
    train, rest = WINE.rows[order[:89]], WINE.rows[order[89:]]
    known = faults.Trained.of(train)
    pandas.DataFrame(train, columns=COLUMNS).to_parquet(home / "train.parquet")
    made = {kind: faults.spoiled(kind, rest, known, draw) for kind in (*faults.GLOBAL, *faults.LOCAL, "clean")}
    made["minus-one-one"] = 2 * known.unit(rest) - 1
    made["log-taken"] = np.log1p(rest)
    lost = rest.copy()
    lost[:, 3] = np.nan
    made["missing"] = lost
    still = rest.copy()
    still[:, 5] = 2.5
    made["constant"] = still
    filled = rest.copy()
    filled[::4, 2] = -999.0
    made["sentinel"] = filled
    made["drift"] = rest + known.std * np.where(np.arange(13) == 4, 2.0, 0.0)
    for kind, rows in made.items():
        pandas.DataFrame(rows[:, ::-1], columns=COLUMNS[::-1]).to_parquet(home / f"{kind.replace('/', 'over')}.parquet")
    pandas.DataFrame(rest[:20], columns=COLUMNS).to_parquet(home / "few.parquet")
    pandas.DataFrame(rest, columns=[*COLUMNS[:-1], "other"]).to_parquet(home / "renamed.parquet")
    return home


@pytest.fixture
def stats(files, cli):
    path = files / "stats.json"
    if not path.exists():
        assert cli("fit", files / "train.parquet", "-o", path).returncode == 0
    return path


CASES = {
    "clean": ("as expected", 0),
    **{
        k: (k, 1)
        for k in (*faults.GLOBAL, *faults.LOCAL, "minus-one-one", "log-taken", "missing", "constant", "sentinel")
    },
    "drift": ("drift", 0),
    "few": ("cannot tell", 2),
}


@pytest.mark.parametrize("kind", thinned(CASES))
def test_every_verdict_from_the_command_line(cli, files, stats, kind: str) -> None:
    done = cli("check", stats, files / f"{kind.replace('/', 'over')}.parquet", "--json")
    said = json.loads(done.stdout)
    assert (said["verdict"], done.returncode) == CASES[kind], said["story"]
    if kind in ("exchanged", "unit", "missing", "constant", "sentinel", "drift"):
        assert said["columns"] and said["story"] and (said["todo"] or kind == "drift")


def test_a_baked_model_carries_what_is_expected(cli, files, stats, tmp_path) -> None:
    from tests import build

    model = tmp_path / "m.onnx"
    model.write_bytes(build.mlp(13).SerializeToString())
    assert cli("bake", model, stats, "-o", tmp_path / "b.onnx").returncode == 0
    done = cli("check", tmp_path / "b.onnx", files / "z-scored.parquet")
    assert done.returncode == 1 and "already z-scored" in done.stdout
    done = cli("check", model, files / "clean.parquet", "--stats", stats)
    assert done.returncode == 0 and "AS EXPECTED" in done.stdout


def test_drift_fails_only_where_it_is_asked_to(cli, files, stats) -> None:
    assert cli("check", stats, files / "drift.parquet", "--fail-on", "drift").returncode == 1
    done = cli("check", stats, files / "drift.parquet", "--fail-on", "some")
    assert done.returncode == 2 and "--fail-on 'some'" in done.stderr


def test_columns_are_matched_by_name_and_missing_ones_are_named(cli, files, stats) -> None:
    done = cli("check", stats, files / "renamed.parquet")
    assert done.returncode == 2 and "'w12'" in done.stderr and "'other'" in done.stderr
    done = cli("check", stats, files / "renamed.parquet", "--columns", ",".join([*COLUMNS[:-1], "other"]))
    assert done.returncode == 0


def test_other_statistics_fit_better(cli, files, stats, tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    draw = np.random.default_rng(3)
    there = pandas.DataFrame(draw.normal(200, 7, (500, 13)), columns=COLUMNS)
    there.to_parquet(tmp_path / "there.parquet")
    assert cli("fit", tmp_path / "there.parquet", "-o", tmp_path / "there.json").returncode == 0
    done = cli("check", stats, tmp_path / "there.parquet", "--candidates", tmp_path / "there.json", "--json")
    said = json.loads(done.stdout)
    assert said["verdict"] == "other-statistics" and "there.json" in said["story"]


def test_other_statistics_with_their_columns_in_another_order() -> None:
    pandas = pytest.importorskip("pandas")
    draw = np.random.default_rng(3)
    names = ["a", "b", "c"]
    here, there = (
        pandas.DataFrame(draw.normal(at, 7, (500, 3)), columns=names) for at in ([0, 90, 300], [400, 10, 60])
    )
    found = check(onnxscale.fit(here), there[:100], candidates=[onnxscale.fit(there[["c", "a", "b"]])])
    assert found.verdict == "other-statistics"


@pytest.mark.parametrize("count", [1, 2])
def test_a_sentinel_in_few_rows(count: int) -> None:
    """Twice the same number that stands for nothing, far outside, among 40 rows is broken; once is a warning."""
    rows = np.random.default_rng(0).normal(50, 9, (1000, 3))
    few = rows[:40].copy()
    few[:count, 1] = -999.0
    found = check(profile(rows), few)
    assert found.verdict == ("sentinel" if count == 2 else "as expected")
    assert found.level == ("mismatch" if count == 2 else "warning")
    words = [c.said for c in found.columns] + [w.message for w in found.warnings if w.rule == "sentinel"]
    assert len(words) == 1 and "are -999 (training" in words[0]


@pytest.mark.parametrize(("share", "verdict"), [(0.1, "as expected"), (0.4, "missing")])
def test_a_column_that_is_lost_in_part(share: float, verdict: str) -> None:
    rows = np.random.default_rng(0).normal(50, 9, (1000, 3))
    some = rows[:100].copy()
    some[: int(100 * share), 1] = np.nan
    found = check(profile(rows), some)
    assert found.verdict == verdict and found.level == ("mismatch" if share > 0.3 else "warning")


def test_prometheus_and_markdown(cli, files, stats) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    done = cli("check", stats, files / "exchanged.parquet", "--format", "prometheus")
    families = {f.name: f for f in parser.text_string_to_metric_families(done.stdout)}
    states = {s.labels["verdict"]: s.value for s in families["onnxscale_check_verdict"].samples}
    assert states["exchanged"] == 1 and sum(states.values()) == 1
    assert len(families["onnxscale_check_column_distance"].samples) == 2
    done = cli("check", stats, files / "exchanged.parquet", "--format", "markdown")
    assert done.stdout.startswith("### MISMATCH: two columns are exchanged") and "| column |" in done.stdout


def test_moments_alone_tell_global_mistakes_and_say_what_they_cannot() -> None:
    draw = np.random.default_rng(0)
    mean, std = np.array([50.0, -3.0, 1000.0]), np.array([5.0, 0.5, 200.0])
    raw = draw.normal(mean, std, (300, 3))
    stats = {"mean": mean.tolist(), "std": std.tolist()}
    found = check(stats, raw)
    assert found.verdict == "as expected" and any("quantiles" in u for u in found.untested)
    assert check(stats, (raw - mean) / std).verdict == "z-scored"
    assert check(stats, raw * 255).verdict == "x255"
    assert check(stats, raw[:, [1, 0, 2]] * 0 + 7e6).verdict == "cannot tell"


def test_sums_alone_tell_them_too() -> None:
    draw = np.random.default_rng(0)
    rows = draw.gamma(3, 20, (5000, 4)) + np.array([0.0, 100.0, 500.0, 9.0])
    known = profile(rows)
    for x, verdict in ((rows, "as expected"), ((rows - rows.mean(0)) / rows.std(0), "z-scored"), (rows * 255, "x255")):
        assert check_summary(known, summarize(x)).verdict == verdict


def test_channels_of_pictures_in_another_order() -> None:
    draw = np.random.default_rng(0)
    shape = (40, 3, 8, 8)
    level = np.array([0.55, 0.4, 0.25])[None, :, None, None]
    pictures = np.clip(draw.normal(level, 0.15, shape) * 255, 0, 255).round()
    flat = np.moveaxis(pictures, 1, -1).reshape(-1, 3)
    scaler = Standard(flat.mean(0), flat.std(0))
    fitted = onnxscale.Fitted(scaler, axis=1, profile=profile(flat))
    stats = onnxscale.Statistics({None: fitted}, {}, onnxscale.Source("test"))
    assert check(stats, pictures).verdict == "as expected"
    assert check(stats, pictures[:, ::-1]).verdict == "bgr"


def test_what_cannot_be_told_is_said() -> None:
    rows = np.random.default_rng(0).normal(3, 1, (500, 2))
    assert check(profile(rows), rows[:31]).verdict == "cannot tell"
    assert check(profile(np.ones((100, 2))), np.ones((50, 2))).verdict == "cannot tell"
    with pytest.raises(DataError, match=r"3 columns .* expects 2"):
        check(profile(rows), np.zeros((50, 3)))
    with pytest.raises(StatisticsError):
        check({"kind": "normalizer", "norm": "l2"}, rows)


@pytest.mark.slow
def test_ten_thousand_columns() -> None:
    draw = np.random.default_rng(0)
    train = draw.normal(draw.normal(0, 50, 10_000), draw.uniform(1, 9, 10_000), (1000, 10_000))
    known = profile(train)
    raw = train[:300]
    assert check(known, raw).verdict == "as expected"
    swapped = raw.copy()
    swapped[:, [7, 4000]] = swapped[:, [4000, 7]]
    assert check(known, swapped).verdict == "exchanged"
    assert check(known, raw[:, draw.permutation(10_000)]).verdict == "permuted"


def test_scaled_data_of_one_kind_of_patient_is_named_by_the_scaler_of_the_model() -> None:
    """The first 100 rows are mostly malignant: they have drifted too, and a robust scaler would fit them a little better."""
    rows = faults.table("breast_cancer").rows
    found = onnxscale.check(onnxscale.fit(rows), ((rows - rows.mean(0)) / rows.std(0))[:100])
    assert found.verdict == "z-scored" and found.also == ("robust-scaled",)


def test_one_answer_of_few_is_drift_and_one_value_of_many_is_broken() -> None:
    rows = faults.table("diabetes").rows
    known = profile(rows)
    women = rows[rows[:, 1] == 2.0][:200]
    found = check(known, women)
    assert found.level != "mismatch", (found.verdict, found.story)
    assert [w.column for w in found.warnings if w.rule == "constant"] == ["column 1"]
    for still, column in ((1.5, 1), (25.0, 2)):  # no answer that there was; one of many values
        stuck = rows[:200].copy()
        stuck[:, column] = still
        assert check(known, stuck).verdict == "constant"


def test_three_columns_in_a_ring_are_no_exchange_of_two() -> None:
    """As in a table of voters: age 46 +- 18, years of school 12 +- 3.4, income 3.9 +- 2.8."""
    draw = np.random.default_rng(3)
    rows = np.abs(draw.normal([45.6, 12.0, 3.9], [17.7, 3.4, 2.8], (2000, 3)))
    found = check(profile(rows), rows[:256, [2, 0, 1]])
    assert found.verdict == "permuted" and "3 of 3" in found.story


def test_returns_that_arrive_as_the_year_are_in_another_order_not_z_scored() -> None:
    """A year, three lags of a return and a volume, moved: read as z-scored, returns near zero are years and volumes of sorts."""
    draw = np.random.default_rng(5)
    returns = draw.normal(0.15, 2.36, (4000, 3))
    x = np.column_stack([draw.integers(1990, 2011, 4000), returns, draw.lognormal(0, 0.9, 4000)])
    known = profile(x)
    order = [1, 2, 4, 0, 3]
    for i in range(10):
        rows = x[draw.integers(0, len(x), 256)]
        found = check(known, rows[:, order])
        assert found.verdict == "permuted" and "permuted" in found.tested, i
        assert check(known, (rows - x.mean(0)) / x.std(0)).verdict == "z-scored"


@pytest.mark.parametrize(("j", "k"), [(47, 57), (24, 63), (8, 63)])
def test_a_pixel_that_is_nearly_always_dark_and_one_that_is_not_are_exchanged(j: int, k: int) -> None:
    """With correlations: of those of a column that arrives with one value nothing is known, not that they are great."""
    rows = faults.table("digits").rows
    draw = np.random.default_rng(7)
    train = rows[draw.integers(0, len(rows), 10_000)]
    with np.errstate(invalid="ignore"):
        known = profile(train, correlation=np.corrcoef(train.T))
    for _ in range(5):
        clean = rows[draw.integers(0, len(rows), 256)]
        told = clean.copy()
        told[:, [j, k]] = told[:, [k, j]]
        assert check(known, clean).verdict == "as expected"
        assert check(known, told).verdict == "exchanged"
