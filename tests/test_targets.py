"""Statistics written for others: what reads back is bit-equal, what a target cannot express is refused."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import preprocessing as sk
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

import onnxscale
from onnxscale import sources, targets
from onnxscale.errors import OutputError, StatisticsError
from onnxscale.scalers import Affine, Image, MinMax, Robust, Standard
from onnxscale.statistics import Fitted, Reading, Source, Statistics

X = np.exp(np.random.default_rng(0).standard_normal((300, 4)))
SCHEMA = json.loads((Path(onnxscale.__file__).parent / "schemas" / "stats.schema.json").read_text())
ESTIMATORS = {
    "standard": sk.StandardScaler(),
    "no mean": sk.StandardScaler(with_mean=False),
    "minmax": sk.MinMaxScaler((-1, 3), clip=True),
    "maxabs": sk.MaxAbsScaler(),
    "robust": sk.RobustScaler(quantile_range=(5, 95)),
    "yeo-johnson": sk.PowerTransformer(),
    "box-cox": sk.PowerTransformer("box-cox", standardize=False),
    "quantile": sk.QuantileTransformer(n_quantiles=40, output_distribution="normal"),
    "l1": sk.Normalizer("l1"),
    "binarizer": sk.Binarizer(threshold=0.3),
    "k-bins": sk.KBinsDiscretizer(3, encode="ordinal"),
    "imputer": SimpleImputer(),
    "sentinel": SimpleImputer(missing_values=-999.0, strategy="median"),
    "log1p": sk.FunctionTransformer(np.log1p),
    "pipeline": make_pipeline(sk.FunctionTransformer(np.sqrt), sk.RobustScaler()),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_kind_reads_back_bit_equal(name: str, tmp_path: Path) -> None:
    fitted = ESTIMATORS[name].fit(X)
    out = onnxscale.convert(fitted, tmp_path / "stats.json")
    document = json.loads(out.read_text())
    jsonschema.validate(document, SCHEMA)
    back = sources.read(out).inputs[None]
    x = np.random.default_rng(1).standard_normal((50, 4)) * 2
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(back.transform()(x, 1), sources.read(fitted).inputs[None].transform()(x, 1))
    assert (document["kind"] == "steps") == (name in ("pipeline", "no mean", "l1"))


PIPELINE = make_pipeline(SimpleImputer(), sk.StandardScaler())
KNOWN = [  # what a source says of itself, and what is kept of it
    (pickle.dumps(PIPELINE.fit(X)), {"framework": "scikit-learn", "ddof": 0, "zero_variance": "a constant feature is divided by 1"}),
    (pickle.dumps(sk.QuantileTransformer(n_quantiles=9).fit(X)), {"framework": "scikit-learn", "ddof": None, "zero_variance": ""}),
    ({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "do_normalize": True, "padding_value": 0.0,
      "return_attention_mask": True, "transformers_version": "4.40.1"},
     {"framework": "transformers", "version": "4.40.1", "eps": 1e-7}),
    ({"_class_name": "AutoencoderKL", "_diffusers_version": "0.31.0", "scaling_factor": 0.5},
     {"framework": "diffusers", "version": "0.31.0"}),
    ({"observation.state": {"mean": [1.0], "std": [2.0], "min": [0.0], "max": [3.0]}}, {"framework": "LeRobot", "eps": 1e-8}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "known"), KNOWN)
def test_where_numbers_come_from_is_kept(given, known: dict[str, object], tmp_path: Path) -> None:
    how = {"AutoencoderKL": "encode", "observation.state": "mean-std"}
    dialect = next((d for k, d in how.items() if isinstance(given, dict) and k in str(given)), "")
    read = sources.read(given, Reading(dialect=dialect))
    assert {k: getattr(read.source, k) for k in known} == known
    if len(read.inputs) > 1 or None not in read.inputs:
        read = Statistics(dict(read.inputs), {}, read.source)
    for name in ("a.json", "b.json"):  # once and again
        (tmp_path / name).write_bytes(targets.native.write(read))
        document = json.loads((tmp_path / name).read_text())
        jsonschema.validate(document, SCHEMA)
        first, read = read, sources.read(tmp_path / name)
        assert {k: getattr(read.source, k) for k in known} == known
        assert read.source.origin == (first.source.origin or document["source"]["origin"]) != ""
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_file_made_of_a_file_names_it_and_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "scaler.pkl"
    path.write_bytes(pickle.dumps(PIPELINE.fit(X)))
    back = sources.read(onnxscale.convert(path, tmp_path / "stats.json"))
    assert back.source.origin == f"pickle scaler.pkl sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert back.source.version == sklearn.__version__


finite = st.floats(-1e9, 1e9, width=64)
positive = st.floats(1e-9, 1e9, width=64)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float64, 5, elements=finite),
    arrays(np.float64, 5, elements=positive),
    st.booleans(),
    st.sampled_from([None, -1, 1]),
)
def test_numbers_read_back_bit_equal(mean: np.ndarray, std: np.ndarray, clip: bool, axis: int | None) -> None:
    low, high = mean, mean + std + 1
    known = Fitted(Standard(mean, std), axis, tuple("abcde"), ("m",) * 5, low, high)
    made = (
        known,
        Fitted(MinMax(low, high, (-1.0, 2.0), clip), axis),
        Fitted(Robust(mean, std)),
        Fitted(Affine(std, mean)),
    )
    for fitted in made:
        found = Statistics({None: fitted}, {}, Source("test", ddof=1))
        back = sources.read(json.loads(targets.native.write(found)))
        one = back.inputs[None]
        assert one.transform().to_json() == fitted.transform().to_json() and one.axis == fitted.axis
        assert one.features == fitted.features and one.units == fitted.units and back.source.ddof == 1
        if fitted is known:
            np.testing.assert_array_equal(one.data_min, low)
            np.testing.assert_array_equal(one.data_max, high)


def test_several_tensors_keep_their_names(tmp_path: Path) -> None:
    content = {
        "inputs": {"a": {"mean": [1.0], "std": [2.0]}, "b": {"data_min": [0.0, 1.0], "data_max": [2.0, 5.0]}},
        "outputs": {"y": {"mean": [0.1], "std": [3.3]}},
    }
    found = sources.read(onnxscale.convert(content, tmp_path / "s.json"))
    assert set(found.inputs) == {"a", "b"} and set(found.outputs) == {"y"}
    assert found.outputs["y"].transform().to_json() == sources.read(content).outputs["y"].transform().to_json()


@pytest.mark.parametrize(
    "scaler", [ESTIMATORS[n] for n in ("standard", "maxabs", "robust")] + [sk.MinMaxScaler((-1, 3))]
)
def test_npz_reads_back(scaler, tmp_path: Path) -> None:
    fitted = scaler.fit(X)
    back = sources.read(onnxscale.convert(fitted, tmp_path / "s.npz")).inputs[None]
    np.testing.assert_array_equal(back.transform()(X, 1), sources.read(fitted).inputs[None].transform()(X, 1))


def test_hugging_face_reads_back(tmp_path: Path) -> None:
    image = Image(np.array(1 / 255), np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
    out = onnxscale.convert(image, tmp_path / "preprocessor_config.json")
    back = sources.read(out).inputs[None]
    assert back.scaler.kind == "image" and back.transform().to_json() == image.transform().to_json()


def test_settings_of_runtimes_compute_the_same() -> None:
    image = Image(np.array(1 / 255), np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
    x = np.random.default_rng(0).integers(0, 256, (20, 3)).astype(float)
    want = image.transform()(x, 1)
    lists = json.loads(targets.content(image, "-", "rknn")[1])
    np.testing.assert_allclose((x - lists["mean_values"][0]) / lists["std_values"][0], want, rtol=1e-12)
    unit = json.loads(targets.content(image, "-", "tflite")[1])["process_units"][0]["options"]
    np.testing.assert_allclose((x - unit["mean"]) / unit["std"], want, rtol=1e-12)
    text = targets.content(image, "-", "openvino")[1].decode()
    mean, scale = (json.loads(part.split("=")[1]) for part in text.split())
    np.testing.assert_allclose((x - mean) / scale, want, rtol=1e-12)
    one = Standard(np.array([123.7, 116.3, 103.5]), np.array([58.0, 58.0, 58.0]))
    lines = dict(line.split("=") for line in targets.content(one, "-", "deepstream")[1].decode().split()[1:])
    offsets = np.array(lines["offsets"].split(";"), float)
    np.testing.assert_allclose(float(lines["net-scale-factor"]) * (x - offsets), one.transform()(x, 1), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("standard", "deepstream", "one net-scale-factor"),
        ("yeo-johnson", "huggingface", "knows a mean and a scale"),
        ("quantile", "openvino", "knows a mean and a scale"),
        ("k-bins", "tflite", "knows a mean and a scale"),
        ("minmax", "rknn", "knows a mean and a scale"),
        ("l1", "npz", "npz holds"),
        ("minmax", "npz", "npz holds"),
    ],
)
def test_what_a_target_cannot_express_is_refused(name: str, to: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StatisticsError, match=message):
        onnxscale.convert(ESTIMATORS[name].fit(X), tmp_path / "out", to=to)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path, cli) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"mean": [1.0], "std": [2.0]}')
    before = path.read_bytes()
    for force in ([], ["--force"]):
        got = cli("convert", path, path, *force)
        assert got.returncode == 2 and path.read_bytes() == before
    (tmp_path / "other.json").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        onnxscale.convert(path, tmp_path / "other.json")
    with pytest.raises(OutputError, match="--to"):
        onnxscale.convert(path, tmp_path / "out.txt")
    with pytest.raises(OutputError, match="unknown format"):
        onnxscale.convert(path, tmp_path / "out.txt", to="nothing")


def test_the_command(tmp_path: Path, cli) -> None:
    path = tmp_path / "s.csv"
    path.write_text("feature,mean,std\na,1,2\nb,3,4\n")
    got = cli("convert", path, tmp_path / "out.json", "--json")
    assert got.returncode == 0, got.stderr
    assert json.loads(got.stdout)["format"] == "stats" and json.loads((tmp_path / "out.json").read_text())["mean"] == [
        1,
        3,
    ]
    got = cli("convert", path, "-", "--to", "openvino")
    assert got.stdout == "--mean_values=[1.0,3.0] --scale_values=[2.0,4.0]\n"
    got = cli("convert", path, "-", "--to", "deepstream")
    assert got.returncode == 2 and "net-scale-factor" in got.stderr and "Traceback" not in got.stderr
