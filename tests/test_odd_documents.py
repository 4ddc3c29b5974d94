"""Documents whose values are of another type than expected, anywhere in them, are refused in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxscale import scalers, sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Reading
from tests.thinning import thinned

VECTOR = {"__numpy__": "AAAAAAAA8D8AAAAAAAAAQA==", "dtype": "<f8", "shape": [2]}
DOCUMENTS: dict[str, Any] = {
    "bioimage 0.5": {
        "format_version": "0.5.3", "weights": {}, "inputs": [{
            "id": "x", "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["a", "b"]}],
            "preprocessing": [
                {"id": "fixed_zero_mean_unit_variance", "kwargs": {"axis": "channel", "mean": [1.0, 2.0], "std": [1.0, 2.0]}},
                {"id": "scale_linear", "kwargs": {"axis": "channel", "gain": [1.0, 2.0], "offset": 0.5}},
                {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}}, {"id": "binarize", "kwargs": {"threshold": 0.5}},
            ],
        }],
    },
    "bioimage 0.4": {
        "format_version": "0.4.9", "weights": {}, "inputs": [{"name": "x", "axes": "bc", "preprocessing": [
            {"name": "zero_mean_unit_variance", "kwargs": {"mode": "fixed", "axes": "", "mean": [1.0, 2.0], "std": [1.0, 2.0]}},
        ]}],
    },
    "bridgescaler": {"type": "DStandardScaler", "mean_x_": VECTOR, "var_x_": VECTOR, "x_columns_": ["a", "b"], "channels_last": True},
    "bridgescaler groups": {"type": "GroupMinMaxScaler", "mins_": [0.0, 0.0], "maxes_": [1.0, 2.0], "groups_": [[0], 1],
                            "x_columns_": [0, 1],                             "feature_range": [0, 1]},
    "bridgescaler, scikit-learn's": {"type": "StandardScaler", "mean_": VECTOR, "scale_": VECTOR, "with_mean": True, "with_std": True},
    "rknn": {"mean_values": [[1.0, 2.0]], "std_values": [[1.0, 2.0]]},
    "openvino": {"mean_values": {"x": [1.0, 2.0]}, "scale_values": {"x": [1.0, 2.0]}},
    "deepstream": {"property": {"net-scale-factor": 0.5, "offsets": "1;2;3", "model-color-format": 0}},
    "tflite": {"subgraph_metadata": [{"input_tensor_metadata": [
        {"name": "x", "process_units": [{"options_type": "NormalizationOptions", "options": {"mean": [1.0], "std": [2.0]}}]}]}]},
    "pandas table": {"schema": {"primaryKey": ["index"]}, "data": [{"index": "mean", "a": 1.0}, {"index": "std", "a": 2.0}]},
    "pandas split": {"columns": ["a"], "index": ["mean", "std"], "data": [[1.0], [2.0]]},
    "written out": {"with_mean": True, "with_std": True, "mean_": [1.0, 2.0], "scale_": [1.0, 2.0], "copy": True},
    "groups": {"norm": {"mean": [1.0, 2.0], "std": [1.0, 2.0]}, "lr": 0.1},
    "records": [{"feature": "a", "mean": 1.0, "std": 2.0}, {"feature": "b", "mean": 1.0, "std": 2.0}],
}  # fmt: skip
KINDS = {  # of our own statistics file
    "standard": {"mean": [1.0, 2.0], "std": [1.0, 2.0], "features": ["a", "b"], "units": ["K", "m"], "axis": 1, "ddof": 0,
                 "data_min": [0.0, 0.0], "data_max": [9.0, 9.0], "source": {"framework": "f", "ddof": 1, "eps": 0.5}},
    "minmax": {"data_min": [0.0, 1.0], "data_max": [1.0, 2.0], "feature_range": [0.0, 1.0], "clip": True},
    "maxabs": {"max_abs": [1.0, 2.0]}, "robust": {"center": [1.0, 2.0], "scale": [1.0, 2.0]},
    "power": {"lambdas": [0.5, 2.0], "method": "yeo-johnson", "mean": [0.0, 1.0], "std": [1.0, 2.0]},
    "quantile": {"quantiles": [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]], "output": "normal"}, "normalizer": {"norm": "l2"},
    "function": {"function": "log1p"}, "imputer": {"value": [1.0, 2.0], "missing": -1.0, "indicators": [0], "dropped": [1]},
    "indicator": {"columns": [1, 0], "width": 2, "missing": -1.0}, "binarizer": {"threshold": 0.5},
    "kbins": {"edges": [[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]], "encode": "ordinal"},
    "image": {"rescale": 0.5, "mean": [1.0, 2.0], "std": [1.0, 2.0]}, "gray": {"weights": [0.3, 0.6, 0.1]},
    "clip": {"low": [0.0, 1.0], "high": [1.0, 2.0]}, "select": {"columns": [1, 0], "width": 2},
    "instance": {"over": [1], "eps": 0.1, "eps_at": "std", "mask": "m", "pad": 0.0, "weight": [1.0, 2.0], "bias": [0.0, 1.0]},
    "grouped": {"by": "g", "groups": ["a", "b"], "mean": [1.0, 2.0], "std": [1.0, 2.0], "default": "a"},
    "polynomial": {"width": 2, "degree": 2}, "spline": {"knots": [[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]], "degree": 1},
    "projection": {"components": [[1.0, 0.0], [0.0, 2.0]], "mean": [1.0, 1.0], "scale": [1.0, 2.0]},
    "logmel": {"over": [-2, -1], "below": 8.0, "shift": 4.0, "divisor": 4.0}, "decibel": {"floor": 40.0}, "pcm": {"bits": 16},
    "affine": {"scale": [1.0, 2.0], "shift": [0.0, 1.0]},
    "steps": {"steps": [{"op": "Sub", "operands": [[1.0, 2.0]]}, {"op": "Select", "operands": [[1.0]], "options": {"features": 2}}]},
}  # fmt: skip
ODD: list[Any] = [
    None,
    True,
    7,
    -0.5,
    "",
    "x",
    [],
    [None],
    [[1.0], [2.0, 3.0]],
    {},
    {"a": 1},
    [{}],
    10**40,
    "1e999",
    [[[]]],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(document: Any) -> Iterator[Any]:
    for path in places(document):
        for odd in [*ODD, "gone"]:
            made = copy.deepcopy(document)
            at = made
            for key in path[:-1]:
                at = at[key]
            if odd == "gone":
                del at[path[-1]]
            else:
                at[path[-1]] = odd
            yield made


DOCUMENTS |= {f"kind {k}": {"kind": k, **v} for k, v in KINDS.items()}


def test_every_kind_has_a_document() -> None:
    assert set(KINDS) == set(scalers.KINDS)


@pytest.mark.parametrize("document", [
    b'{"mean": [%s], "std": [1]}', b'{"mean": [1], "std": [1], "axis": %s}', b"mean: [%s]\nstd: [1]\n", b"mean = [%s]\nstd = [1]\n",
    b"feature,mean,std\na,%s,1\n", b"[property]\nnet-scale-factor=1\noffsets=%s;1;1\n", b"--mean_values=[%s]",
])  # fmt: skip
@pytest.mark.parametrize("digits", [400, 100_000])
def test_numbers_without_end_are_refused_in_words(document: bytes, digits: int) -> None:
    with pytest.raises(StatisticsError):
        sources.read(document % (b"1" * digits))


@pytest.mark.parametrize("name", thinned(DOCUMENTS))
def test_odd_values_are_refused_in_words(name: str) -> None:
    assert sources.read(json.dumps(DOCUMENTS[name]).encode()).inputs
    refused = 0
    for made in changed(DOCUMENTS[name]):
        for flags in ({}, {"accept_defaults": True, "zero_std": "one"}):
            try:
                for fitted in sources.read(json.dumps(made).encode(), Reading(**flags)).inputs.values():
                    assert fitted.transform().prose()
            except StatisticsError:
                refused += 1
    assert refused > (2 if name.startswith("kind ") else 20)


SPARK = {
    "class": "org.apache.spark.ml.feature.ImputerModel", "sparkVersion": "3.5.0", "uid": "u",
    "paramMap": {"inputCols": ["a"], "outputCols": ["b"], "missingValue": "NaN"}, "defaultParamMap": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "of",
    [
        *(pytest.param(f"feature.{name}Model", marks=pytest.mark.slow) for name in ("Imputer", "StandardScaler")),
        *("feature.VectorAssembler", "PipelineModel", "other.Thing"),
    ],
)
def test_odd_metadata_of_spark_is_refused_in_words(of: str, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    (tmp_path / "metadata").mkdir()
    (tmp_path / "data").mkdir()
    parquet.write_table(arrow.table({"a": [1.0], "std": ["x"], "mean": [None]}), tmp_path / "data" / "part-0.parquet")
    document = copy.deepcopy(SPARK) | {"class": f"org.apache.spark.ml.{of}"}
    document["paramMap"] |= {"inputCol": "x", "outputCol": "y", "stageUids": ["s"], "withMean": True, "withStd": True}
    for made in changed(document):
        (tmp_path / "metadata" / "part-00000").write_text(json.dumps(made))
        try:
            sources.read(tmp_path)
        except StatisticsError:
            continue
        assert of == "feature.ImputerModel"
