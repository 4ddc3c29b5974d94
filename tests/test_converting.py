"""Transformers that no steps stand for, in front of a model by way of skl2onnx: from Python and from files, served on raw columns."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA, KernelPCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

import onnxscale
from onnxscale import looking, pipeline, ports
from onnxscale.errors import PlanError, StatisticsError, Unread
from tests import build
from tests.test_instances import answers

RNG = np.random.default_rng(3)
N = 200
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(18, 90, N).astype(float),
        "income": np.exp(RNG.standard_normal(N)) * 3e4,
        "city": RNG.choice(["Köln", "Oslo", "Rio", "長崎"], N),
        "code": RNG.choice([3, 7, 9], N),
    }
)
TARGET = RNG.standard_normal(N) + FRAME["age"].to_numpy() / 30
NUMBERS = ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"])

PARTS = {
    "one-hot": [NUMBERS, ("city", OneHotEncoder(handle_unknown="ignore"), ["city"])],
    "one-hot, dropped": [NUMBERS, ("city", OneHotEncoder(drop="first"), ["city"])],
    "ordinal": [NUMBERS, ("city", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city"])],
    "integers": [("code", OneHotEncoder(), ["code"]), NUMBERS, ("city", OrdinalEncoder(), ["city"])],
    "imputed text": [
        ("city", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), ["city"]), NUMBERS,
    ],
    "target": [NUMBERS, ("city", TargetEncoder(), ["city"])],
    "splines": [("s", SplineTransformer(n_knots=4), ["age"]), ("city", OneHotEncoder(), ["city"])],
    "power and quantile": [
        ("p", PowerTransformer(), ["income"]), ("q", QuantileTransformer(n_quantiles=30, output_distribution="normal"), ["age"]),
        ("city", OneHotEncoder(), ["city"]),
    ],
    "logarithm and bins": [
        ("l", FunctionTransformer(np.log1p), ["income"]), ("b", KBinsDiscretizer(4, encode="onehot-dense"), ["age"]),
        ("city", OneHotEncoder(), ["city"]),
    ],
    "passed on": [("city", OneHotEncoder(), ["city"]), ("rest", "passthrough", ["age"])],
}  # fmt: skip
WAYS = {"python": lambda e: e, "pickle": pickle.dumps, "joblib": lambda e: _dump(e), "skops": skops.io.dumps}  # noqa: PLW0108


def _dump(estimator: object) -> bytes:
    held = io.BytesIO()
    joblib.dump(estimator, held, compress=("zlib", 3))
    return held.getvalue()


def columns(frame: pd.DataFrame, made: onnx.ModelProto) -> dict[str, np.ndarray]:
    """A frame as an app feeds it: what the model's inputs say."""
    kinds = {8: object, 1: np.float32, 11: np.float64, 7: np.int64}
    return {v.name: frame[[v.name]].to_numpy().astype(kinds[v.type.tensor_type.elem_type]) for v in made.graph.input}


def dense(values: object) -> np.ndarray:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("way", WAYS)
def test_columns_of_text_and_numbers(name: str, way: str) -> None:
    estimator = ColumnTransformer(PARTS[name]).fit(FRAME, TARGET)
    want = dense(estimator.transform(FRAME))
    baked = onnxscale.bake(build.identity(("N", want.shape[1])), WAYS[way](estimator)).verify()
    assert baked.comparison.verified, baked.comparison
    made = baked.to_proto()
    taken = {c for _, _, of in PARTS[name] for c in of}
    assert [i.name for i in made.graph.input] == [c for c in FRAME if c in taken]  # nobody can feed what is dropped
    got = answers(baked.to_bytes(), **columns(FRAME, made))[0]
    income32 = FRAME.assign(income=FRAME["income"].astype("f").astype("d"))
    np.testing.assert_allclose(got, dense(estimator.transform(income32)).astype("f"), rtol=3e-7, atol=1e-7)


def numeric(estimator):
    return estimator.fit(FRAME[["age", "income"]].to_numpy(), TARGET)


