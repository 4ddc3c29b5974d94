"""Trees, where a scaled value one ULP off can take the other branch."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

from collections.abc import Iterator

import lightgbm
import numpy as np
import xgboost
from onnxmltools.convert import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from models import statfiles as st
from models.built import Built, some, wide
from models.linear_models import export


def wine_forest() -> Built:
    data = load_wine()
    s = StandardScaler().fit(data.data)
    fitted = RandomForestClassifier(12, max_depth=5, random_state=0).fit(s.transform(data.data), data.target)
    rows, chain = some(data.data, 48), make_pipeline(s, fitted)
    return Built(
        "wine_forest",
        export(fitted, "wine_forest", 13, 15, zipmap=False),
        {"x": s.transform},
        {"x": rows},
        {"label": chain.predict(wide(rows)), "probabilities": chain.predict_proba(wide(rows))},
        {
            "stats.json": st.as_json(st.mean_scale(s, data.feature_names)),
            "stats.csv": st.csv(s, data.feature_names),
            "stats.npz": st.npz(mean=s.mean_, std=s.scale_),
        },
        1e-6,
        "12 trees of depth 5",
        exact=True,
        dumps={"scaler.joblib": s},
    )


def cancer_boosting() -> Built:
    """Fitted on the first half, so that later rows leave the range and the clip acts."""
    x, y = load_breast_cancer(return_X_y=True)
    s = MinMaxScaler(clip=True).fit(x[200:])
    fitted = GradientBoostingClassifier(n_estimators=15, max_depth=3, random_state=0).fit(s.transform(x), y)
    rows, chain = some(x, 48), make_pipeline(s, fitted)
    return Built(
        "cancer_boosting",
        export(fitted, "cancer_boosting", 30, 13, zipmap=False),
        {"x": s.transform},
        {"x": rows},
        {"label": chain.predict(wide(rows)), "probabilities": chain.predict_proba(wide(rows))},
        {"stats.json": st.as_json(st.minmax(s)), "stats.yaml": st.as_yaml(st.minmax(s))},
        2e-6,
        "MinMaxScaler(clip=True), and some rows are cut",
        exact=True,
        dumps={"scaler.joblib": s},
    )


def diabetes_boosting() -> Built:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    s = RobustScaler(quantile_range=(10.0, 90.0)).fit(x)
    fitted = GradientBoostingRegressor(n_estimators=20, max_depth=3, random_state=0).fit(s.transform(x), y)
    rows = some(x, 48)
    return Built(
        "diabetes_boosting",
        export(fitted, "diabetes_boosting", 10, 10, ml=1),
        {"x": s.transform},
        {"x": rows},
        {"variable": make_pipeline(s, fitted).predict(wide(rows)).reshape(-1, 1)},
        {"stats.json": st.as_json(st.robust(s))},
        2e-6,
        "20 trees, RobustScaler over 10 % to 90 %",
        exact=True,
        dumps={"scaler.joblib": s},
    )


def diabetes_tree() -> Built:
    """A single deep tree: one wrong branch is a whole wrong answer, not a small difference.

    Fitted on every third row of columns with many equal values, so that some of the others lie on a threshold. Of
    those, all on which a scaler in float32 takes the other branch are among the rows.
    """
    x, y = load_diabetes(return_X_y=True, scaled=False)
    s = StandardScaler().fit(x)
    fitted = DecisionTreeRegressor(max_depth=9, random_state=0).fit(s.transform(x)[::3], y[::3])
    x32, scale, mean = x.astype(np.float32), s.scale_.astype(np.float32), s.mean_.astype(np.float32)
    right = fitted.predict(s.transform(wide(x32)))
    divided = fitted.predict((x32 - mean) / scale) != right
    multiplied = fitted.predict(x32 * (1 / s.scale_).astype(np.float32) - (mean / scale)) != right
    if not divided.any() or not multiplied.any():
        raise ValueError("no row of diabetes_tree tells float32 from float64: it has lost its use")
    rows = np.concatenate([some(x, 48), x32[divided | multiplied]])
    return Built(
        "diabetes_tree",
        export(fitted, "diabetes_tree", 10, 9, ml=1),
        {"x": s.transform},
        {"x": rows},
        {"variable": make_pipeline(s, fitted).predict(wide(rows)).reshape(-1, 1)},
        {"stats.json": st.as_json(st.mean_std(s))},
        1e-6,
        f"one tree of depth 9; the last {len(rows) - 48} rows take another branch when scaled in float32",
        exact=True,
        dumps={"scaler.joblib": s},
    )


def diabetes_xgboost() -> Built:
    """XGBoost compares float32 with `<`; its converter writes BRANCH_LT."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    s = StandardScaler().fit(x)
    fitted = xgboost.XGBRegressor(n_estimators=10, max_depth=3, n_jobs=1, random_state=0).fit(s.transform(x), y)
    rows = some(x, 48)
    model = convert_xgboost(fitted, "diabetes_xgboost", [("x", FloatTensorType([None, 10]))], target_opset=12)
    return Built(
        "diabetes_xgboost",
        model,
        {"x": s.transform},
        {"x": rows},
        {"variable": wide(fitted.predict(s.transform(wide(rows)))).reshape(-1, 1)},
        {"stats.json": st.as_json(st.mean_std(s))},
        2e-6,
        "XGBoost, BRANCH_LT",
        exact=True,
        dumps={"scaler.joblib": s},
    )


def wine_lightgbm() -> Built:
    """LightGBM keeps float64 thresholds: the exported float32 ones decide alike only away from them."""
    x, y = load_wine(return_X_y=True)
    s = MinMaxScaler(feature_range=(-1.0, 1.0)).fit(x)
    fitted = lightgbm.LGBMClassifier(
        n_estimators=6, max_depth=3, random_state=0, deterministic=True, n_jobs=1, verbose=-1
    ).fit(s.transform(x), y)
    rows = some(x, 48)
    model = convert_lightgbm(
        fitted, "wine_lightgbm", [("x", FloatTensorType([None, 13]))], target_opset=13, zipmap=False
    )
    answer = np.asarray(fitted.predict_proba(s.transform(wide(rows))))
    return Built(
        "wine_lightgbm",
        model,
        {"x": s.transform},
        {"x": rows},
        {"label": np.argmax(answer, axis=1), "probabilities": answer},
        {"stats.json": st.as_json(st.minmax(s))},
        2e-6,
        "LightGBM, MinMaxScaler to (-1, 1)",
        exact=True,
        dumps={"scaler.joblib": s},
    )


def all_trees() -> Iterator[Built]:
    """In the order of the table in README.md."""
    for make in (wine_forest, cancer_boosting, diabetes_boosting, diabetes_tree, diabetes_xgboost, wine_lightgbm):
        yield make()
