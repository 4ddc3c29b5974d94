"""Scalers from pickle, joblib and skops files: read, never unpickled, bit-equal with the estimator that was saved."""

from __future__ import annotations

import io
import json
import pickle
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn import preprocessing as sk
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline

from onnxscale import sources
from onnxscale.errors import StatisticsError
from tests import hostile

pd = pytest.importorskip("pandas")
skops = pytest.importorskip("skops.io")

X = pd.DataFrame(np.exp(np.random.default_rng(0).standard_normal((200, 5))) + 0.1, columns=list("abcde"))
Y = X["a"] * 3 + X["b"]
SCALERS: dict[str, Any] = {
    "standard": sk.StandardScaler(),
    "no mean": sk.StandardScaler(with_mean=False),
    "no std": sk.StandardScaler(with_std=False),
    "minmax": sk.MinMaxScaler((-2, 5), clip=True),
    "maxabs": sk.MaxAbsScaler(),
    "robust": sk.RobustScaler(unit_variance=True),
    "yeo-johnson": sk.PowerTransformer(),
    "box-cox": sk.PowerTransformer("box-cox", standardize=False),
    "quantile": sk.QuantileTransformer(n_quantiles=50),
    "normal": sk.QuantileTransformer(n_quantiles=50, output_distribution="normal"),
    "l2": sk.Normalizer(),
    "binarizer": sk.Binarizer(threshold=0.5),
    "k-bins": sk.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
    "imputer": SimpleImputer(strategy="median"),
    "log1p": sk.FunctionTransformer(np.log1p),
    "pipeline": make_pipeline(sk.FunctionTransformer(np.log1p), sk.StandardScaler(), "passthrough"),
    "with a model": make_pipeline(sk.StandardScaler(), RandomForestRegressor(3, max_depth=3)),
    "columns": ColumnTransformer(
        [("a", sk.StandardScaler(), ["a", "b"]), ("b", sk.MinMaxScaler(), [2]), ("c", sk.RobustScaler(), slice(3, 4))],
        remainder="passthrough",
    ),
}


def _pickled(protocol: int):
    return lambda scaler, path: path.write_bytes(pickle.dumps(scaler, protocol=protocol))


def _joblib(compress: Any):
    return lambda scaler, path: joblib.dump(scaler, path, compress=compress)


WAYS = {f"pickle {p}": _pickled(p) for p in range(6)}
WAYS |= {f"joblib {c}": _joblib(0 if c == "plain" else (c, 3)) for c in ("plain", "zlib", "gzip", "bz2", "xz", "lzma")}
WAYS["skops"] = skops.dump


def expected(name: str, fitted: Any, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        if name == "with a model":
            return fitted[:-1].transform(x)
        return fitted.transform(pd.DataFrame(x, columns=X.columns) if name == "columns" else x)


@pytest.mark.parametrize("name", SCALERS)
def test_every_way_to_save_it_reads_as_the_estimator_itself(name: str, tmp_path: Path) -> None:
    fitted = SCALERS[name].fit(X, Y)
    x = X.to_numpy()[:50] * 1.3
    direct = sources.read(fitted).inputs[None]
    want = expected(name, fitted, x)
    np.testing.assert_allclose(direct.transform()(x, 1), want, rtol=1e-12, atol=1e-14)
    for way, write in WAYS.items():
        if (name, way) == ("with a model", "skops"):
            continue  # skops asks for trust in the trees' class only when it loads; ours never loads
        write(fitted, tmp_path / "file")
        found = sources.read(tmp_path / "file")
        one = found.inputs[None]
        assert found.source.version.startswith("1.") and found.source.sha256, way
        assert one.transform().to_json() == direct.transform().to_json(), way
        assert one.features == direct.features and found.source.ddof == (
            0 if name[:2] in ("st", "no") and name != "normal" else None
        )


def test_the_names_and_the_range_of_the_features_are_kept(tmp_path: Path) -> None:
    joblib.dump(sk.MinMaxScaler().fit(X), tmp_path / "s.joblib")
    found = sources.read(tmp_path / "s.joblib")
    one = found.inputs[None]
    assert one.features == tuple("abcde") and found.source.framework == "scikit-learn MinMaxScaler"
    np.testing.assert_array_equal(one.data_min, X.min())
    np.testing.assert_array_equal(one.data_max, X.max())


def test_a_target_scaler_comes_along(tmp_path: Path) -> None:
    model = make_pipeline(sk.StandardScaler(), LinearRegression())
    both = TransformedTargetRegressor(model, transformer=sk.MinMaxScaler()).fit(X, Y)
    joblib.dump(both, tmp_path / "s.joblib")
    for found in (sources.read(tmp_path / "s.joblib"), sources.read(both)):
        np.testing.assert_array_equal(
            found.outputs[None].transform()(np.array([[3.0]]), 1), both.transformer_.transform([[3.0]])
        )
        assert found.inputs[None].transform().shape == (5,) and "LinearRegression" in found.inputs[None].notes[0]


def test_memory_mapped_and_fortran_arrays(tmp_path: Path) -> None:
    fitted = sk.QuantileTransformer(n_quantiles=50).fit(X)
    fitted.quantiles_ = np.asfortranarray(fitted.quantiles_)
    for way in ("joblib plain", "pickle 2", "pickle 5"):
        WAYS[way](fitted, tmp_path / "s")
        assert sources.read(tmp_path / "s").inputs[None].transform().to_json() == (
            sources.read(fitted).inputs[None].transform().to_json()
        )


def test_old_module_names_are_known() -> None:
    """numpy before 2 says numpy.core, Python 2's pickles say copy_reg and __builtin__."""
    data = pickle.dumps(sk.StandardScaler().fit(X), protocol=2).replace(b"numpy._core", b"numpy.core")
    assert b"copy_reg" in pickle.dumps(sk.StandardScaler().fit(X), protocol=1)
    assert sources.read(data).inputs[None].transform().to_json() == (
        sources.read(sk.StandardScaler().fit(X)).inputs[None].transform().to_json()
    )


def test_a_dictionary_with_one_scaler(tmp_path: Path) -> None:
    fitted = sk.StandardScaler().fit(X)
    joblib.dump({"scaler": fitted, "columns": list(X), "version": 3}, tmp_path / "s")
    assert sources.read(tmp_path / "s").inputs[None].features == tuple("abcde")
    joblib.dump({"x": fitted, "y": sk.MinMaxScaler().fit(X)}, tmp_path / "s")
    with pytest.raises(StatisticsError, match="expected one scaler"):
        sources.read(tmp_path / "s")
    (tmp_path / "s").write_bytes(pickle.dumps({"mean": np.zeros(3), "std": np.ones(3)}))
    assert sources.read(tmp_path / "s").inputs[None].transform().shape == (3,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (sk.StandardScaler(), "not fitted"),
        (sk.OrdinalEncoder().fit([["a"], ["b"]]), "OrdinalEncoder is not a scaler"),
        (sk.FunctionTransformer(json.dumps).fit([[1.0]]), "dumps"),
        (Pipeline([("a", sk.PolynomialFeatures().fit([[1.0]]))]), "PolynomialFeatures"),
        (
            ColumnTransformer([("b", sk.StandardScaler(), [1]), ("a", sk.StandardScaler(), [0])]).fit([[1, 2], [2, 1]]),
            "order",
        ),
        (ColumnTransformer([("b", sk.StandardScaler(), [1])]).fit([[1, 2], [2, 1]]), "drops"),
        (ColumnTransformer([("b", sk.PowerTransformer(), [0])]).fit([[1], [2]]), "not a plain subtraction"),
        ([1, 2], "expected"),
        (np.ma.array([1.0]), "masked|plain array|calls"),
        (np.zeros(3), "expected"),
    ],
)
def test_what_is_no_scaler_is_refused_by_name(content: Any, message: str, tmp_path: Path) -> None:
    joblib.dump(content, tmp_path / "s")
    with pytest.raises(StatisticsError, match=message):
        sources.read(tmp_path / "s")


