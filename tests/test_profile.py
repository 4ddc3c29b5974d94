"""The profile of the training data: in the statistics file, through a bake into the record, and back out of the model."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import onnxscale
from onnxscale import origins, recognition, sources, targets
from onnxscale.errors import StatisticsError
from onnxscale.modelfile import open_model
from onnxscale.profile import PROBABILITIES, Profile
from onnxscale.scalers import Standard
from onnxscale.statistics import Fitted, Source, Statistics
from tests import build

X = np.exp(np.random.default_rng(3).standard_normal((500, 4))).astype(np.float32)


def profile(x: np.ndarray = X, **more: object) -> Profile:
    x = x.astype(np.float64)
    zero = np.zeros(x.shape[1], np.int64)
    quantiles = np.quantile(x, PROBABILITIES, axis=0, method="inverted_cdf").T
    found = {"features": tuple("abcd"), "about": {"files": ["train.parquet"]}, "correlation": np.corrcoef(x.T)} | more
    moments = (x.mean(0), x.std(0), x.min(0), x.max(0))
    return Profile(len(x), zero + len(x), zero, zero, *moments, quantiles, zero != 0, **found)  # type: ignore[arg-type]


def same(a: Profile, b: Profile) -> bool:
    return a.to_json() == b.to_json()


@pytest.fixture
def stats(tmp_path: Path) -> Path:
    fitted = Fitted(Standard(X.mean(0, dtype=float), X.std(0, dtype=float)), features=tuple("abcd"), profile=profile())
    path = tmp_path / "stats.json"
    path.write_bytes(targets.native.write(Statistics({None: fitted}, {}, Source("test", ddof=0))))
    return path


def test_a_statistics_file_keeps_it(stats: Path) -> None:
    schema = json.loads((resources.files("onnxscale") / "schemas" / "stats.schema.json").read_text())
    jsonschema.validate(json.loads(stats.read_text()), schema)
    back = sources.read(stats).inputs[None]
    assert back.profile is not None and same(back.profile, profile())
    assert back.data_min is not None and np.array_equal(back.data_min, X.min(0))
    assert sum(line.lstrip().startswith('"profile"') for line in stats.read_text().splitlines()) == 1


@pytest.mark.parametrize("form", ["auto", "nodes"])
def test_a_model_carries_it(stats: Path, tmp_path: Path, form: str) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(build.mlp(4).SerializeToString())
    onnxscale.bake(model, stats, form=form).verify().save(tmp_path / "baked.onnx")
    with open_model(tmp_path / "baked.onnx") as opened:
        record = recognition.recorded(opened)
    schema = json.loads((resources.files("onnxscale") / "schemas" / "record.schema.json").read_text())
    jsonschema.validate(record, schema)
    assert record is not None and record["scalers"][0]["profile"]["quantiles"]["dtype"] == "float32"
    back = origins.read(tmp_path / "baked.onnx").inputs[None]
    assert back.profile is not None and same(back.profile, profile())
    onnxscale.convert(tmp_path / "baked.onnx", tmp_path / "again.json")
    again = sources.read(tmp_path / "again.json").inputs[None].profile
    assert again is not None and same(again, profile())


def test_columns_of_it() -> None:
    reverse = np.arange(4)[::-1]
    assert same(profile().of(reverse), profile(X[:, ::-1], features=tuple("dcba")))


def test_packed_tables_read_back_bit_equal() -> None:
    odd = profile(np.exp(np.random.default_rng(0).standard_normal((99, 4))))  # float64: needs its eight bytes
    huge = profile(X, correlation=np.diag([1.0, 1e300, np.nan, 1.0]))
    for one in (odd, huge):
        assert same(Profile.from_json(json.loads(json.dumps(one.to_json(packed=True), allow_nan=False))), one)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": "many"}, "not a number"),
        ({"mean": [1.0]}, r"profile.mean: expected the shape \(4,\)"),
        ({"quantiles": {"dtype": "float32", "shape": [4, 65], "base64": "AAAA"}}, "not a number"),
        ({"quantiles": {"dtype": "object", "shape": [4, 65], "base64": "AAAA"}}, "not a number"),
        ({"quantiles": [[0.0]]}, "expected the shape"),
        ({"features": ["a"]}, "expected a list of 4 words"),
        ({"features": list("abdc")}, "another order"),
        ({"about": 3}, "expected an object"),
    ],
)
def test_damage_is_named(stats: Path, change: dict[str, object], said: str) -> None:
    document = json.loads(stats.read_text())
    document["profile"] |= change
    with pytest.raises(StatisticsError, match=said):
        sources.read(document)


def test_of_other_data() -> None:
    with pytest.raises(StatisticsError, match="profile is of 4 columns"):
        sources.read({"mean": [1.0] * 3, "std": [1.0] * 3, "profile": profile().to_json()})
