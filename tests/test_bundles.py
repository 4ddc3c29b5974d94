"""What people save around a scaler: dictionaries of several objects, pandas' tables, dill's pickles, dictionaries in npy files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, MinMaxScaler, PowerTransformer, StandardScaler

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.sources import pandases, pickles
from onnxscale.statistics import Fitted, Reading

RNG = np.random.default_rng(8)
FRAME = pd.DataFrame(RNG.normal(5, 2, (60, 3)), columns=["age", "fare", "höhe"])
X = FRAME.to_numpy()
STANDARD, LABELS = StandardScaler().fit(X), LabelEncoder().fit(["a", "b"])


def one(source: object, **said: str) -> Fitted:
    return sources.read(source, Reading(**said)).inputs[None]


def gives(found: Fitted, want: np.ndarray) -> None:
    np.testing.assert_array_equal(found.transform()(X), want)


@pytest.mark.parametrize(
    "held",
    [
        {"scaler": STANDARD, "model": Ridge().fit(X, X[:, 0]), "features": ["age", "fare", "höhe"], "version": "1.2"},
        {"preprocessing": {"scaler": STANDARD}, "classes": LABELS, "features": ["age", "fare", "höhe"]},
        (STANDARD, "v2", {"auc": 0.9}),
        [LABELS, STANDARD, None],
    ],
    ids=["scaler and model", "nested", "tuple", "list"],
)  # fmt: skip
def test_the_only_object_that_scales_is_meant(held, tmp_path: Path) -> None:
    joblib.dump(held, tmp_path / "all.joblib")
    found = one(tmp_path / "all.joblib")
    gives(found, STANDARD.transform(X))
    assert found.features == (
        ("age", "fare", "höhe")
        if isinstance(held, dict) and "features" in held and "scaler" in held
        else found.features
    )


def test_of_several_objects_one_is_picked() -> None:
    both = pickle.dumps({"x_scaler": STANDARD, "y_scaler": MinMaxScaler().fit(X)})
    with pytest.raises(
        StatisticsError, match=r"several objects that could scale the model: 'x_scaler', 'y_scaler'.*--pick"
    ):
        one(both)
    gives(one(both, pick="x_scaler"), STANDARD.transform(X))
    gives(one(both, pick="y_scaler"), MinMaxScaler().fit_transform(X))
    gives(one(pickle.dumps([STANDARD, MinMaxScaler().fit(X)]), pick="1"), MinMaxScaler().fit_transform(X))
    with pytest.raises(StatisticsError, match="nothing scales"):
        one(pickle.dumps({"model": LinearRegression().fit(X, X[:, 0]), "classes": LABELS}))
    with pytest.raises(StatisticsError, match="beside it"):  # the scaler, or the numbers?
        one(pickle.dumps({"scaler": STANDARD, "mean": [1.0, 2.0, 3.0], "std": [1.0, 2.0, 3.0]}))


@pytest.mark.parametrize("recurse", [False, True])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_dill_writes_arrays_and_types_its_own_way(protocol: int, recurse: bool) -> None:
    dill = pytest.importorskip("dill")
    columns = ColumnTransformer([("s", StandardScaler(), slice(0, 2))], remainder=MinMaxScaler()).fit(X)
    for fitted in (STANDARD, make_pipeline(PowerTransformer(), StandardScaler()).fit(X), columns):
        found = one(dill.dumps(fitted, protocol, recurse=recurse))
        np.testing.assert_allclose(found.transform()(X), fitted.transform(X), rtol=1e-14, atol=1e-14)


def test_a_call_in_the_place_of_dills_array_is_not_made() -> None:
    pytest.importorskip("dill")
    payload = b"cdill._dill\n_create_array\n(cos\nsystem\n(S'true'\ntNtR."
    with pytest.raises(StatisticsError, match="not made as numpy does"):
        pickles.read(payload)


MEAN, STD = FRAME.mean(), FRAME.std()
TABLES = {
    "describe": (FRAME.describe(), "standard"),
    "describe, turned": (FRAME.describe().T, "standard"),
    "percentiles": (FRAME.describe(percentiles=[0.05, 0.25, 0.75, 0.95]), "standard"),
    "agg": (FRAME.agg(["mean", "std"]), ""),
    "columns": (pd.DataFrame({"feature": list(FRAME), "mean": MEAN.to_numpy(), "std": STD.to_numpy()}), ""),
    "two series": ({"mean": MEAN, "std": STD}, ""),
    "two series, sorted": ({"mean": MEAN.sort_values(), "std": STD.sort_values(ascending=False)}, ""),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", TABLES)
def test_pickled_tables_of_pandas(name: str, protocol: int) -> None:
    held, kind = TABLES[name]
    found = one(pickle.dumps(held, protocol), kind=kind)
    order = [list(FRAME).index(n) for n in found.features]
    assert sorted(found.features) == sorted(FRAME)
    want = (X[:, order] - MEAN.to_numpy()[order]) / STD.to_numpy()[order]
    np.testing.assert_allclose(found.transform()(X[:, order]), want, rtol=1e-15)
    assert not any(
        c in repr(pandases.opened(pickles.read(pickle.dumps(held, protocol)).root)) for c in ("<pandas", "<array")
    )


@pytest.mark.parametrize("name", TABLES)
def test_the_same_tables_at_hand(name: str) -> None:
    held, kind = TABLES[name]
    found = one(held, kind=kind)
    order = [list(FRAME).index(n) for n in found.features]
    np.testing.assert_array_equal(found.transform().steps[0].operands[0], MEAN.to_numpy()[order])
    np.testing.assert_array_equal(found.transform().steps[1].operands[0], STD.to_numpy()[order])


def test_tables_of_polars_at_hand_and_written(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    told = polars.from_pandas(FRAME).describe()
    told.write_json(tmp_path / "p.json")
    for held in (told, tmp_path / "p.json"):
        found = one(held, kind="standard")
        np.testing.assert_allclose(found.transform().steps[0].operands[0], MEAN.to_numpy(), rtol=1e-14)
        assert found.features == tuple(FRAME)


def test_a_table_without_names_is_refused() -> None:
    with pytest.raises(StatisticsError, match="rows and columns have no names"):
        one(pickle.dumps(pd.DataFrame(X)))
    with pytest.raises(StatisticsError, match="MultiIndex for its labels"):
        one(pickle.dumps(FRAME.assign(city=["a", "b"] * 30).groupby("city").agg(["mean", "std"])))


def test_a_dictionary_and_names_in_numpys_files(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", {"mean": MEAN.to_numpy(), "std": STD.to_numpy()}, allow_pickle=True)  # type: ignore[arg-type]
    names = np.array(list(FRAME), object)
    np.savez(tmp_path / "n.npz", mean=MEAN.to_numpy(), std=STD.to_numpy(), names=names)  # type: ignore[arg-type]
    for path in ("d.npy", "n.npz"):
        gives(one(tmp_path / path), (X - MEAN.to_numpy()) / STD.to_numpy())
    assert one(tmp_path / "n.npz").features == tuple(FRAME)
    np.savez(tmp_path / "o.npz", mean=np.array([{}], object), std=STD.to_numpy())  # type: ignore[arg-type]
    with pytest.raises(StatisticsError, match="Python objects"):
        one(tmp_path / "o.npz")


def test_spelled_with_capitals_or_with_whose_they_are(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text('"Feature","Mean","Std Dev"\n"age",1,2\n"fare",3,4\n', encoding="utf-8")
    assert one(tmp_path / "r.csv").features == ("age", "fare")
    for keys in (
        {"Mean": [1, 3], "SD": [2, 4]},
        {"train_mean": [1, 3], "train_std": [2, 4]},
        {"X_mean": [1, 3], "X_std": [2, 4]},
    ):
        np.testing.assert_array_equal(
            one(json.loads(json.dumps(keys))).transform()(np.array([[3.0, 7.0]])), [[1.0, 1.0]]
        )
    both = {"x_mean": [1, 3], "x_std": [2, 4], "y_mean": 0.5, "y_std": 3}
    with pytest.raises(StatisticsError, match=r"'x', 'y'.*--pick"):
        one(both)
    assert one(both, pick="y").transform()(np.array([3.5])) == 1.0
    with pytest.raises(StatisticsError, match="unknown keys 'log_mean'"):  # the mean of a logarithm is another thing
        one({"log_mean": [1.0], "log_std": [2.0]})
    with pytest.raises(StatisticsError, match="same but for their spelling"):
        one({"mean": [1.0], "Mean": [2.0], "std": [2.0]})


@pytest.mark.parametrize("way", [lambda e: e, pickle.dumps], ids=["python", "pickle"])
def test_the_best_of_a_search_serves(way) -> None:
    labels = (X[:, 0] > 5).astype(int)
    search = GridSearchCV(
        make_pipeline(STANDARD, LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}, cv=2
    ).fit(X, labels)
    gives(one(way(search)), STANDARD.transform(X))
    gives(one(pickle.dumps({"search": search, "classes": LABELS})), STANDARD.transform(X))
    unfitted = GridSearchCV(
        make_pipeline(STANDARD, LogisticRegression()), {"logisticregression__C": [0.1]}, cv=2, refit=False
    ).fit(X, labels)
    with pytest.raises(StatisticsError, match="refit=False"):
        one(way(unfitted))


@pytest.mark.parametrize("way", [lambda e: e, pickle.dumps], ids=["python", "pickle"])
def test_samplers_of_imbalanced_learn_act_on_training_data_only(way) -> None:
    imblearn = pytest.importorskip("imblearn.pipeline")
    over = pytest.importorskip("imblearn.over_sampling")
    labels = (X[:, 0] > 7).astype(int)
    whole = imblearn.make_pipeline(STANDARD, over.SMOTE(k_neighbors=2), MinMaxScaler(), LogisticRegression()).fit(
        X, labels
    )
    gives(one(way(whole)), whole[2].transform(whole[0].transform(X)))


@pytest.mark.parametrize("way", [lambda e: e, pickle.dumps], ids=["python", "pickle"])
def test_the_scaler_inside_one_of_darts(way) -> None:
    darts = pytest.importorskip("darts")
    from darts.dataprocessing.transformers import Scaler

    scaler = Scaler(StandardScaler())
    want = scaler.fit_transform(darts.TimeSeries.from_values(X)).values()
    gives(one(way(scaler)), want)


@pytest.mark.parametrize("name", ["describe", "two series", "columns"])
def test_damaged_tables_are_read_or_refused(name: str) -> None:
    random = np.random.default_rng(1)
    whole = pickle.dumps(TABLES[name][0])
    for _ in range(1500):
        cut = bytearray(whole)
        for at in random.integers(0, len(cut), random.integers(1, 4)):
            cut[at] = random.integers(256)
        try:
            sources.read(bytes(cut))
        except StatisticsError:
            continue