def test_an_attribute_that_is_missing_is_named(tmp_path: Path) -> None:
    fitted = sk.MinMaxScaler().fit(X)
    del fitted.min_
    joblib.dump(fitted, tmp_path / "s")
    with pytest.raises(StatisticsError, match="MinMaxScaler has no min_"):
        sources.read(tmp_path / "s")


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    import zlib

    (tmp_path / "s").write_bytes(zlib.compress(b"\x80\x04" + bytes(1 << 29)))
    start = time.process_time()
    with pytest.raises(StatisticsError, match="unpacks to more"):
        sources.read(tmp_path / "s")
    assert time.process_time() - start < 2


def test_lz4_is_refused_with_what_to_do() -> None:
    with pytest.raises(StatisticsError, match="lz4"):
        sources.read(b"\x04\x22\x4d\x18abc")


def test_nothing_hostile_is_done(tmp_path: Path) -> None:
    """Every payload in every wrapper, under an audit hook in a process of its own: none is read, none does anything."""
    command = [sys.executable, "-m", "tests.hostile", str(tmp_path)]
    got = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(got.stdout.splitlines()[-1])
    assert found["files"] >= 37 * 6
    assert not found["done"] and not found["read"] and not found["marker"]


def test_a_hostile_file_is_refused_by_the_command(cli, tmp_path: Path) -> None:
    from tests import build

    (tmp_path / "model.onnx").write_bytes(build.mlp().SerializeToString())
    (tmp_path / "s.pkl").write_bytes(hostile.text_call("os\nsystem", f"touch {tmp_path}/owned"))
    got = cli("bake", tmp_path / "model.onnx", tmp_path / "s.pkl", "-o", tmp_path / "out.onnx")
    assert got.returncode == 2 and "calls os.system" in got.stderr and "Traceback" not in got.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "s.pkl"]


def mutants(count: int) -> Any:
    draw = random.Random(count)
    good = []
    for name in ("standard", "minmax", "quantile", "pipeline", "columns", "k-bins"):
        fitted = SCALERS[name].fit(X)
        good += [pickle.dumps(fitted, protocol=p) for p in (0, 2, 4, 5)]
        for compress in (0, 3):
            held = io.BytesIO()
            joblib.dump(fitted, held, compress=compress)
            good.append(held.getvalue())
        good.append(skops.dumps(fitted))
    for _ in range(count):
        data = bytearray(draw.choice(good))
        for _ in range(draw.choice((1, 1, 2, 6))):
            at = draw.randrange(len(data))
            change = draw.randrange(4)
            if change == 0:
                data[at] = draw.randrange(256)
            elif change == 1:
                data[at] ^= 1 << draw.randrange(8)
            elif change == 2:
                del data[at : at + draw.randrange(1, 9)]
            else:
                data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
            data = data or bytearray(b"\0")
        yield bytes(data)


@pytest.mark.parametrize("count", [1500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_damaged_file_reads_or_is_refused(count: int) -> None:
    read = 0
    for data in mutants(count):
        start = time.process_time()
        with suppress(StatisticsError), np.errstate(all="ignore"):
            read += bool(sources.read(data))
        assert time.process_time() - start < 2
    assert 0 < read < count
