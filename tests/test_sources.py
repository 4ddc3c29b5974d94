"""Statistics files: every dialect means what it says, what is ambiguous is refused, and values arrive bit by bit."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from onnxscale.errors import StatisticsError
from onnxscale.scalers import KINDS, Standard
from onnxscale.sources import read
from onnxscale.statistics import Fitted, Reading
from onnxscale.step import Step
from onnxscale.transform import Transform

A, B = [1.0, -2.5, 1e9], [0.1, 2.0, 7.5]


def one(source: object, **flags: object) -> Fitted:
    found = read(source, Reading(**flags))
    assert list(found.inputs) == [None] and not found.outputs
    return found.inputs[None]


def steps(*parts: tuple[str, object]) -> Transform:
    return Transform(tuple(Step(op, (np.array(values, float),)) for op, values in parts))


STANDARD = steps(("Sub", A), ("Div", B))
SAME = {
    "mean std": {"mean": A, "std": B},
    "mean scale": {"mean": A, "scale": B},
    "trailing underscores": {"mean_": A, "scale_": B, "var_": np.square(B).tolist(), "n_samples_seen_": 9},
    "prefixed": {"scaler_mean": A, "scaler_scale": B, "features": ["a", "b", "c"]},
    "names": {"mean": A, "scale": B, "var": np.square(B).tolist(), "n_features": 3, "feature_names": ["a", "b", "c"]},
    "kind": {"kind": "standard", "mean": A, "std": B},
    "per feature": {n: {"mean": m, "std": s} for n, m, s in zip("abc", A, B, strict=True)},
    "list of features": [{"name": n, "mean": m, "std": s} for n, m, s in zip("abc", A, B, strict=True)],
    "a row": {"mean": [A], "std": [B]},
    "numpy": {"mean": np.array(A), "std": np.array(B)},
}


@pytest.mark.parametrize("name", SAME)
def test_ways_to_write_a_z_score(name: str) -> None:
    assert one(SAME[name]).transform() == STANDARD


DIALECTS = {
    "variance": ({"mean": A, "var": [4.0, 9.0, 16.0]}, {}, steps(("Sub", A), ("Div", [2, 3, 4]))),
    "data range": ({"data_min": [0, 1], "data_max": [2, 5]}, {}, steps(("Mul", [0.5, 0.25]), ("Add", [0, -0.25]))),
    "min max": ({"min": [0, 1], "max": [2, 5]}, {}, steps(("Mul", [0.5, 0.25]), ("Add", [0, -0.25]))),
    "center scale": ({"center": A, "scale": B}, {}, STANDARD),
    "median iqr": ({"median": A, "iqr": B}, {}, STANDARD),
    "max abs": ({"max_abs": B}, {}, steps(("Div", B))),
    "multiply add": ({"scale": B, "shift": A}, {}, steps(("Mul", B), ("Add", A))),
    "min scale, scikit-learn": ({"min": A, "scale": B}, {"dialect": "sklearn"}, steps(("Mul", B), ("Add", A))),
    "min scale, times": ({"min": A, "scale": B}, {"dialect": "data-min-mul"}, steps(("Sub", A), ("Mul", B))),
    "min scale, by": ({"min": A, "scale": B}, {"dialect": "data-min-div"}, STANDARD),
    "onnx scaler": ({"offset": A, "scale": B}, {"dialect": "onnx-scaler"}, steps(("Sub", A), ("Mul", B))),
    "bounded": (
        {"median": A, "norm_factor": B, "lower_bound": [-1] * 3, "upper_bound": [1] * 3},
        {"dialect": "clip-scaled"},
        STANDARD | steps(("Max", [-1] * 3), ("Min", [1] * 3)),
    ),
    "zero std": ({"mean": A, "std": [1, 0, 2]}, {"zero_std": "one"}, steps(("Sub", A), ("Div", [1, 1, 2]))),
    "scalars": ({"mean": 3, "std": 2.5}, {}, steps(("Sub", 3), ("Div", 2.5))),
    "image": (
        {
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": A,
            "image_std": B,
            "do_resize": True,
        },
        {},
        steps(("Mul", 1 / 255), ("Sub", A), ("Div", B)),
    ),
    "image without rescale": (
        {"do_rescale": False, "do_normalize": True, "image_mean": A, "image_std": B},
        {},
        STANDARD,
    ),
    "image, defaults accepted": (
        {"image_mean": A, "image_std": B},
        {"accept_defaults": True},
        steps(("Mul", 1 / 255), ("Sub", A), ("Div", B)),
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(name: str) -> None:
    content, flags, expected = DIALECTS[name]
    assert one(content, **flags).transform() == expected
    assert one(json.dumps(content).encode(), **flags).transform() == expected


AMBIGUOUS = [
    {"min": A, "scale": B},
    {"offset": A, "scale": B},
    {"median": A, "norm_factor": B, "lower_bound": A, "upper_bound": B},
]


@pytest.mark.parametrize("content", AMBIGUOUS)
def test_two_readings_are_both_shown(content: dict[str, object]) -> None:
    with pytest.raises(StatisticsError) as error:
        read(content)
    assert str(error.value).count("--dialect") >= 2


REFUSED = {
    "the readings are|readings are": ({"min": A, "scale": B}, {"dialect": "nonsense"}),
    "not the square root of var": ({"mean": A, "scale": B, "var": [1, 1, 1]}, {}),
    "a variance is not negative": ({"mean": A, "var": [1, -1, 1]}, {}),
    "data_max is below": ({"min": [5], "max": [1]}, {}),
    "misses 'std'": ({"kind": "standard", "mean": A}, {}),
    "unknown kind": ({"kind": "banana", "mean": A}, {}),
    "whole number": ({"mean": A, "std": B, "axis": 1.5}, {}),
    "first has": ({"a": {"mean": 1, "std": 1}, "b": {"mean": 1}}, {}),
    "some keys hold objects": ({"a": {"mean": 1, "std": 1}, "b": 3}, {}),
    "inputs.x: .*'std'": ({"inputs": {"x": {"mean": A}}}, {}),
    "beside 'inputs'": ({"inputs": {"x": {"mean": A, "std": B}}, "mean": A}, {}),
    "do_rescale": ({"image_mean": A, "image_std": B, "do_normalize": True}, {}),
    "expected true or false": ({"image_mean": A, "image_std": B, "do_normalize": True, "do_rescale": 1}, {}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_scaler_is_refused(message: str) -> None:
    content, flags = REFUSED[message]
    with pytest.raises(StatisticsError, match=message):
        read(content, Reading(**flags))


@given(st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(1e-300, 1e300)), min_size=1, max_size=8))
def test_every_bit_survives_json(pairs: list[tuple[float, float]]) -> None:
    mean, std = (list(v) for v in zip(*pairs, strict=True))
    got = one(json.dumps({"mean": mean, "std": std}).encode()).transform()
    assert got == steps(("Sub", mean), ("Div", std))


FRAME = pd.DataFrame(
    np.random.default_rng(0).standard_normal((50, 3)) * [1, 20, 300] + [5, 6, 7], columns=["a", "b", "c"]
)
TABLES = {
    "describe.json": lambda p: FRAME.describe().to_json(p, double_precision=15),
    "describe-index.json": lambda p: FRAME.describe().to_json(p, orient="index", double_precision=15),
    "describe-split.json": lambda p: FRAME.describe().to_json(p, orient="split", double_precision=15),
    "describe.csv": lambda p: FRAME.describe().to_csv(p),
    "describe-turned.csv": FRAME.describe().T.to_csv,
    "agg.json": lambda p: FRAME.agg(["mean", "std"]).to_json(p, double_precision=15),
    "agg.csv": lambda p: FRAME.agg(["mean", "std"]).to_csv(p),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_pandas_writes(name: str, tmp_path: Path) -> None:
    TABLES[name](tmp_path / name)
    found = read(tmp_path / name)
    got = found.inputs[None]
    assert got.features == ("a", "b", "c")
    sub, div = got.transform().steps
    np.testing.assert_allclose(sub.operands[0], FRAME.mean(), rtol=1e-13)
    np.testing.assert_allclose(div.operands[0], FRAME.std(), rtol=1e-13)
    if "describe" in name:
        assert found.source.ddof == 1
        np.testing.assert_allclose(got.data_min, FRAME.min(), rtol=1e-13)
        robust = one(tmp_path / name, kind="robust").transform().steps[0].operands[0]
        np.testing.assert_allclose(robust, FRAME.median(), rtol=1e-13)


def test_npz_and_the_ones_around_features(tmp_path: Path) -> None:
    for shape, axis in (((3,), None), ((1, 3), None), ((3, 1, 1), -3), ((1, 3, 1, 1), -3)):
        np.savez(tmp_path / "s.npz", mean=np.reshape(A, shape), std=np.reshape(B, shape))
        got = one(tmp_path / "s.npz")
        assert got.transform() == STANDARD and got.axis == axis
    np.savez(tmp_path / "s.npz", mean=np.ones((2, 3)), std=np.ones((2, 3)))
    assert one(tmp_path / "s.npz").transform().shape == (2, 3)


def test_hostile_archives_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mean.npy", b"\x93NUMPY" + bytes(100 << 20))
    with pytest.raises(StatisticsError, match="unpacks to"):
        read(bomb)
    np.savez(tmp_path / "objects.npz", mean=np.array([{}], dtype=object))
    with pytest.raises(StatisticsError, match="not unpickled"):
        read(tmp_path / "objects.npz")
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("mean.npy", huge.getvalue())
    with pytest.raises(StatisticsError, match="more than the file holds"):
        read(tmp_path / "huge.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean: &a [1, 2]\nstd: *a\n", "aliases"),
        ("mean: !!python/object/apply:os.system ['true']\nstd: 1\n", "tag"),
        ("mean: [1, .nan]\nstd: [1, 1]\n", "no number"),
        ("mean: 1\nmean: 2\nstd: 1\n", "stands twice"),
        ("mean: [yes, 1]\nstd: [1, 1]\n", "text"),
        ("mean: 1\nstd: 1\n---\nmean: 2\n", "2 YAML documents"),
    ],
)
def test_yaml_is_read_strictly(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(StatisticsError, match=message):
        read(file)


def test_yaml_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("mean: [1e-3, 1_0]\n".replace("1_0", "10") + "std: [1E+2, .5]\n")
    assert one(tmp_path / "s.yaml").transform() == steps(("Sub", [1e-3, 10]), ("Div", [100, 0.5]))


def test_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path, "a folder"),
        (tmp_path / "no", "no such file"),
    ):
        with pytest.raises(StatisticsError, match=message):
            read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer, not the file itself"),
        (b"\n<!doctype html><html></html>", "an HTML or XML page"),
        (json.dumps({"mean": [1], "std": [1]}).encode("utf-16"), "text in UTF-16"),
    ],
)
def test_what_stands_where_statistics_were_meant_is_named(content: bytes, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        read(content)


TWO = {"x": {"mean": [1, 2], "std": [3, 4]}, "deep": {"y": {"mean": [5, 6], "std": [7, 8]}}, "lr": 0.1}


def test_a_document_with_groups_of_statistics_asks_which() -> None:
    assert one({"normalization": TWO["x"], "epochs": 3}).transform() == steps(("Sub", [1, 2]), ("Div", [3, 4]))
    assert one(TWO, pick="deep.y").transform() == steps(("Sub", [5, 6]), ("Div", [7, 8]))
    for content, message in (
        (TWO, r"'deep\.y', 'x'; name the one that is meant with --pick"),
        ({"n": TWO["x"], "epsilon": 1e-5}, "'epsilon' stand"),
        ({"n": {**TWO["x"], "eps": 1e-5}}, "plus-eps"),
    ):
        with pytest.raises(StatisticsError, match=message):
            read(content)


ROWS = np.random.default_rng(1).standard_normal((200, 3)) * [1, 100, 1e6] + [3, -5, 1e7]
ESTIMATORS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler((-3, 2), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(unit_variance=True, quantile_range=(10, 90)),
    make_pipeline(MinMaxScaler(), StandardScaler()),
]


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if not hasattr(e, "steps")], ids=str)
def test_attributes_written_out_are_those_of_the_class(estimator) -> None:
    estimator.fit(ROWS)
    plain = {k: v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in vars(estimator).items()}
    found = read(json.dumps(plain).encode())
    np.testing.assert_array_equal(found.inputs[None].transform()(ROWS), estimator.transform(ROWS))
    assert found.source.framework == "scikit-learn" and found.source.format == "json"
    with pytest.raises(StatisticsError, match="has no 'epsilon'"):
        read({**plain, "epsilon": 1e-3})


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_fitted_objects_are_bit_equal(estimator: object) -> None:
    estimator.fit(ROWS)  # type: ignore[attr-defined]
    queries = ROWS * 1.3 - 2
    np.testing.assert_array_equal(one(estimator).transform()(queries), estimator.transform(queries))  # type: ignore[attr-defined]


def test_an_unfitted_object_is_refused() -> None:
    with pytest.raises(StatisticsError, match="not fitted"):
        read(StandardScaler())


def test_names_come_from_the_frame() -> None:
    got = read(StandardScaler().fit(FRAME))
    assert (
        got.inputs[None].features == ("a", "b", "c") and got.source.framework == "scikit-learn" and got.source.ddof == 0
    )


def test_the_schema_knows_every_kind() -> None:
    schema = json.loads((resources.files("onnxscale") / "schemas" / "stats.schema.json").read_text())
    for kind, row in KINDS.items():
        described = schema["$defs"][f"kind_{kind}"]
        assert {f.name for f in dataclasses.fields(row)} <= set(described["properties"])
    examples = [
        {"mean": A, "std": B},
        {"kind": "standard", "mean": A, "std": B},
        {"inputs": {"x": {"mean": 1, "std": 2}}},
    ]
    for example in examples:
        jsonschema.validate(example, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "standard", "std": "a"}, schema)


def test_a_scaler_passes_through() -> None:
    assert one(Standard(np.array(A), np.array(B))).transform() == STANDARD
    assert one(STANDARD).transform() == STANDARD


def test_a_folder_is_read_by_the_file_that_states_the_scaler(tmp_path: Path) -> None:
    config = {
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.2] * 3,
    }
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StatisticsError, match=r"a folder; expected a statistics file, or .*preprocessor_config\.json"):
        read(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert read(tmp_path).inputs[None].scaler.kind == "image"


def test_one_of_several_groups_is_picked(tmp_path: Path) -> None:
    tensors = pytest.importorskip("safetensors.numpy")
    blob = tensors.save({f"{g}.{k}": np.full(3, v) for g, v in (("obs", 2.0), ("act", 3.0)) for k in ("mean", "std")})
    with pytest.raises(StatisticsError, match=r"'act', 'obs'; name the one that is meant with --pick"):
        read(blob)
    assert read(blob, Reading(pick="act")).inputs[None].scaler.transform().steps[0].operands[0][0] == 3
    with pytest.raises(StatisticsError, match=r"--pick other: not among"):
        read(blob, Reading(pick="other"))
