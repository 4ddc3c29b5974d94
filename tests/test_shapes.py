"""Scalers that change the width: the graph input gets the raw shape, verification feeds raw rows, unbake is byte-exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, StandardScaler

from onnxscale import graph, pipeline, sources
from onnxscale.comparing import DIFFERS, VERIFIED, Comparison
from onnxscale.errors import PlanError, StatisticsError
from onnxscale.scalers import make
from onnxscale.step import Step
from onnxscale.transform import Transform
from onnxscale.verifying import Subject, verify
from tests import build

RAW = 6


def rows(count: int = 200, missing: bool = False) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(3)
    x = draw.normal(5, 3, (count, RAW)).astype(np.float32).astype(np.float64)
    if missing:
        x[draw.random(x.shape) < 0.2] = np.nan
    return x


def verified(right: pipeline.Baked, held: pipeline.Baked) -> Comparison:
    """What verification says of `held` in the place of `right`."""
    proto = held.edited.proto
    subject = Subject(proto, right.original, proto.SerializeToString(), held.edited.seams)
    return verify(right.original, subject, right.plan)[0]


def _binned(encode: str) -> KBinsDiscretizer:
    return KBinsDiscretizer(4, encode=encode, quantile_method="averaged_inverted_cdf")


ESTIMATORS: dict[str, tuple[Any, bool]] = {
    "drops": (ColumnTransformer([("s", StandardScaler(), [4, 0, 2])]), False),
    "reorders": (ColumnTransformer([("a", StandardScaler(), [5, 3, 1]), ("b", MinMaxScaler(), [0, 2, 4])]), False),
    "encodes": (ColumnTransformer([("b", _binned("onehot-dense"), [1, 3]), ("s", StandardScaler(), [0, 5])]), False),
    "passes": (ColumnTransformer([("s", StandardScaler(), [2])], remainder="passthrough"), False),
    "onehot": (_binned("onehot-dense"), False),
    "indicators": (SimpleImputer(add_indicator=True), True),
    "imputed, then scaled": (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), True),
}


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(n, p, marks=[pytest.mark.slow] if p == "split" or i % 3 else [])
        for i, n in enumerate(ESTIMATORS)
        for p in ("exact", "split")
        if (n, p) != ("encodes", "split")  # refused: see below
    ],
)
def test_a_width_changing_estimator_bakes_and_unbakes(name: str, precision: str, tmp_path: Path, cli: Any) -> None:
    estimator, missing = ESTIMATORS[name]
    x = rows(missing=missing)
    wanted = np.asarray(estimator.fit(x).transform(x))
    joblib.dump(estimator, tmp_path / "s.joblib")
    onnx.save(build.mlp(width=wanted.shape[1]), tmp_path / "m.onnx")
    asked = ["-o", str(tmp_path / "b.onnx"), "--precision", precision]
    assert cli("bake", str(tmp_path / "m.onnx"), str(tmp_path / "s.joblib"), *asked).returncode == 0
    baked = onnx.load(tmp_path / "b.onnx")
    onnx.checker.check_model(baked, full_check=True)
    assert graph.inputs(baked)[0].shape == ("N", RAW)
    if precision == "exact":
        first, second = (onnxruntime.InferenceSession(tmp_path / f) for f in ("m.onnx", "b.onnx"))
        name = first.get_inputs()[0].name
        expected = first.run(None, {name: wanted.astype(np.float32)})
        assert all(map(np.array_equal, second.run(None, {name: x.astype(np.float32)}), expected))
    assert cli("unbake", str(tmp_path / "b.onnx"), "-o", str(tmp_path / "u.onnx")).returncode == 0
    assert (tmp_path / "u.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize("dims", [("N", 3), ("N", "F"), ("N", 7, 3), ("N", 3, 8), (4, 3), (3,)])
def test_the_input_is_as_wide_as_the_raw_rows(dims: tuple[int | str, ...]) -> None:
    steps = {"kind": "steps", "steps": [{"op": "Select", "operands": [[4, 0, 2]], "options": {"features": 5}}]}
    baked = pipeline.bake(build.identity(dims), steps)
    axis = baked.plan.placements[0].axis
    shape = graph.inputs(baked.edited.proto)[0].shape
    assert shape == (*dims[:axis], 5, *dims[axis + 1 :])
    found = verified(baked, baked)
    assert found.verdict == VERIFIED, found.reason


def test_a_wrong_column_differs() -> None:
    def made(columns: list[int]) -> pipeline.Baked:
        options = {"op": "Select", "operands": [columns], "options": {"features": 5}}
        return pipeline.bake(build.mlp(width=3), {"kind": "steps", "steps": [options]})

    right, wrong = made([4, 0, 2]), made([4, 1, 2])
    found = verified(right, wrong)
    assert found.verdict == DIFFERS and "feature 1" in found.reason


def test_the_model_takes_what_comes_out() -> None:
    steps = {"kind": "steps", "steps": [{"op": "Select", "operands": [[4, 0, 2]], "options": {"features": 5}}]}
    with pytest.raises(PlanError, match="stats have 3 features, input 'x' has 5"):
        pipeline.bake(build.identity(("N", 5)), steps)


def test_parts_side_by_side_are_float64() -> None:
    estimator, _ = ESTIMATORS["encodes"]
    with pytest.raises(PlanError, match="use --precision exact"):
        pipeline.bake(build.mlp(width=10), estimator.fit(rows()), precision="split")


def test_parts_read_back() -> None:
    estimator, _ = ESTIMATORS["encodes"]
    x = rows()
    t = sources.read(estimator.fit(x)).inputs[None].transform()
    assert (t.shape, t.result) == ((RAW,), (10,)) and t.prose()
    assert np.array_equal(Transform.from_json(t.to_json())(x), estimator.transform(x))


def test_kinds() -> None:
    x = rows()
    clip = make("clip", {"low": [1.0] * RAW, "high": 6}).transform()
    assert np.array_equal(clip(x), np.clip(x, 1, 6))
    assert np.array_equal(make("clip", {"high": 6}).transform()(x), np.minimum(x, 6))
    assert np.array_equal(make("select", {"columns": [4, 0], "width": RAW}).transform()(x), x[:, [4, 0]])


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("clip", {}, "needs one of them"),
        ("clip", {"low": 2, "high": [3, 1]}, "low is above high"),
        ("select", {"columns": [0, 6], "width": 6}, "from 0 to 5"),
        ("select", {"columns": [0.5], "width": 6}, "whole numbers"),
        ("select", {"columns": [0], "width": 0}, "width"),
    ],
)
def test_kinds_that_are_refused(kind: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(StatisticsError, match=said):
        make(kind, fields)


def test_shape_and_result() -> None:
    select = Step("Select", (np.array([1.0, 1.0, 0.0]),), {"features": 5})
    t = Transform((Step("Sub", (np.ones(5),)), select, Step("Mul", (np.ones(3),))))
    assert (t.shape, t.result) == ((5,), (3,))
    assert Transform((Step("Sub", (np.ones(5),)),)).result == (5,)
