"""Linear models, kernels and neighbours of scikit-learn, exported by skl2onnx."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from sklearn.svm import SVC, SVR

from models import statfiles as st
from models.built import Array, Built, documented, only_used_domains, some, wide, with_ir


def export(model: object, name: str, width: int, opset: int, ml: int = 3, **options: Any) -> onnx.ModelProto:
    """skl2onnx with a fixed graph name (it would draw a random one) and a dynamic batch."""
    found = convert_sklearn(
        model,
        name=name,
        initial_types=[("x", FloatTensorType([None, width]))],
        target_opset={"": opset, "ai.onnx.ml": ml},
        options=options or None,
    )
    assert isinstance(found, onnx.ModelProto)
    return found


def diabetes_linear() -> Built:
    """One ai.onnx.ml node and no ai.onnx import at all; every plain way of writing mean and std."""
    data = load_diabetes(scaled=False)
    s = StandardScaler().fit(data.data)
    fitted = LinearRegression().fit(s.transform(data.data), data.target)
    rows, names = some(data.data), data.feature_names
    return Built(
        "diabetes_linear",
        with_ir(only_used_domains(export(fitted, "diabetes_linear", 10, 9, ml=1)), 4),
        {"x": s.transform},
        {"x": rows},
        {"variable": make_pipeline(s, fitted).predict(wide(rows)).reshape(-1, 1)},
        {
            "stats.json": st.as_json(st.mean_std(s)),
            "named.json": st.as_json(st.mean_scale(s, names)),
            "attributes.json": st.as_json(st.attributes(s, names)),
            "prefixed.json": st.as_json(st.prefixed(s, names)),
            "features.json": st.as_json(st.per_feature(s, names)),
            "stats.yaml": st.as_yaml(st.mean_std(s)),
            "features.yaml": st.as_yaml(st.per_feature(s, names)),
            "stats.csv": st.csv(s, names),
            "stats.npz": st.npz(mean=s.mean_, std=s.scale_),
        },
        2e-6,
        "LinearRegressor, only ai.onnx.ml imported",
        dumps={"scaler.joblib": s},
    )


def wine_zipmap() -> Built:
    """A sequence of maps as output: expected holds them as columns, in the order of the classes."""
    x, y = load_wine(return_X_y=True)
    s = MinMaxScaler().fit(x)
    fitted = LogisticRegression(max_iter=500).fit(s.transform(x), y)
    rows, chain = some(x), make_pipeline(s, fitted)
    return Built(
        "wine_zipmap",
        documented(export(fitted, "wine_zipmap", 13, 12, ml=2), "Three cultivars of wine", author="models/make.py"),
        {"x": s.transform},
        {"x": rows},
        {"output_label": chain.predict(wide(rows)), "output_probability": chain.predict_proba(wide(rows))},
        {"stats.json": st.as_json(st.minmax(s))},
        2e-6,
        "ZipMap: output_probability is a sequence of maps; column i of expected is class i",
        dumps={"scaler.joblib": s},
    )


def wine_logistic() -> Built:
    x, y = load_wine(return_X_y=True)
    s = RobustScaler().fit(x)
    fitted = LogisticRegression(max_iter=500).fit(s.transform(x), y)
    rows, chain = some(x), make_pipeline(s, fitted)
    return Built(
        "wine_logistic",
        export(fitted, "wine_logistic", 13, 17, zipmap=False),
        {"x": s.transform},
        {"x": rows},
        {"label": chain.predict(wide(rows)), "probabilities": chain.predict_proba(wide(rows))},
        {"stats.json": st.as_json(st.robust(s)), "stats.yaml": st.as_yaml(st.robust(s))},
        2e-6,
        "RobustScaler, probabilities as a tensor",
        dumps={"scaler.joblib": s},
    )


def cancer_describe() -> Built:
    """pandas describe() has the std of a sample (ddof 1): this model was trained with that one."""
    data = load_breast_cancer()
    told = pd.DataFrame(data.data, columns=data.feature_names).describe()
    mean, std = told.loc["mean"].to_numpy(), told.loc["std"].to_numpy()

    def scale(raw: Array) -> Array:
        return np.asarray((raw - mean) / std)

    fitted = LogisticRegression(max_iter=500).fit(scale(data.data), data.target)
    rows = some(data.data)
    return Built(
        "cancer_describe",
        _renamed(export(fitted, "cancer_describe", 30, 13, zipmap=False), "x", "input:0"),
        {"input:0": scale},
        {"input:0": rows},
        {"label": fitted.predict(scale(wide(rows))), "probabilities": fitted.predict_proba(scale(wide(rows)))},
        {
            "stats.json": st.as_json({"mean": mean.tolist(), "std": std.tolist()}),
            "describe.json": st.as_json({c: told[c].to_dict() for c in told.columns}),
            "describe.csv": told.to_csv().encode(),
        },
        2e-6,
        "pandas describe(), ddof 1; the input is named input:0",
    )


def _renamed(model: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    """An input under a name that TensorFlow writes and skl2onnx would turn into input_0."""
    model.graph.input[0].name = new
    for node in model.graph.node:
        node.input[:] = [new if n == old else n for n in node.input]
    return model


def wine_svm() -> Built:
    x, y = load_wine(return_X_y=True)
    s = StandardScaler().fit(x)
    fitted = SVC(kernel="rbf").fit(s.transform(x), y)
    rows, chain = some(x), make_pipeline(s, fitted)
    return Built(
        "wine_svm",
        export(fitted, "wine_svm", 13, 15, zipmap=False),
        {"x": s.transform},
        {"x": rows},
        {"label": chain.predict(wide(rows)), "probabilities": chain.decision_function(wide(rows))},
        {"stats.json": st.as_json(st.mean_std(s))},
        1e-5,
        "SVC with an RBF kernel; the output named probabilities holds the decision function",
        dumps={"scaler.joblib": s},
    )


def diabetes_svr() -> Built:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    s = MaxAbsScaler().fit(x)
    fitted = SVR(C=100.0).fit(s.transform(x)[::4], y[::4])
    rows = some(x)
    return Built(
        "diabetes_svr",
        export(fitted, "diabetes_svr", 10, 11, ml=1),
        {"x": s.transform},
        {"x": rows},
        {"variable": make_pipeline(s, fitted).predict(wide(rows)).reshape(-1, 1)},
        {"stats.json": st.as_json(st.maxabs(s))},
        1e-5,
        "MaxAbsScaler, support vectors of 111 rows",
        dumps={"scaler.joblib": s},
    )


def iris_neighbours() -> Built:
    x, y = load_iris(return_X_y=True)
    s = MaxAbsScaler().fit(x)
    fitted = KNeighborsClassifier(5).fit(s.transform(x)[::2], y[::2])
    rows, chain = some(x[1::2]), make_pipeline(s, fitted)
    return Built(
        "iris_neighbours",
        export(fitted, "iris_neighbours", 4, 12, zipmap=False),
        {"x": s.transform},
        {"x": rows},
        {"label": chain.predict(wide(rows)), "probabilities": chain.predict_proba(wide(rows))},
        {"stats.json": st.as_json(st.maxabs(s))},
        2e-6,
        "5 nearest of 75; the distance loop is a Scan on which the input is the scanned tensor",
        exact=True,
        dumps={"scaler.joblib": s},
    )


def diabetes_columns() -> Built:
    """A table with text: only the float input is scaled, the encoders live in the graph."""
    data = load_diabetes(as_frame=True, scaled=False)
    table = data.frame
    numbers = table[["bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]].to_numpy()
    sex = np.where(table["sex"].to_numpy() == 1, "one", "two").astype(object).reshape(-1, 1)
    decade = (table["age"].to_numpy() // 10).astype(np.int64).reshape(-1, 1)
    s = StandardScaler().fit(numbers)
    frame = _frame(s.transform(numbers), sex, decade)
    encode = [("numeric", "passthrough", list(range(8)))]  # by position: skl2onnx has 3 inputs, not 10 named columns
    encode += [(c, OneHotEncoder(handle_unknown="ignore"), [i]) for i, c in ((8, "sex"), (9, "decade"))]
    fitted = make_pipeline(ColumnTransformer(encode), Ridge(alpha=1.0)).fit(frame, data.target)
    types = [("numeric", FloatTensorType([None, 8])), ("sex", StringTensorType([None, 1]))]
    model = convert_sklearn(
        fitted,
        name="diabetes_columns",
        initial_types=[*types, ("decade", Int64TensorType([None, 1]))],
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    rows = {"numeric": some(numbers), "sex": some(sex, dtype=object), "decade": some(decade, dtype=np.int64)}
    answer = fitted.predict(_frame(s.transform(wide(rows["numeric"])), rows["sex"], rows["decade"]))
    names = ["bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    return Built(
        "diabetes_columns",
        model,
        {"numeric": s.transform},
        {**rows, "sex": rows["sex"].astype(str)},
        {"variable": answer.reshape(-1, 1)},
        {"stats.json": st.as_json(st.mean_scale(s, names)), "inputs.json": st.several({"numeric": st.mean_std(s)})},
        2e-6,
        "inputs numeric (float), sex (string), decade (int64); one-hot encoders in the graph",
        dumps={"scaler.joblib": s},
    )


def _frame(numbers: Array, sex: Array, decade: Array) -> pd.DataFrame:
    """The columns in the order of the graph's inputs, which is how skl2onnx maps them."""
    frame = pd.DataFrame({f"n{i}": numbers[:, i] for i in range(numbers.shape[1])})
    return frame.assign(sex=sex[:, 0], decade=decade[:, 0])


