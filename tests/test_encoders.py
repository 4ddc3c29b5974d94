"""Encoders of categories and selectors of columns, from Python and from files, against scikit-learn's own answers."""

from __future__ import annotations

import pickle

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

import onnxscale
from onnxscale.errors import StatisticsError
from tests import build
from tests.test_converting import columns, dense

RNG = np.random.default_rng(5)
N = 300
TEXT = pd.DataFrame(
    {
        "city": RNG.choice(["Köln", "Oslo", "Rio", "x", "y"], N, p=[0.5, 0.3, 0.16, 0.02, 0.02]),
        "sex": RNG.choice(["m", "f"], N),
    }
)
NEW = TEXT.copy()
NEW.iloc[:3, 0], NEW.iloc[2:5, 1] = "nowhere", "?"
NUMBERS = np.c_[RNG.choice([0.5, 1.5, 2.0, np.nan], N), RNG.integers(0, 9, N)]
WAYS = {"python": lambda e: e, "pickle": pickle.dumps, "skops": skops.io.dumps}
RARE = {"min_frequency": 20}
LENIENT = [
    OneHotEncoder(**RARE, handle_unknown="infrequent_if_exist"), OneHotEncoder(max_categories=3, handle_unknown="infrequent_if_exist"),
    OneHotEncoder(**RARE, handle_unknown="ignore"), OneHotEncoder(**RARE, drop="first", handle_unknown="ignore"),
    OneHotEncoder(drop="if_binary", handle_unknown="ignore"), OneHotEncoder(**RARE, handle_unknown="ignore", sparse_output=False),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    OrdinalEncoder(**RARE, handle_unknown="use_encoded_value", unknown_value=99),
]  # fmt: skip
STRICT = [
    OneHotEncoder(), OneHotEncoder(**RARE), OneHotEncoder(**RARE, drop="first"), OrdinalEncoder(), OrdinalEncoder(max_categories=2),
]  # fmt: skip


def served(estimator: object, width: int) -> tuple[onnxruntime.InferenceSession, object]:
    baked = onnxscale.bake(build.identity(("N", width)), estimator).verify()
    assert baked.comparison.verified, baked.comparison
    return onnxruntime.InferenceSession(baked.to_bytes()), baked.to_proto()


def same(estimator: object, frame: pd.DataFrame, way: str) -> None:
    want = dense(estimator.transform(frame))  # type: ignore[attr-defined]
    session, made = served(WAYS[way](estimator), want.shape[1])
    one = len(made.graph.input) == 1  # type: ignore[attr-defined]
    name = session.get_inputs()[0].name
    text = "string" in session.get_inputs()[0].type
    fed = (
        {name: frame.to_numpy().astype(object if text else np.float32)}
        if one and frame.shape[1] > 1
        else columns(frame, made)
    )
    np.testing.assert_allclose(session.run(None, fed)[0], want, rtol=3e-7, atol=2e-7)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("encoder", LENIENT, ids=str)
def test_rare_and_unknown_categories(encoder, way: str) -> None:
    same(encoder.fit(TEXT), NEW, way)


@pytest.mark.parametrize("encoder", STRICT, ids=str)
def test_an_unknown_category_is_refused_where_scikit_learn_refuses_it(encoder) -> None:
    same(encoder.fit(TEXT), TEXT, "pickle")
    session, made = served(encoder, dense(encoder.transform(TEXT)).shape[1])
    with pytest.raises(ValueError, match="unknown categories"):
        encoder.transform(NEW)
    with pytest.raises(Exception, match="out of data bounds"):
        session.run(None, columns(NEW, made))


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(), OneHotEncoder(min_frequency=30, handle_unknown="infrequent_if_exist"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    ],
    ids=str,
)  # fmt: skip
def test_categories_that_are_numbers(encoder) -> None:
    """1.5 is not 1, and a missing number is a category."""
    rows = NUMBERS.copy()
    if encoder.handle_unknown != "error":
        rows[:2, 1] = 77
    same(encoder.fit(NUMBERS), pd.DataFrame(rows), "pickle") if encoder.handle_unknown == "error" else None
    want = dense(encoder.fit(NUMBERS).transform(rows))
    session, _ = served(pickle.dumps(encoder), want.shape[1])
    np.testing.assert_array_equal(session.run(None, {session.get_inputs()[0].name: rows.astype(np.float32)})[0], want)


@pytest.mark.parametrize("way", WAYS)
def test_columns_chosen_by_their_type_and_fitted_on_float32(way: str) -> None:
    frame = TEXT.assign(age=RNG.normal(40, 9, N).astype(np.float32), fare=RNG.lognormal(3, 1, N).astype(np.float32))
    number, other = make_column_selector(dtype_include=np.number), make_column_selector(dtype_exclude=np.number)
    rare = OneHotEncoder(**RARE, handle_unknown="infrequent_if_exist", sparse_output=False)
    same(
        make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), number), (rare, other)).fit(frame),
        frame,
        way,
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [LogisticRegression(C=0.1), Lasso(0.01)], ids=str)
def test_selectors_by_a_model(model, way: str) -> None:
    x = RNG.normal(3, 2, (N, 6))
    y = (x[:, 1] + 0.5 * x[:, 4] > 4.5).astype(int)
    for selector in (
        SelectFromModel(model),
        RFE(model, n_features_to_select=2),
        RFE(RandomForestClassifier(3), n_features_to_select=3),
    ):
        same(make_pipeline(StandardScaler(), selector).fit(x, y), pd.DataFrame(x.astype(np.float32)), way)


def test_what_skl2onnx_asserts_is_a_message() -> None:
    imputer = KNNImputer().fit(NUMBERS)
    with pytest.raises(StatisticsError, match=r"By way of skl2onnx: .*opset"):
        onnxscale.bake(build.identity(("N", 2)), imputer)


def test_columns_keep_their_place_among_several_inputs() -> None:
    frame = TEXT.assign(code=RNG.integers(0, 4, N))
    both = ColumnTransformer([("e", OrdinalEncoder(), ["code", "city", "sex"])]).fit(frame)
    same(both, frame, "pickle")


def imputed(**how: object) -> IterativeImputer:
    rows = np.random.default_rng(1).normal(3, 2, (N, 5))
    rows[:, 1] += rows[:, 0]
    rows[np.random.default_rng(2).random(rows.shape) < 0.15] = np.nan
    return IterativeImputer(random_state=0, **how).fit(rows.astype(np.float32).astype(np.float64))


@pytest.mark.parametrize(
    "how", [{}, {"max_iter": 3, "min_value": 0, "initial_strategy": "median"}, {"n_nearest_features": 2}], ids=str
)
def test_missing_values_predicted_from_the_others(how) -> None:
    imputer = imputed(**how)
    rows = np.random.default_rng(4).normal(3, 2, (50, 5)).astype(np.float32)
    rows[np.random.default_rng(5).random(rows.shape) < 0.3] = np.nan
    session, _ = served(imputer, 5)
    np.testing.assert_allclose(
        session.run(None, {"x": rows})[0], imputer.transform(rows.astype(np.float64)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    "how",
    [{"estimator": DecisionTreeRegressor(max_depth=2), "max_iter": 1}, {"add_indicator": True}],
    ids=["tree", "indicator"],
)
def test_what_no_nodes_stand_for_is_said(how) -> None:
    imputer = imputed(**how)
    width = 10 if how.get("add_indicator") else 5
    with pytest.raises(StatisticsError, match=r"not linear|add_indicator"):
        onnxscale.bake(build.identity(("N", width)), imputer)
