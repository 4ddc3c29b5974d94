"""Scalers in pickle, joblib and skops files: read bit for bit, and never unpickled."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import pickle
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from onnx import TensorProto as T
from onnx import helper as h
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import KernelPCA
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from onnxscale.errors import StatisticsError
from onnxscale.sources import pickles, read
from onnxscale.sources.inert import Estimator, plain
from onnxscale.statistics import Statistics

from .conftest import Cli
from .hostile import CODE, STRAIN, WRAPPERS, call, zipped

OLD = Path(__file__).parent / "old" / "scalers.zip"
ROWS = np.exp(np.random.default_rng(3).standard_normal((60, 4)) / 2) + 0.1
FRAME = pd.DataFrame(ROWS, columns=["a", "b", "c", "d"])
HOLES = np.where(np.random.default_rng(4).random(ROWS.shape) < 0.1, np.nan, ROWS)
TARGET = ROWS @ [1.0, 2.0, 0.5, 1.0] + 3
SCALERS: dict[str, Any] = {
    "standard": StandardScaler(),
    "no mean": StandardScaler(with_mean=False),
    "no std": StandardScaler(with_std=False),
    "minmax": MinMaxScaler((-2, 5), clip=True),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(unit_variance=True),
    "no center": RobustScaler(with_centering=False),
    "yeo-johnson": PowerTransformer(),
    "box-cox": PowerTransformer("box-cox", standardize=False),
    "uniform": QuantileTransformer(n_quantiles=30),
    "normal": QuantileTransformer(n_quantiles=30, output_distribution="normal", random_state=np.random.RandomState(1)),
    "l1": Normalizer("l1"),
    "binarizer": Binarizer(threshold=1.5),
    "kbins": KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    "imputer": SimpleImputer(strategy="median"),
    "log1p": FunctionTransformer(np.log1p, inverse_func=np.expm1),
    "pipeline": make_pipeline(SimpleImputer(), PowerTransformer(), MinMaxScaler()),
    "columns": ColumnTransformer(
        [("one", StandardScaler(), ["c", "a"]), ("two", MinMaxScaler(clip=True), ["b"])], remainder="passthrough"
    ),
}


def compressed(way: str) -> Callable[[object], bytes]:
    def write(scaler: object) -> bytes:
        file = io.BytesIO()
        joblib.dump(scaler, file, compress=(way, 3) if way else 0)
        return file.getvalue()

    return write


def pickled(protocol: int) -> Callable[[object], bytes]:
    return lambda scaler: pickle.dumps(scaler, protocol=protocol)


WAYS: dict[str, Callable[[object], bytes]] = {
    **{f"protocol {p}": pickled(p) for p in range(6)},
    **{f"joblib {way or 'plain'}": compressed(way) for way in ("", "zlib", "gzip", "bz2", "xz", "lzma")},
    "skops": skops.io.dumps,
}


def fitted(name: str) -> Any:
    rows = FRAME if name in ("columns", "standard") else HOLES if name in ("imputer", "pipeline") else ROWS
    return SCALERS[name].fit(rows)


def attributes(root: object) -> dict[str, Any]:
    """Every array of an estimator and of those inside it, by a path of attributes."""
    state = root.state if isinstance(root, Estimator) else vars(root)
    found: dict[str, Any] = {}
    for key, value in state.items():
        items = [part for entry in value for part in entry] if key in ("steps", "transformers_") else [value]
        for i, item in enumerate(items):
            if isinstance(item, np.ndarray | np.floating):
                found[f"{key}{i}"] = item
            elif isinstance(item, Estimator) or hasattr(item, "get_params"):
                found |= {f"{key}{i}.{k}": v for k, v in attributes(item).items()}
    return found


def same(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == object:
        return a.shape == b.shape and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", SCALERS)
def test_every_way_to_write_a_scaler_is_read(name: str) -> None:
    scaler = fitted(name)
    live = read(scaler)
    rows = HOLES if name in ("imputer", "pipeline") else ROWS
    for way, write in WAYS.items():
        data = write(scaler)
        got = read(data)
        assert got.inputs[None].transform() == live.inputs[None].transform(), way
        assert got.inputs[None].features == live.inputs[None].features
        assert got.source.framework == "scikit-learn" and got.source.version == live.source.version
        assert got.source.ddof == live.source.ddof and len(got.source.sha256) == 64
        if way != "skops" and "joblib" not in way:
            held, expected = attributes(plain(pickles.read(data).root)), attributes(scaler)
            assert held.keys() == expected.keys() and all(same(held[k], v) for k, v in expected.items())
    if name not in ("yeo-johnson", "box-cox", "uniform", "normal", "pipeline"):
        want = scaler.transform(pd.DataFrame(rows, columns=list("abcd")) if name in ("columns", "standard") else rows)
        np.testing.assert_array_equal(live.inputs[None].transform()(rows), want)


def test_old_files_are_read_bit_for_bit() -> None:
    with zipfile.ZipFile(OLD) as archive:
        names = [n for n in archive.namelist() if n.endswith((".pkl", ".joblib"))]
        assert len(names) == 144
        rows = np.load(io.BytesIO(archive.read("rows.npy")))
        for file in names:
            name = file.split(".")[0]
            got = read(archive.read(file))
            assert got.source.version == "1.2.2", file
            with np.load(io.BytesIO(archive.read(f"{name}.attributes.npz"))) as expected:
                if file.endswith(".pkl"):
                    held = plain(pickles.read(archive.read(file)).root).state
                    assert all(same(held[k], v) for k, v in expected.items()), file
            answers = np.load(io.BytesIO(archive.read(f"{name}.answers.npy")))
            # numpy's logarithms and scipy's normal quantiles differ in the last place between versions
            far = 1e-14 if name in ("power", "boxcox", "quantile", "function") else 0.0
            np.testing.assert_allclose(got.inputs[None].transform()(rows), answers, rtol=far, atol=far)


def test_what_a_file_says_is_kept() -> None:
    got = read(pickle.dumps(MinMaxScaler().fit(FRAME)))
    one = got.inputs[None]
    assert one.features == ("a", "b", "c", "d")
    assert same(one.data_min, ROWS.min(axis=0)) and same(one.data_max, ROWS.max(axis=0))
    assert "constant feature" in got.source.zero_variance and got.source.format == "pickle"
    constant = read(pickle.dumps(StandardScaler().fit(np.ones((5, 2)))))
    np.testing.assert_array_equal(constant.inputs[None].transform()([[3.0, 1.0]]), [[2.0, 0.0]])


def test_bytes_of_any_order_and_type() -> None:
    scaler = StandardScaler().fit(ROWS)
    want = read(scaler).inputs[None].transform()
    for kind in (">f8", "<f8"):
        scaler.mean_ = scaler.mean_.astype(kind)
        for way in ("protocol 0", "protocol 2", "protocol 5", "joblib plain"):
            assert read(WAYS[way](scaler)).inputs[None].transform() == want, (kind, way)
    quantile = QuantileTransformer(n_quantiles=10).fit(ROWS)
    want = read(quantile).inputs[None].transform()
    quantile.quantiles_ = np.asfortranarray(quantile.quantiles_)
    for way in WAYS:
        assert read(WAYS[way](quantile)).inputs[None].transform() == want, way
    scaler.mean_ = ROWS.mean(axis=0).astype(np.float16)
    np.testing.assert_array_equal(read(pickle.dumps(scaler)).inputs[None].scaler.mean, scaler.mean_)


@pytest.mark.parametrize("way", WAYS)
def test_composed_estimators(way: str) -> None:
    def both(estimator: object, *data: object) -> Statistics:
        return read(WAYS[way](estimator.fit(*data)))  # type: ignore[attr-defined]

    plain_scaler = read(StandardScaler().fit(ROWS)).inputs[None].transform()
    for model in (LogisticRegression(), RandomForestRegressor(5), HistGradientBoostingRegressor(max_iter=3)):
        target = TARGET > 8 if isinstance(model, LogisticRegression) else TARGET
        one = both(make_pipeline(StandardScaler(), model), ROWS, target).inputs[None]
        assert one.transform() == plain_scaler and type(model).__name__ in one.notes[0]
    target_scaler = read(MinMaxScaler().fit(TARGET[:, None])).inputs[None].transform()
    regressor = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), LinearRegression()), transformer=MinMaxScaler()
    )
    got = both(regressor, ROWS, TARGET)
    assert got.inputs[None].transform() == plain_scaler and got.outputs[None].transform() == target_scaler
    outer = make_pipeline(StandardScaler(), TransformedTargetRegressor(LinearRegression(), transformer=MinMaxScaler()))
    got = both(outer, ROWS, TARGET)
    assert got.inputs[None].transform() == plain_scaler and got.outputs[None].transform() == target_scaler
    logs = TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1)
    got = both(logs, ROWS, TARGET)
    assert not got.inputs and [s.op for s in got.outputs[None].transform().steps] == ["Log1p"]
    with pytest.raises(StatisticsError, match="does not undo"):
        both(
            TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.exp, check_inverse=False),
            ROWS,
            TARGET,
        )
    with pytest.raises(StatisticsError, match=r"step 'kernelpca' of the Pipeline: scikit-learn's KernelPCA"):
        both(make_pipeline(StandardScaler(), KernelPCA(2)), ROWS)


COLUMNS = {
    "positions": ColumnTransformer([("s", StandardScaler(), [3, 0]), ("m", MaxAbsScaler(), [1, 2])]),
    "drop": ColumnTransformer([("s", RobustScaler(), ["d", "a"]), ("no", "drop", ["b"])]),
    "slice": ColumnTransformer([("s", StandardScaler(), slice("b", "c"))], remainder=MinMaxScaler()),
    "mask": ColumnTransformer([("s", MinMaxScaler(clip=True), [True, False, True, False])], remainder="passthrough"),
    "imputed": ColumnTransformer([("s", make_pipeline(SimpleImputer(), StandardScaler()), ["a"])], remainder="passthrough"),
    "weights": ColumnTransformer([("s", StandardScaler(), ["a", "b"])], transformer_weights={"s": 3.0}),
    "logs": ColumnTransformer(
        [("s", make_pipeline(FunctionTransformer(np.log1p), StandardScaler()), ["a", "b"]),
         ("t", FunctionTransformer(np.log1p), ["c", "d"])]
    ),
    "nested": make_pipeline(ColumnTransformer([("s", StandardScaler(), ["b"])], remainder=RobustScaler()), MinMaxScaler()),
    "union": FeatureUnion([("s", StandardScaler()), ("m", MinMaxScaler())]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_scaled_each_by_its_own(name: str) -> None:
    estimator = COLUMNS[name].fit(FRAME)
    rows = np.where(HOLES > 2, HOLES, ROWS) if name == "imputed" else ROWS * 1.3 - 0.2
    rows = np.abs(rows) if name == "logs" else rows
    want = estimator.transform(pd.DataFrame(rows, columns=list("abcd")))
    for way in ("protocol 2", "joblib xz", "skops"):
        one = read(WAYS[way](estimator)).inputs[None]
        np.testing.assert_array_equal(one.transform()(rows), want)
        assert one.features in ((), ("a", "b", "c", "d")) and one.transform().shape == (4,)


def test_columns_of_steps_that_others_do_not_have_stand_side_by_side() -> None:
    parts = [
        ("logs", FunctionTransformer(np.log1p), [0]),
        ("rest", StandardScaler(), [1]),
        ("rows", Normalizer(), [2, 3]),
    ]
    estimator = ColumnTransformer(parts).fit(ROWS)
    have = read(pickle.dumps(estimator)).inputs[None].transform()(ROWS)
    np.testing.assert_array_equal(have, estimator.transform(ROWS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.__dict__.pop("mean_"), "this StandardScaler has no mean_"),
        (lambda s: s.__dict__.update(mean_=None), "has with_mean set, but its mean_ is None"),
        (lambda s: s.__dict__.update(with_mean="no"), "with_mean of this StandardScaler is 'no'"),
        (lambda s: s.__dict__.update(n_features_in_=7), "fitted on 7 features"),
        (lambda s: s.__dict__.update(scale_=np.zeros(4)), "scale_|std"),
        (lambda s: s.__dict__.update(feature_names_in_=np.array([1, 2, 3, 4], object)), "expected names"),
        (lambda s: s.__dict__.update(_sklearn_version="9.7"), None),
    ],
)
def test_attributes_that_are_not_right(change: Callable[[Any], object], message: str | None) -> None:
    scaler = StandardScaler().fit(ROWS)
    change(scaler)
    data = pickle.dumps(scaler)
    if message is None:  # newer than what is known: said, not refused
        data = data.replace(
            __import__("sklearn").__version__.encode(), b"9.7.0"[: len(__import__("sklearn").__version__)]
        )
        assert "9.7" in read(data).inputs[None].notes[0]
        return
    with pytest.raises(StatisticsError, match=message):
        read(data)


class StandardScalerOfMine(StandardScaler):
    pass


def test_other_classes_are_refused_by_name() -> None:
    for what, message in (
        (StandardScalerOfMine().fit(ROWS), "StandardScalerOfMine is no class of scikit-learn"),
        (StandardScaler(), "not fitted"),
        (Pipeline([("a", "passthrough")]), "has no scaler"),
        (FunctionTransformer(np.tan), "numpy.tan"),
        (FunctionTransformer(os.system), "system"),
        ({"a": StandardScaler().fit(ROWS), "b": StandardScaler().fit(ROWS)}, "several objects that could scale"),
        ([1, 2], "holds a list"),
        (np.ones(3), "holds a ndarray"),
    ):
        with pytest.raises(StatisticsError, match=message):
            read(pickle.dumps(what))


def test_a_dictionary_of_arrays_is_read() -> None:
    for way in WAYS.values():
        got = read(way({"mean": np.array([1.0, 2.0]), "std": np.array([3.0, 4.0])}))
        np.testing.assert_array_equal(got.inputs[None].transform()([[4.0, 6.0]]), [[1.0, 1.0]])


def test_bombs_and_cut_files(tmp_path: Path) -> None:
    bomb = b"\x80\x02C" + b"\0" * (24 << 20)
    for name in ("zlib.joblib", "gzip.joblib", "bz2.joblib", "xz.joblib", "lzma.joblib"):
        data = WRAPPERS[name](bomb)
        started = time.perf_counter()
        with pytest.raises(StatisticsError, match="unpack to more than"):
            read(data)
        assert time.perf_counter() - started < 2
        good = WRAPPERS[name](pickle.dumps(StandardScaler().fit(ROWS)))
        with pytest.raises(StatisticsError, match=r"cut off|damaged"):
            read(good[:-9])
        with pytest.raises(StatisticsError, match="follow"):
            read(good + b"more")
        with pytest.raises(StatisticsError, match="no pickle is inside"):
            read(WRAPPERS[name](b'{"mean": 1, "std": 2, "features": ["a feature"]}'))
    with pytest.raises(StatisticsError, match="lz4"):
        read(b"\x04\x22\x4d\x18" + bytes(40))
    with pytest.raises(StatisticsError, match=r"before 0\.10"):
        read(b"ZF0x00000000000000000020" + bytes(40))
    schema = skops.io.dumps(StandardScaler().fit(ROWS))
    with zipfile.ZipFile(io.BytesIO(schema)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    called = members["schema.json"].replace(b"StandardScaler", b"system").replace(b"sklearn.preprocessing._data", b"os")
    for change, message in (
        ({n: c for n, c in members.items() if n == "schema.json"}, "does not hold"),
        (members | {"schema.json": called}, r"os\.system"),
        (members | {"schema.json": b"[" * 100_000}, "levels deep"),
    ):  # fmt: skip
        with pytest.raises(StatisticsError, match=message):
            read(zipped(change))
    big = tmp_path / "big.skops"
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", members["schema.json"])
        archive.writestr("a.npy", bytes(80 << 20))
    with pytest.raises(StatisticsError, match="unpacks to more"):
        read(big)


def test_nothing_hostile_is_run_imported_or_opened(tmp_path: Path) -> None:
    payloads = CODE | STRAIN
    assert len(CODE) >= 37
    folder = tmp_path / "files"
    folder.mkdir()
    good = StandardScaler().fit(ROWS)
    for i, (way, write) in enumerate(WAYS.items()):
        (folder / f"good.{i}.{way.replace(' ', '.')}").write_bytes(write(good))
    expected = {}
    for label, payload in payloads.items():
        for wrapper, wrap in WRAPPERS.items():
            if len(payload) > 100_000 and wrapper not in ("pkl", "zlib.joblib", "array.joblib"):
                continue
            name = f"{len(expected):04d}.{wrapper}"
            (folder / name).write_bytes(wrap(payload))
            expected[name] = label, wrapper
    scaler = StandardScaler().fit(ROWS)
    for protocol in range(6):  # beside a good scaler, inside one, and as an attribute that nothing reads
        scaler.__dict__["more"] = Hostile()
        name = f"{len(expected):04d}.inside.pkl"
        (folder / name).write_bytes(pickle.dumps(scaler, protocol=protocol))
        expected[name] = "inside a scaler", "pkl"
    before = set(tmp_path.rglob("*"))
    run = subprocess.run(
        [sys.executable, "-m", "tests.hostile", str(folder)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent.parent, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    said = json.loads(run.stdout)
    assert said.keys() == expected.keys() and set(tmp_path.rglob("*")) == before
    for name, (label, wrapper) in expected.items():
        outcome = said[name]["outcome"]
        assert outcome.startswith("StatisticsError: "), (label, wrapper, outcome)
        assert said[name]["events"] == [], (label, wrapper, said[name]["events"])
        assert said[name]["seconds"] < 2, (label, wrapper)
        assert label != "inside a scaler" or ".system" in outcome
        named = label if label in NAMED and wrapper not in ("npz", "skops") else ""
        assert named in outcome, (label, wrapper, outcome)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch owned_by_a_pickle",)


NAMED = {n for n in CODE if "." in n and " " not in n and n not in ("nt.system", "posix.system")}


def test_the_command_line_refuses_with_one_message(tmp_path: Path, cli: Cli) -> None:
    graph = h.make_graph(
        [h.make_node("Identity", ["x"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N", 4])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N", 4])],
    )
    model, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), model)
    for wrapper in ("pkl", "array.joblib", "npz"):
        file = tmp_path / f"hostile.{wrapper}"
        file.write_bytes(WRAPPERS[wrapper](call("os", "system", f"touch {tmp_path / 'owned'}")))
        got = cli("bake", model, file, "-o", out)
        assert got.returncode == 2 and file.name in got.stderr and "Traceback" not in got.stderr
        assert not out.exists() and not (tmp_path / "owned").exists()
        assert wrapper == "npz" or "os.system" in got.stderr
    file = tmp_path / "scaler.skops"
    file.write_bytes(skops.io.dumps(StandardScaler().fit(ROWS)))
    assert cli("bake", model, file, "-o", out, "--form", "nodes").returncode == 0 and out.exists()


SEEN: list[list[str]] = []
FORBIDDEN = (
    "import",
    "open",
    "exec",
    "compile",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "pickle.find_class",
    "marshal.",
)


@functools.cache
def _hooked() -> None:
    """An audit hook cannot be taken away again: this one is quiet where nobody watches."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        parsed_only = event == "compile" and "<unknown>" in args  # ast.literal_eval, on the header of a .npy file
        if SEEN and event.startswith(FORBIDDEN) and not parsed_only:
            SEEN[-1].append(f"{event} {str(args)[:80]}")

    sys.addaudithook(hook)


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """What Python itself says was imported, opened or run meanwhile."""
    _hooked()
    SEEN.append([])
    try:
        yield SEEN[-1]
    finally:
        SEEN.pop()


