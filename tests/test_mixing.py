"""Scalers that make features of several: splines, products and projections, as scikit-learn has them, baked and verified."""

from __future__ import annotations

import io

import joblib
import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler

import onnxscale
from onnxscale import sources
from onnxscale.errors import PlanError, StatisticsError
from onnxscale.scalers import make
from tests import build
from tests.test_instances import answers

RNG = np.random.default_rng(11)
X = RNG.standard_normal((300, 3)) * [1, 20, 300] + [0, 50, -1000]


def dump(estimator: object) -> bytes:
    held = io.BytesIO()
    joblib.dump(estimator, held)
    return held.getvalue()


def served(estimator: object, x: np.ndarray, opset: int = 17) -> np.ndarray:
    """What reaches the model, of an identity of the width that the estimator makes."""
    width = estimator.transform(X[:1]).shape[1]
    model = build.identity(("N", width))
    model.opset_import[0].version = opset
    baked = onnxscale.bake(model, dump(estimator)).verify()
    assert baked.comparison.verified, baked.comparison
    return answers(baked.to_bytes(), x=x.astype("f"))[0]


@pytest.mark.parametrize("extrapolation", ["constant", "linear", "continue", "periodic", "error"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("knots", ["uniform", "quantile"])
@pytest.mark.parametrize("bias", [True, False])
def test_splines_are_scikit_learns(extrapolation: str, degree: int, knots: str, bias: bool) -> None:
    if extrapolation == "constant" and degree == 0:
        pytest.skip("scikit-learn fails on it itself")
    estimator = SplineTransformer(
        n_knots=7, degree=degree, knots=knots, extrapolation=extrapolation, include_bias=bias
    ).fit(X)
    spread = np.ptp(X, axis=0)
    wide = X if extrapolation == "error" else np.concatenate([X, X + spread, X - 1.7 * spread, [X.min(0)], [X.max(0)]])
    want = estimator.transform(wide)
    have = sources.read(estimator).inputs[None].transform()(wide)
    scale = max(1.0, np.abs(want).max())
    np.testing.assert_allclose(have, want, rtol=1e-9, atol=1e-12 * scale)
    if extrapolation == "error":
        beyond = sources.read(estimator).inputs[None].transform()(X.max(0, keepdims=True) + 1)
        assert np.isnan(beyond).all()


@pytest.mark.parametrize("opset", [10, 13, 18])
@pytest.mark.parametrize("extrapolation", ["constant", "linear", "continue", "periodic"])
def test_splines_are_served(opset: int, extrapolation: str) -> None:
    estimator = SplineTransformer(n_knots=5, extrapolation=extrapolation).fit(X)
    x = np.concatenate([X, 2 * X]).astype("f")
    want = estimator.transform(x.astype("d"))
    np.testing.assert_allclose(served(estimator, x, opset), want, rtol=3e-7, atol=1e-7 * max(1, np.abs(want).max()))


def test_a_spline_that_takes_missing_values() -> None:
    try:
        estimator = SplineTransformer(n_knots=4, handle_missing="zeros").fit(X)
    except TypeError:
        pytest.skip("this scikit-learn has no handle_missing")
    x = X[:20].copy()
    x[3, 1] = np.nan
    np.testing.assert_allclose(
        served(estimator, x), estimator.transform(x.astype("f").astype("d")), rtol=3e-7, atol=1e-7
    )


@pytest.mark.parametrize("degree", [1, 2, 3, (2, 3), 4])
@pytest.mark.parametrize("interaction", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_scikit_learns(degree: object, interaction: bool, bias: bool) -> None:
    estimator = PolynomialFeatures(degree, interaction_only=interaction, include_bias=bias).fit(X)
    want = estimator.transform(X)
    np.testing.assert_array_equal(sources.read(estimator).inputs[None].transform()(X), want)
    x = X.astype("f")
    np.testing.assert_array_equal(served(estimator, x), estimator.transform(x.astype("d")).astype("f"))


@pytest.mark.parametrize("estimator", [PCA(2), PCA(3, whiten=True), IncrementalPCA(2), TruncatedSVD(2)], ids=str)
def test_projections_are_scikit_learns(estimator) -> None:
    estimator.fit(X)
    want = estimator.transform(X)
    have = sources.read(estimator).inputs[None].transform()(X)
    np.testing.assert_allclose(have, want, rtol=1e-9, atol=1e-9)
    x = X.astype("f")
    np.testing.assert_allclose(served(estimator, x), estimator.transform(x.astype("d")), rtol=1e-6, atol=1e-4)


def test_pipelines_and_columns_of_them() -> None:
    chain = make_pipeline(StandardScaler(), PolynomialFeatures(2), PCA(3)).fit(X)
    np.testing.assert_allclose(served(chain, X), chain.transform(X.astype("f").astype("d")), rtol=1e-5, atol=1e-5)
    beside = ColumnTransformer(
        [("s", SplineTransformer(n_knots=4), [0]), ("p", PCA(1), [1, 2]), ("n", StandardScaler(), [2])]
    ).fit(X)
    np.testing.assert_allclose(served(beside, X), beside.transform(X.astype("f").astype("d")), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("spline", {"knots": [[0, 1, 2]], "degree": 3}, "2 x degree"),
        ("spline", {"knots": [[2, 1, 0, 1, 1, 1, 1, 1]], "degree": 3}, "rising"),
        ("spline", {"knots": [[0] * 8], "extrapolation": "cubic"}, "expected one of error"),
        ("polynomial", {"width": 0}, "from 1 on"),
        ("polynomial", {"width": 4000, "degree": 3}, "more than 100,000"),
        ("projection", {"components": [1, 2]}, "a row for each result"),
        ("projection", {"components": [[1, 2]], "mean": [1]}, "expected 2 values"),
    ],
)
def test_what_cannot_be_is_said(kind: str, fields: dict, words: str) -> None:
    with pytest.raises(StatisticsError, match=words):
        make(kind, fields).transform()
    with pytest.raises(PlanError, match="last axis"):
        onnxscale.bake(
            build.identity(("N", 8, 5)), {"kind": "spline", "knots": [[0, 1, 2, 3, 4, 5, 6, 7]] * 2, "axis": 1}
        )
