"""bioimage.io: preprocessing that bioimageio.spec describes, and what bioimageio.core computes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Fitted
from tests import damaging

yaml = pytest.importorskip("yaml", reason="needs PyYAML")

AXES = [
    {"type": "batch"},
    {"type": "channel", "channel_names": ["nuclei", "membrane", "actin"]},
    {"type": "space", "id": "y", "size": 4},
    {"type": "space", "id": "x", "size": 5},
]
X = np.random.default_rng(0).normal(size=(2, 3, 4, 5)) * 100


def document(*processing: dict[str, Any], old: bool = False, **changes: Any) -> dict[str, Any]:
    tensor: dict[str, Any] = {"preprocessing": list(processing)}
    if old:
        tensor |= {"name": "raw", "axes": "bcyx", "data_type": "float32", "shape": [1, 3, 4, 5]}
    else:
        tensor |= {"id": "raw", "axes": AXES, "data": {"type": "float64"}, "test_tensor": {"source": "t.npy"}}
    return {
        "type": "model",
        "name": "m",
        "format_version": "0.4.10" if old else "0.5.4",
        "inputs": [tensor | changes],
        "weights": {},
    }


def one(content: dict[str, Any]) -> Fitted:
    found = sources.read(yaml.safe_dump(content, sort_keys=False).encode())
    assert found.source.framework == "bioimage.io"
    return found.inputs[None]


def fixed(**kwargs: Any) -> dict[str, Any]:
    return {"id": "fixed_zero_mean_unit_variance", "kwargs": kwargs}


def linear(**kwargs: Any) -> dict[str, Any]:
    return {"id": "scale_linear", "kwargs": kwargs}


def old(**kwargs: Any) -> dict[str, Any]:
    whole = {"axes": "yx", **kwargs}
    return document({"name": "zero_mean_unit_variance", "kwargs": whole}, old=True)


def clip(**kwargs: float) -> dict[str, Any]:
    return {"id": "clip", "kwargs": kwargs}


NEW: dict[str, list[dict[str, Any]]] = {
    "one value": [fixed(mean=103.5, std=13.7)],
    "channels": [fixed(axis="channel", mean=[1.1, 2.2, 3.3], std=[0.1, 0.2, 7.0])],
    "along y": [fixed(axis="y", mean=[1.0, 2.0, 3.0, 4.0], std=[1.0, 2.0, 3.0, 4.0])],
    "linear": [linear(gain=1 / 255)],
    "linear per channel": [linear(axis="channel", gain=[1.0, 2.0, 3.3], offset=[0.1, 0.2, 0.3])],
    "one after the other": [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float64"}}, clip(min=-20.0, max=90.5),
        linear(gain=0.01, offset=-0.5), fixed(axis="channel", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6]),
        clip(max=1.0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NEW)
def test_what_bioimageio_computes(name: str) -> None:
    spec = pytest.importorskip("bioimageio.spec.model.v0_5", reason="needs bioimageio.spec")
    procs = pytest.importorskip("bioimageio.core.proc_ops", reason="needs bioimageio.core")
    from bioimageio.core import Tensor

    content = document(*NEW[name])
    tensor = spec.InputTensorDescr.model_validate(
        {k: v for k, v in content["inputs"][0].items() if k != "test_tensor"} | {"test_tensor": None}
    )
    y = Tensor.from_numpy(X, dims=("batch", "channel", "y", "x"))
    for descr in tensor.preprocessing:
        if descr.id != "ensure_dtype" or name == "one after the other":
            y = procs.get_proc(descr, tensor)._apply(y, {})
    # what the library itself writes of the tensor is what is read
    content["inputs"][0]["preprocessing"] = [
        p.model_dump(mode="json") for p in tensor.preprocessing if p in tensor.preprocessing
    ]
    fitted = one(content)
    axis = {"along y": -2}.get(name, -3)
    assert fitted.axis == (None if fitted.transform().shape == () else axis)
    assert fitted.features == (("nuclei", "membrane", "actin") if fitted.transform().shape == (3,) else ())
    np.testing.assert_array_equal(fitted.transform()(X, axis), y.data.to_numpy())


def test_format_04() -> None:
    content = document(
        {"name": "scale_linear", "kwargs": {"gain": 2.0}},
        {
            "name": "zero_mean_unit_variance",
            "kwargs": {"mode": "fixed", "axes": "yx", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]},
        },
        {"name": "clip", "kwargs": {"min": 0.0, "max": 1.0}},
        old=True,
    )
    fitted = one(content)
    assert fitted.axis == -3
    shape = (1, 3, 1, 1)
    want = (X * 2 - np.reshape([1.0, 2, 3], shape)) / (np.reshape([4.0, 5, 6], shape) + 1e-6)
    np.testing.assert_array_equal(fitted.transform()(X, -3), np.clip(want, 0, 1))


def test_format_04_as_bioimageio_computes_it() -> None:
    spec = pytest.importorskip("bioimageio.spec.model.v0_4", reason="needs bioimageio.spec")
    procs = pytest.importorskip("bioimageio.core.proc_ops", reason="needs bioimageio.core")
    from bioimageio.core import Tensor

    kwargs = {"mode": "fixed", "axes": "yx", "mean": [1.1, 2.2, 3.3], "std": [0.4, 5.5, 6.6]}
    content = document({"name": "zero_mean_unit_variance", "kwargs": kwargs}, old=True)
    tensor = spec.InputTensorDescr.model_validate(content["inputs"][0])
    y = procs.get_proc(tensor.preprocessing[0], tensor)._apply(
        Tensor.from_numpy(X, dims=("batch", "channel", "y", "x")), {}
    )
    np.testing.assert_array_equal(one(content).transform()(X, -3), y.data.to_numpy())


def test_two_inputs_and_a_folder(tmp_path: Path) -> None:
    content = document(fixed(mean=1.0, std=2.0))
    content["inputs"].append({**content["inputs"][0], "id": "other", "preprocessing": [linear(gain=3.0)]})
    content["inputs"].append({**content["inputs"][0], "id": "mask", "preprocessing": []})
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(content))))  # without aliases
    found = sources.read(tmp_path)
    assert set(found.inputs) == {"raw", "other"}
    assert found.inputs["other"].transform()(np.float64(2.0)) == 6.0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "per sample": (document({"id": "zero_mean_unit_variance"}), "'raw': zero_mean_unit_variance: computes"),
    "per sample, old": (old(mode="per_sample"), "mode per_sample"),
    "per dataset, old": (old(mode="per_dataset"), "mode per_dataset"),
    "percentiles": (document({"id": "scale_range", "kwargs": {"min_percentile": 1}}), "scale_range: computes percentiles"),
    "clip at percentiles": (document(clip(max_percentile=99.0)), "clips at percentiles"),
    "an operation": (document({"id": "sigmoid"}), "'sigmoid' is not known"),
    "no numbers": (old(mode="fixed"), "mean and std are missing"),
    "an axis": (document(fixed(axis="z", mean=[1.0, 2.0], std=[1.0, 1.0])), "axis is 'z'"),
    "two axes": (document(*NEW["along y"], *NEW["channels"]), "along several axes"),
    "a cast": (document(linear(gain=2.0), {"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}}), "cuts decimals"),
    "zero": (document(fixed(mean=1.0, std=0.0)), "std is 0"),
    "nothing": (document(), "no input has a preprocessing"),
    "another version": ({**document(fixed(mean=1.0, std=1.0)), "format_version": "0.9.0"}, "known are 0.4 and 0.5"),
    "another eps": (old(mean=1.0, std=1.0, eps=0.01), "eps is 0.01"),
    "no axes": (document(fixed(mean=1.0, std=1.0), axes=7), "axes: expected a list"),
    "no processing": (document({"kwargs": {}}), "a preprocessing without 'id'"),
    "text": (document(fixed(mean="1", std=1.0)), "expected numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_scaler_is_refused(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(StatisticsError, match=message):
        one(content)


def test_damage_is_refused_and_never_a_traceback() -> None:
    whole = yaml.safe_dump(document(*NEW["one after the other"])).encode()
    refused, _ = damaging.refused([*damaging.cut(whole, short=1), *damaging.flipped(whole, 500)])
    assert refused > 300