def test_the_watch_sees_what_it_is_for() -> None:
    with watched() as seen:
        pickle.loads(pickle.dumps(StandardScaler()))
    assert any("pickle.find_class" in s for s in seen)


def mutants(seed: int, count: int) -> float:
    """Read `count` damaged files; the longest that one took, in seconds. Only StatisticsError may come out, and nothing may be
    imported, opened or run."""
    rng = random.Random(seed)
    scaler = make_pipeline(SimpleImputer(), MinMaxScaler()).fit(FRAME)
    quantile = PowerTransformer().fit(ROWS)
    seeds = [write(s) for s in (scaler, quantile, StandardScaler().fit(FRAME)) for write in WAYS.values()]
    worst = 0.0
    for kind in [*seeds, b"mean: 1", b"mean = 1", b"mean,std\n1,2", b"{}", b"PAR1", b"\x89HDF\r\n\x1a\n"]:
        with contextlib.suppress(StatisticsError):  # whatever a reader imports, it has imported after this
            read(kind)
    for _ in range(count):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data))
            match rng.randrange(5):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    data[at] = rng.randrange(256)
                case 2:
                    del data[at : at + rng.randrange(1, 9)]
                case 3:
                    data[at:at] = rng.randbytes(rng.randrange(1, 9))
                case _:
                    other = rng.choice(seeds)
                    start = rng.randrange(len(other))
                    data[at : at + 20] = other[start : start + 20]
            data = data or bytearray(b"N")
        started = time.perf_counter()
        with watched() as seen:
            try:
                read(bytes(data)).inputs[None].transform()
            except StatisticsError as error:
                assert str(error)  # noqa: PT017
            except KeyError:
                raise AssertionError(bytes(data)) from None
        assert not seen, bytes(data)
        worst = max(worst, time.perf_counter() - started)
    return worst


def test_damaged_files_parse_or_are_refused() -> None:
    assert mutants(1, 1_000) < 2


@pytest.mark.slow
def test_many_damaged_files_parse_or_are_refused() -> None:
    assert mutants(2, 50_000) < 2