@pytest.mark.parametrize(
    "estimator",
    [
        KernelPCA(2, kernel="rbf", gamma=1e-9), VarianceThreshold(), SelectKBest(f_regression, k=1),
        make_pipeline(StandardScaler(), PolynomialFeatures(2), SelectKBest(f_regression, k=3)),
        FeatureUnion([("a", StandardScaler()), ("b", KernelPCA(1))]),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_numbers_alone_stay_one_input(estimator, opset: int) -> None:
    fitted = numeric(estimator)
    x = FRAME[["age", "income"]].to_numpy().astype("f")
    want = fitted.transform(x.astype("d"))
    model = build.identity(("N", want.shape[1]))
    model.opset_import[0].version = opset
    baked = onnxscale.bake(model, fitted).verify()
    assert baked.comparison.verified, baked.comparison
    np.testing.assert_allclose(answers(baked.to_bytes(), x=x)[0], want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def pipeline_of_a_model():
    return make_pipeline(ColumnTransformer(PARTS["one-hot"]), LinearRegression()).fit(FRAME, TARGET)


def dense_model(width: int, coefficients: np.ndarray, intercept: float) -> onnx.ModelProto:
    """A linear model in the names that exporters give."""
    w = build.tensor(coefficients.reshape(width, 1), "w")
    b = build.tensor([intercept], "b")
    nodes = [onnx.helper.make_node("Gemm", ["features", "w", "b"], ["y"])]
    return build.model(nodes, [build.value("features", ("N", width))], [build.value("y", ("N", 1))], [w, b])


def test_a_pipeline_with_its_model_end_to_end(tmp_path) -> None:
    whole = pipeline_of_a_model()
    linear = whole[-1]
    onnx.save(dense_model(len(linear.coef_), linear.coef_, linear.intercept_), tmp_path / "m.onnx")
    joblib.dump(whole, tmp_path / "p.joblib")
    run = [sys.executable, "-m", "onnxscale"]
    made = subprocess.run(
        [*run, "bake", "m.onnx", "p.joblib"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert "by way of skl2onnx" in made.stdout and "'city' string" in made.stdout
    out = tmp_path / "m.baked.onnx"
    got = answers(out.read_bytes(), **columns(FRAME, onnx.load(out)))[0][:, 0]
    np.testing.assert_allclose(got, whole.predict(FRAME), rtol=1e-5, atol=1e-5)
    shown = subprocess.run([*run, "inspect", out], capture_output=True, text=True, check=False)
    assert "ColumnTransformer" in shown.stdout
    checked = subprocess.run(
        [*run, "verify", out, "--against", "m.onnx", "p.joblib", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0 and json.loads(checked.stdout)["verdict"] == "VERIFIED"
    assert (
        pipeline.verify(out, tmp_path / "m.onnx", ColumnTransformer(PARTS["one-hot"]).fit(FRAME[:90])).verdict
        == "DIFFERS"
    )
    onnxscale.unbake(out, tmp_path / "o.onnx")
    assert (tmp_path / "o.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    assert {p.how for p in ports.of(str(out)) if p.role == "input"} <= {"baked", "bare"}
    assert looking.inspect(out).record["scalers"][0]["converted"]["inputs"] == ["age", "income", "city"]
    with pytest.raises(PlanError, match="scale twice"):
        onnxscale.bake(out, whole)


def test_a_target_scaler_goes_with_it() -> None:
    target = StandardScaler().fit(TARGET[:, None] * 100)
    estimator = ColumnTransformer(PARTS["one-hot"]).fit(FRAME)
    model = dense_model(6, np.arange(6.0), 0.5)
    baked = onnxscale.bake(model, estimator, target=target).verify()
    assert baked.comparison.verified, baked.comparison
    got = answers(baked.to_bytes(), **columns(FRAME, baked.to_proto()))[0]
    inside = dense(estimator.transform(FRAME)) @ np.arange(6.0).reshape(-1, 1) + 0.5
    np.testing.assert_allclose(got, target.inverse_transform(inside), rtol=1e-5, atol=1e-4)


def test_a_wrong_graph_is_found() -> None:
    """What reaches the model is compared with the transformer, not with what skl2onnx made of it."""
    estimator = ColumnTransformer(PARTS["one-hot"]).fit(FRAME)
    baked = onnxscale.bake(build.identity(("N", 6)), estimator)
    other = ColumnTransformer(PARTS["one-hot"]).fit(FRAME.assign(age=FRAME["age"] * 1.001))
    wrong = onnxscale.bake(build.identity(("N", 6)), other)
    mixed = type(baked)(baked.original, baked.plan, wrong.edited)
    found = mixed.verify().comparison
    assert found.verdict == "DIFFERS" and "column 0" in found.reason


@pytest.mark.parametrize(
    ("estimator", "model", "words"),
    [
        (ColumnTransformer(PARTS["one-hot"]), ("N", 9), "makes 6 columns; no float input takes that"),
        (
            ColumnTransformer([("f", FunctionTransformer(lambda x: x + 1), ["age"]), ("c", OneHotEncoder(), ["city"])]),
            ("N", 5), "FunctionTransformer",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(estimator, model: tuple, words: str) -> None:
    estimator.fit(FRAME)
    with pytest.raises((PlanError, StatisticsError), match=words):
        onnxscale.bake(build.identity(model), estimator)


def test_a_column_named_like_a_tensor_of_the_model() -> None:
    estimator = ColumnTransformer([("c", OneHotEncoder(), ["y"])]).fit(pd.DataFrame({"y": list("abca")}))
    with pytest.raises(PlanError, match="names of tensors inside the model"):
        onnxscale.bake(build.identity(("N", 3)), estimator)


class Own(StandardScaler):
    """A class of the user's, which no file may have us make."""


@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_from_a_file_only_known_classes_are_rebuilt(way: str) -> None:
    mine = ColumnTransformer([("o", Own(), ["age"]), ("c", OneHotEncoder(), ["city"])]).fit(FRAME)
    with pytest.raises(StatisticsError, match=r"Own .*Bake it from Python|Own.*cannot be rebuilt"):
        onnxscale.bake(build.identity(("N", 5)), WAYS[way](mine))

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    estimator = ColumnTransformer([("c", OneHotEncoder(), ["city"])]).fit(FRAME)
    estimator.evil = Evil()
    with pytest.raises(StatisticsError) as said:
        onnxscale.bake(build.identity(("N", 4)), WAYS[way](estimator))
    assert not isinstance(said.value, Unread)


def test_skl2onnx_and_scikit_learn_are_imported_only_then() -> None:
    code = (
        "import sys, json, onnxscale; from tests import build;"
        "onnxscale.bake(build.mlp(), {'mean': [1, 2, 3, 4], 'std': [1, 1, 1, 1]}).to_bytes();"
        "print([m for m in ('skl2onnx', 'sklearn', 'pandas') if m in sys.modules])"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout.strip() == "[]"


def test_selectors_of_columns_come_out_of_a_file() -> None:
    estimator = ColumnTransformer(
        [("t", OneHotEncoder(), make_column_selector(dtype_include=object)), ("n", StandardScaler(), ["age"])]
    )
    frame = FRAME.assign(city=FRAME["city"].astype(object))
    estimator.fit(frame)
    for way in WAYS.values():
        baked = onnxscale.bake(build.identity(("N", 5)), way(estimator)).verify()
        assert baked.comparison.verified


@pytest.mark.parametrize("how", ["infrequent_if_exist", "ignore"])
@pytest.mark.parametrize("way", WAYS)
def test_unknown_categories_where_none_is_infrequent(how: str, way: str) -> None:
    encoder = OneHotEncoder(handle_unknown=how, min_frequency=2)
    estimator = ColumnTransformer([NUMBERS, ("city", encoder, ["city", "code"])]).fit(FRAME)
    baked = onnxscale.bake(build.identity(("N", 9)), WAYS[way](estimator)).verify()
    assert baked.comparison.verified and encoder.handle_unknown == how


@pytest.mark.parametrize(
    "estimator", [KernelPCA(2, kernel="poly", degree=2), TfidfTransformer()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("way", WAYS)
def test_more_classes_are_rebuilt(estimator: Any, way: str) -> None:
    fitted = estimator.fit(np.random.default_rng(0).random((40, 3)))
    width = fitted.transform(np.ones((1, 3))).shape[1]
    assert onnxscale.bake(build.identity(("N", width)), WAYS[way](fitted)).verify().comparison.verified


def test_text_that_is_dropped_is_no_input() -> None:
    frame = FRAME.assign(name=[f"n{i}" for i in range(N)])
    estimator = ColumnTransformer([("c", OneHotEncoder(), ["city"]), ("n", StandardScaler(), ["age"])]).fit(frame)
    baked = onnxscale.bake(build.identity(("N", 5)), estimator)
    baked = baked.verify({"age": frame["age"].to_numpy("f"), "city": frame["city"].to_numpy()})
    assert baked.comparison.verified
    assert any("drops 'income', 'code', 'name'" in n for n in baked.plan.converted.notes)
    assert [i.name for i in baked.to_proto().graph.input] == ["age", "city"]


def test_pca_of_columns_beside_text() -> None:
    estimator = ColumnTransformer(
        [("p", make_pipeline(StandardScaler(), PCA(1)), ["age", "income"]), ("c", OneHotEncoder(), ["city"])]
    )
    estimator.fit(FRAME)
    baked = onnxscale.bake(build.identity(("N", 5)), _dump(estimator)).verify()
    assert baked.comparison.verified
