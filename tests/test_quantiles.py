"""Exact quantiles: those of numpy on the same values, for any floats, over any batches, shards and rounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from onnxscale.errors import StatisticsError
from onnxscale.fitting import quantiles as q
from onnxscale.fitting import radix
from onnxscale.profile import PROBABILITIES

P = np.unique(np.concatenate([PROBABILITIES, [0.001, 0.01, 0.1, 1 / 3, 0.9, 0.999]]))
BOTH = (q.Asked(P), q.Asked(P, "linear"))
DTYPES = (np.float32, np.float64)


def scan_of(data: np.ndarray, rows: int = 1000) -> q.Scan:
    def scan(columns: Sequence[int]) -> Iterator[np.ndarray]:
        for at in range(0, max(len(data), 1), rows):
            yield data[at : at + rows, list(columns)]

    return scan


def truth(column: np.ndarray, method: str) -> np.ndarray:
    kept = column[np.isfinite(column)].astype(np.float64)
    if not kept.size:
        return np.full(len(P), np.nan)
    with np.errstate(all="ignore"):
        return np.quantile(kept, P, method=method) + 0.0


def agree(data: np.ndarray, found: Sequence[np.ndarray]) -> None:
    for ask, values in zip(BOTH, found, strict=True):
        for j in range(data.shape[1]):
            expected = truth(data[:, j], ask.method)
            np.testing.assert_array_equal(values[j], expected, err_msg=f"{ask.method} of column {j}")
            assert not np.signbit(values[j][values[j] == 0]).any()


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    """Any floats: subnormals, ties, both zeros, the largest, NaN, infinities."""
    dtype = draw(st.sampled_from(DTYPES))
    tiny, top = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    bits = 32 if dtype is np.float32 else 64
    special = [0.0, -0.0, tiny, -tiny, 3 * tiny, top, -top, 1.0, -1.0, 255.0, np.nan, np.inf, -np.inf]
    numbers = st.one_of(st.sampled_from([float(dtype(v)) for v in special]), st.floats(width=bits))
    return draw(hn.arrays(dtype, st.tuples(st.integers(1, 60), st.integers(1, 3)), elements=numbers))


@pytest.mark.parametrize("few_values", [0, 7, radix.FEW])
@pytest.mark.parametrize("most", [0, 3])
@given(data=tables())
@settings(deadline=None, max_examples=25)
def test_any_floats(few_values: int, most: int, data: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(radix, "FEW", few_values)
        patch.setattr(q, "MOST", most)
        with np.errstate(all="ignore"):
            agree(data, q.quantiles(scan_of(data, 13), data.shape[1], *BOTH))


def columns(dtype: type, rows: int = 150_000) -> np.ndarray:
    draw = np.random.default_rng(7)
    made = np.stack(
        [
            draw.normal(size=rows),
            draw.lognormal(3, 4, rows),
            1 + draw.random(rows) * 1e-6,
            draw.integers(-50, 50, rows),
            -draw.random(rows),
            1.7e9 + draw.normal(size=rows),
            np.where(draw.random(rows) < 0.9, -0.0, draw.normal(size=rows)),
            draw.integers(0, 1 << 20, rows) / 100,
            np.full(rows, np.nan),
            np.full(rows, 0.1),
        ],
        axis=1,
    ).astype(dtype)
    made[::17, 0] = np.nan
    made[5:9, 1] = [np.inf, -np.inf, np.nan, np.inf]
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("most", [0, 3])
def test_many_rows(dtype: type, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(q, "MOST", most)
    data = columns(dtype)
    agree(data, q.quantiles(scan_of(data, 40_000), data.shape[1], *BOTH))


def test_a_thousand_quantiles() -> None:
    data = columns(np.float32)
    p = np.linspace(0, 1, 1000)
    found = q.quantiles(scan_of(data, 40_000), data.shape[1], q.Asked(p, "linear"))[0]
    for j in range(2):
        kept = data[:, j][np.isfinite(data[:, j])].astype(np.float64)
        np.testing.assert_array_equal(found[j], np.quantile(kept, p))


@pytest.mark.parametrize("dtype", DTYPES)
def test_little_memory_means_more_scans_and_the_same_values(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    data, groups = columns(dtype, 80_000), []
    monkeypatch.setattr(q, "MEMORY", 20 << 20)
    monkeypatch.setattr(q, "MOST", 100)

    def scan(those: Sequence[int]) -> Any:
        groups.append(list(those))
        return scan_of(data, 30_000)(those)

    agree(data, q.quantiles(scan, data.shape[1], *BOTH))
    assert len(groups) > 3


def test_rounds_are_few() -> None:
    draw = np.random.default_rng(0)
    scans = []

    def scan(those: Sequence[int]) -> Any:
        scans.append(list(those))
        return scan_of(data, 50_000)(those)

    data = draw.normal(size=(200_000, 1)).astype(np.float32)
    q.quantiles(scan, 1, *BOTH)
    assert len(scans) == 2
    scans.clear()
    for dtype, rounds in ((np.float32, 1), (np.float64, 2)):
        data = draw.integers(0, 256, (200_000, 1)).astype(dtype)
        q.quantiles(scan, 1, *BOTH)
        assert len(scans) == rounds
        scans.clear()
    data = draw.normal(size=(200_000, 1)).astype(np.float32).astype(np.float64)
    q.quantiles(scan, 1, *BOTH)
    assert len(scans) <= 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [90, 200_000])
def test_shards_in_rounds_equal_the_whole(dtype: type, rows: int) -> None:
    data = columns(dtype, rows)
    shards = np.array_split(data, [rows // 7, rows // 3, rows // 3 + 2])
    scans = [scan_of(s, 30_000) for s in shards]
    width = data.shape[1]

    def round_of(searches: Sequence[radix.Search | None]) -> dict[int, radix.Tally]:
        asked = [s and radix.Search.from_json(json.loads(json.dumps(s.to_json()))) for s in searches]
        told = [dict(q.counted(scan, asked)) for scan in scans]
        read = [{i: radix.Tally.from_json(json.loads(json.dumps(t.to_json()))) for i, t in s.items()} for s in told]
        return dict(zip(read[0], q.merged(*(list(r.values()) for r in read)), strict=True))

    searches = q.wanted(list(round_of([None] * width).values()), BOTH)
    while q.pending(searches):
        searches = q.advanced(searches, round_of(searches))
    found = q.answers(BOTH, searches)
    agree(data, found)
    for a, b in zip(found, q.quantiles(scan_of(data, 77_777), width, *BOTH), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_round_says_how_far_off_it_is(dtype: type) -> None:
    data = columns(dtype)
    first = [t for _, t in q.counted(scan_of(data, 40_000), [None] * data.shape[1])]
    values, errors = q.approximate(first, q.Asked(P))
    for j, tally in enumerate(first):
        kept = np.sort(data[:, j][np.isfinite(data[:, j])].astype(np.float64))
        if not kept.size:
            assert np.isnan(values[j]).all() and np.isnan(errors[j]).all()
            continue
        assert tally.held == kept.size and tally.nonfinite == len(data) - kept.size
        below, up_to = np.searchsorted(kept, values[j], "left"), np.searchsorted(kept, values[j], "right")
        rank = q.Asked(P).neighbours(kept.size)[0]
        off = np.maximum(0, np.maximum(below - rank, rank + 1 - up_to))
        assert (off <= errors[j] * kept.size + 1e-9).all()
    assert errors[0].max() < (0.01 if dtype is np.float32 else 0.1)


def test_counts_past_32_bits() -> None:
    tally = radix.Tally(32)
    tally.take(np.full(70_000, 2.5, np.float32))
    for _ in range(16):  # 70,000 * 2**16 values
        tally.add(radix.Tally.from_json(tally.to_json()))
    assert tally.held == 70_000 << 16
    found = radix.begin(tally, np.asarray([0, tally.held - 1]))
    assert found.done and found.values.tolist() == [2.5, 2.5]


def test_refusals() -> None:
    with pytest.raises(StatisticsError, match="from 0 to 1"):
        q.Asked(np.asarray([0.5, 1.5]))
    with pytest.raises(StatisticsError, match="method"):
        q.Asked(np.asarray([0.5]), "cubic")
    one, other = radix.Tally(32), radix.Tally(64)
    with pytest.raises(StatisticsError, match="same dtype"):
        one.add(other)

    def scan(those: Sequence[int]) -> Iterator[np.ndarray]:
        yield np.ones((3, 1), np.float32)
        yield np.ones((3, 1), np.float64)

    with pytest.raises(StatisticsError, match="column 0 was float32"):
        q.quantiles(scan, 1, *BOTH)
