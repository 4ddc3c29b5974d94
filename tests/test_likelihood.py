"""Powers found in streams: those of scikit-learn's PowerTransformer, to what its own search leaves open."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxscale.errors import DataError
from onnxscale.fitting.likelihood import METHODS, powers

preprocessing = pytest.importorskip("sklearn.preprocessing", reason="needs scikit-learn")
stats = pytest.importorskip("scipy.stats", reason="needs scipy")


def table(rows: int = 4000) -> np.ndarray:
    draw = np.random.default_rng(5)
    return np.stack(
        [
            draw.lognormal(1, 0.7, rows),
            draw.gamma(2, 3, rows),
            draw.random(rows) + 1e-3,
            draw.exponential(1000, rows) + 1,
            draw.beta(5, 1, rows) + 0.01,
            np.round(draw.gamma(3, 2, rows)) + 1,
            np.abs(draw.standard_t(3, rows)) + 1e-6,
        ],
        axis=1,
    )


def batches(data: np.ndarray, rows: int = 700) -> Iterator[np.ndarray]:
    for at in range(0, len(data), rows):
        yield data[at : at + rows]


def likelihood(method: str, column: np.ndarray, power: float) -> float:
    return float((stats.yeojohnson_llf if method == "yeo-johnson" else stats.boxcox_llf)(power, column))


@pytest.mark.parametrize("method", METHODS)
def test_scikit_learns_powers(method: str) -> None:
    data = table()
    if method == "yeo-johnson":
        data = data * [1, -1, 1, 0.01, -3, 1, 1] - [0, 0, 0.5, 3, 0, 4, 2]
    data[::7, 1] = np.nan
    found = powers(lambda: batches(data), method)
    theirs = preprocessing.PowerTransformer(method=method).fit(data)
    # scipy's search stops at 1.5e-8 of the power, and the likelihood is flat there to the root of an ulp
    np.testing.assert_allclose(found.lambdas, theirs.lambdas_, atol=2e-6, rtol=2e-6)
    kept = data[:, 0][~np.isnan(data[:, 0])]
    assert likelihood(method, kept, found.lambdas[0]) >= likelihood(method, kept, theirs.lambdas_[0]) - 1e-9
    same = theirs.__class__(method=method).fit(data)
    same.lambdas_ = found.lambdas
    same.standardize = False
    moved = same.transform(data)
    np.testing.assert_allclose(found.mean, np.nanmean(moved, axis=0), rtol=1e-11)
    np.testing.assert_allclose(found.std, np.nanstd(moved, axis=0), rtol=1e-11)
    assert found.scans <= 9


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 1.0, 1e4]), shape=st.floats(0.3, 3))
@settings(deadline=None, max_examples=15)
def test_no_neighbour_is_more_likely(method: str, seed: int, scale: float, shape: float) -> None:
    column = np.random.default_rng(seed).lognormal(0, shape, 300) * scale
    found = powers(lambda: batches(column[:, None], 100), method).lambdas[0]
    best = likelihood(method, column, found)
    for off in (1e-3, 1e-2, 0.3):
        assert best > likelihood(method, column, found + off)
        assert best > likelihood(method, column, found - off)


def test_sorted_rows_only_cost_scans() -> None:
    column = np.sort(table()[:, :2], axis=0)
    np.testing.assert_allclose(
        powers(lambda: batches(column, 300)).lambdas, powers(lambda: batches(column[::-1], 4000)).lambdas, rtol=1e-9
    )


def test_constant_missing_and_one_row() -> None:
    data = np.stack([np.full(50, 3.25), np.full(50, np.nan), np.arange(50.0)], axis=1)
    data[3, 2] = np.inf
    found = powers(lambda: batches(data, 20))
    assert found.lambdas[0] == 1 and found.std[0] == 0 and found.mean[0] == pytest.approx(3.25, abs=1e-15)
    assert np.isnan([found.lambdas[1], found.mean[1], found.std[1]]).all()
    assert np.isfinite(found.lambdas[2])
    assert powers(lambda: [np.ones((1, 2))]).lambdas.tolist() == [1, 1]


def test_large_and_small_values_do_not_overflow() -> None:
    draw = np.random.default_rng(0)
    for scale in (1e-200, 1e-20, 1e20, 1e200):
        found = powers(lambda: [draw.lognormal(0, 1, (500, 2)) * scale], "box-cox")  # noqa: B023
        assert np.isfinite([found.lambdas, found.mean, found.std]).all()


def test_refusals() -> None:
    data = np.asarray([[1.0, -1.0, 5.0], [2.0, 3.0, 5.0]])
    with pytest.raises(DataError, match="'b' have values that are not above zero"):
        powers(lambda: [data], "box-cox", ("a", "b", "c"))
    with pytest.raises(DataError, match="'c' have one value only"):
        powers(lambda: [np.abs(data)], "box-cox", ("a", "b", "c"))
    with pytest.raises(DataError, match="no rows"):
        powers(lambda: [])
