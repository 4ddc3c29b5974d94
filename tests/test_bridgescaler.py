"""bridgescaler's JSON, written by bridgescaler itself."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing as p

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Fitted, Reading

bridge = pytest.importorskip("bridgescaler", reason="needs bridgescaler")
from bridgescaler import deep, distributed, group  # noqa: E402

from tests import damaging  # noqa: E402

RNG = np.random.default_rng(5)
FRAME = pd.DataFrame(RNG.normal(size=(50, 3)) * [1, 30, 1e4] + [0, 5, 1e5], columns=["t2m", "u", "v"])
X = RNG.normal(size=(40, 3)) * 100


def one(scaler: Any, **flags: object) -> Fitted:
    found = sources.read(bridge.print_scaler(scaler).encode(), Reading(**flags))
    assert found.source.framework.startswith("bridgescaler")
    return found.inputs[None]


OWN = {
    "DStandardScaler": distributed.DStandardScaler, "DMinMaxScaler": distributed.DMinMaxScaler,
    "DeepStandardScaler": deep.DeepStandardScaler, "DeepMinMaxScaler": deep.DeepMinMaxScaler,
    "StandardScaler": p.StandardScaler, "MinMaxScaler": p.MinMaxScaler, "MaxAbsScaler": p.MaxAbsScaler, "RobustScaler": p.RobustScaler,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OWN)
def test_what_bridgescaler_computes(name: str, dtype: str) -> None:
    scaler = OWN[name]()
    scaler.fit(FRAME.to_numpy().astype(dtype))
    fitted = one(scaler)
    np.testing.assert_array_equal(fitted.transform()(X, 1), scaler.transform(X))
    assert fitted.features == ()


@pytest.mark.parametrize("name", ["DStandardScaler", "DMinMaxScaler", "StandardScaler"])
def test_names(name: str) -> None:
    scaler = OWN[name]()
    scaler.fit(FRAME)
    assert one(scaler).features == ("t2m", "u", "v")


@pytest.mark.parametrize(
    "of", [group.GroupStandardScaler, group.GroupRobustScaler, lambda: group.GroupMinMaxScaler((-1, 3))]
)
def test_groups(of: Any) -> None:
    scaler = of()
    scaler.fit(FRAME, groups=[["u", "v"], "t2m"])
    want = scaler.transform(pd.DataFrame(X, columns=FRAME.columns)).to_numpy()
    fitted = one(scaler)
    np.testing.assert_array_equal(fitted.transform()(X, 1), want)
    assert fitted.features == ("t2m", "u", "v")


def test_channels_first_and_the_sum_of_two() -> None:
    images = RNG.normal(size=(6, 3, 4, 5))
    first, second = (distributed.DStandardScaler(channels_last=False) for _ in range(2))
    first.fit(images[:3])
    second.fit(images[3:])
    whole = first + second
    fitted = one(whole)
    assert fitted.axis == 1
    np.testing.assert_array_equal(fitted.transform()(images, 1), whole.transform(images))


def test_older_files_hold_lists() -> None:
    held = {"type": "DStandardScaler", "channels_last": True, "x_columns_": [0, 1], "n_": 9, "_fit": True}
    for key, values in (("mean_x_", [1.0, 2.0]), ("var_x_", [4.0, 9.0])):
        held[key] = {"object": "ndarray", "dtype": "<f8", "shape": [2], "data": values}
    got = sources.read(json.dumps(held).encode()).inputs[None].transform()(np.array([[3.0, 8.0]]), 1)
    assert got.tolist() == [[1.0, 2.0]]


def saved(scaler: Any, **changes: Any) -> dict[str, Any]:
    scaler.fit(FRAME.to_numpy())
    return {**json.loads(bridge.print_scaler(scaler)), **changes}


def test_what_is_refused() -> None:
    standard = distributed.DStandardScaler()
    nothing = {"__numpy__": "AAAA", "dtype": "<f8", "shape": [3]}
    for content, message in (
        (saved(distributed.DQuantileScaler()), "DQuantileScaler is not a scaler that is known"),
        (saved(standard, var_x_=nothing), "damaged array"),
        (saved(standard, var_x_={**nothing, "dtype": "|O"}), "is not read"),
        (saved(standard, var_x_={**nothing, "dtype": [["a", "<f8"]]}), "is not read"),
        (saved(standard, var_x_={"__numpy__": "!", "dtype": "<f8", "shape": [1]}), "damaged array"),
        (saved(standard, var_x_=[1.0, -1.0, 2.0]), "not of a fitted scaler"),
        (saved(standard, var_x_=[1.0, 0.0, 2.0]), "--zero-std one"),
        ({k: v for k, v in saved(standard).items() if k != "var_x_"}, "has no 'var_x_'"),
        (saved(standard, mean_x_=None), "expected numbers"),
        (saved(group.GroupStandardScaler(), groups_=7), "not what bridgescaler writes"),
        (saved(group.GroupStandardScaler(), groups_=[0, 1]), "in none of the groups"),
        (saved(group.GroupStandardScaler(), x_columns_=7), "not what bridgescaler writes"),
        (saved(standard, mean_x_={"object": "ndarray", "data": [[1.0], [1.0, 2.0]]}), "no list of values"),
    ):
        with pytest.raises(StatisticsError, match=message):
            sources.read(json.dumps(content).encode())
    assert one(standard, zero_std="one").transform().shape == (3,)


def test_damage_is_refused_and_never_a_traceback() -> None:
    scaler = group.GroupMinMaxScaler()
    scaler.fit(FRAME.to_numpy(), groups=[[0, 2], 1])
    whole = bridge.print_scaler(scaler).encode()
    refused, total = damaging.refused(damaging.cut(whole, short=1))
    assert refused == total
    refused, _ = damaging.refused(damaging.flipped(whole, 1000))
    assert refused > 100
