"""The linter of constants: each planted mistake is found, and no true constant nor ordinary data set off an alarm."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.linting import findings
from onnxscale.scalers import Image, Standard
from onnxscale.statistics import Fitted, Reading

IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
BYTES = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
TRUE = {
    "ImageNet": IMAGENET,
    "ImageNet, bytes": BYTES,
    "CLIP": CLIP,
    "CLIP, rounded": ([0.481, 0.458, 0.408], [0.269, 0.261, 0.276]),
    "Inception": ([0.5] * 3, [0.5] * 3),
    "Inception, bytes": ([127.5] * 3, [127.5] * 3),
    "Inception, one": ([0.5], [0.5]),
    "Caffe BGR": ([103.939, 116.779, 123.68], [1.0, 1.0, 1.0]),
    "Caffe RGB": ([123.68, 116.779, 103.939], [1.0, 1.0, 1.0]),
    "MNIST": ([0.1307], [0.3081]),
    "CIFAR-10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "CIFAR-10, often": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    "CIFAR-100": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "AST": ([-4.2677393], [4.5689974]),
    "SVHN": ([0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970]),
    "satellite": ([1353.7, 1117.2, 1041.8, 946.5], [245.2, 333.4, 395.2, 593.8]),
}
WRONG = {
    "identity": ([0.0, 0.0], [1.0, 1.0], "identity"),
    "equal": (IMAGENET[0], IMAGENET[0], "mean-equals-std"),
    "std for the mean": ([3.1, 2.7, 9.4, 1.1], [3.1, 2.7, 9.4, 1.1], "mean-equals-std"),
    "swapped": (IMAGENET[1], IMAGENET[0], "swapped"),
    "swapped bytes": (BYTES[1], BYTES[0], "swapped"),
    "units": (IMAGENET[0], BYTES[1], "units"),
    "units the other way": (BYTES[0], IMAGENET[1], "units"),
    "variance": (IMAGENET[0], [v * v for v in IMAGENET[1]], "variance"),
    "variance bytes": (BYTES[0], [v * v for v in BYTES[1]], "variance"),
    "BGR": (IMAGENET[0][::-1], IMAGENET[1][::-1], "permuted"),
    "BGR mean": (IMAGENET[0][::-1], IMAGENET[1], "permuted"),
    "BGR std": (IMAGENET[0], IMAGENET[1][::-1], "permuted"),
    "CLIP BGR": (CLIP[0][::-1], CLIP[1][::-1], "permuted"),
    "digits": ([123.675, 28.116, 103.53], BYTES[1], "digit"),
    "a shifted point": ([0.485, 4.56, 0.406], IMAGENET[1], "digit"),
    "a digit of the std": (IMAGENET[0], [0.229, 0.244, 0.225], "digit"),
}
for order in permutations(range(3)):
    if order != (0, 1, 2):
        WRONG[f"mean {order}"] = ([IMAGENET[0][i] for i in order], IMAGENET[1], "permuted")


for order in ((1, 2, 0), (0, 2, 1)):
    WRONG[f"Caffe {order}"] = ([(123.68, 116.779, 103.939)[i] for i in order], [1.0] * 3, "permuted")
TRUE["Caffe RGB, another std"] = ([123.68, 116.779, 103.939], [58.0, 57.0, 59.0])


def codes(mean: object, std: object, **known: object) -> list[str]:
    return [f.code for f in findings(Fitted(Standard(np.array(mean), np.array(std)), **known))]


@pytest.mark.parametrize("name", TRUE)
def test_true_constants_pass(name: str) -> None:
    assert codes(*TRUE[name]) == []
    mean, std = map(np.array, TRUE[name])
    assert not findings(Fitted(Image(np.array(1 / 255), mean, std)))


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_found(name: str) -> None:
    mean, std, code = WRONG[name]
    assert codes(mean, std) == [code]


def test_what_data_cannot_have() -> None:
    low, high = np.array([0.0, 0.0]), np.array([1.0, 10.0])
    assert codes([0.5, 5.0], [0.3, 3.0], data_min=low, data_max=high) == []
    assert codes([0.5, 12.0], [0.3, 3.0], data_min=low, data_max=high) == ["mean-outside"]
    assert codes([0.5, 5.0], [0.3, 9.0], data_min=low, data_max=high) == ["std-too-large"]


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32), st.floats(-4, 4))
def test_ordinary_data_set_off_no_alarm(width: int, seed: int, power: float) -> None:
    draw = np.random.default_rng(seed)
    data = draw.standard_normal((50, width)) * np.exp(draw.standard_normal(width)) * 10**power + draw.standard_normal(
        width
    )
    data[:, 0] = np.round(data[:, 0])
    fitted = StandardScaler().fit(data)
    known = {"data_min": data.min(0), "data_max": data.max(0)}
    assert codes(fitted.mean_, fitted.scale_) == []
    assert codes(fitted.mean_, np.where(fitted.var_ > 0, fitted.scale_, 1), **known) == []


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "digits"])
def test_real_data_set_off_no_alarm(name: str) -> None:
    found = sources.read(StandardScaler().fit(getattr(datasets, f"load_{name}")().data)).inputs[None]
    assert found.warnings == ()


def test_the_models_of_this_repository_set_off_no_alarm() -> None:
    for path in Path("models").glob("*/stats.json"):
        for fitted in sources.read(path).inputs.values():
            assert fitted.warnings == (), path


def test_strict_makes_it_an_error() -> None:
    with pytest.raises(StatisticsError, match="--strict: mean and std are ImageNet's, swapped"):
        sources.read({"mean": IMAGENET[1], "std": IMAGENET[0]}, Reading(strict=True))


def test_the_command_warns_and_under_strict_refuses(cli, tmp_path: Path) -> None:
    from tests import build

    (tmp_path / "model.onnx").write_bytes(build.cnn().SerializeToString())
    (tmp_path / "s.json").write_text(json.dumps({"mean": IMAGENET[1], "std": IMAGENET[0], "axis": 1}))
    out = tmp_path / "out.onnx"
    got = cli("bake", tmp_path / "model.onnx", tmp_path / "s.json", "-o", out, "--strict")
    assert got.returncode == 2 and "swapped" in got.stderr and not out.exists()
    got = cli("bake", tmp_path / "model.onnx", tmp_path / "s.json", "-o", out, "--json")
    assert got.returncode == 0 and "warning: " in got.stderr and "swapped" in got.stderr
    assert "swapped" in json.loads(got.stdout)["plan"]["warnings"][0]