def linnerud_targets() -> Built:
    """Three outputs in scaled units, as TransformedTargetRegressor trains them (no converter exports it whole)."""
    data = load_linnerud()
    s, t = StandardScaler().fit(data.data), StandardScaler().fit(data.target)
    fitted = Ridge(alpha=1.0).fit(s.transform(data.data), t.transform(data.target))
    rows = some(data.data, 20)
    return Built(
        "linnerud_targets",
        export(fitted, "linnerud_targets", 3, 14),
        {"x": s.transform},
        {"x": rows},
        {"variable": t.inverse_transform(fitted.predict(s.transform(wide(rows))))},
        {"stats.json": st.as_json(st.mean_scale(s, data.feature_names))},
        2e-6,
        "three outputs in scaled units, a target scaler beside",
        unscale={"variable": t.inverse_transform},
        target=("target.json", st.as_json(st.mean_scale(t, data.target_names))),
        dumps={"scaler.joblib": s, "target.joblib": t},
    )


def all_linear() -> Iterator[Built]:
    """In the order of the table in README.md."""
    for make in (diabetes_linear, wine_zipmap, wine_logistic, cancer_describe, wine_svm, diabetes_svr):
        yield make()
    for make in (iris_neighbours, diabetes_columns, linnerud_targets):
        yield make()
