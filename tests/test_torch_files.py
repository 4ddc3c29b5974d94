"""Statistics from PyTorch files, written by torch itself: read bit for bit, and nothing in them is run."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Reading
from tests import damaging

from .hostile import CODE, call, zipped

torch = pytest.importorskip("torch", reason="needs torch")
MEAN, STD = torch.tensor([0.5, 1.5, -2.0]), torch.tensor([0.1, 2.0, 3.0])
ROWS = np.random.default_rng(0).standard_normal((5, 3))


def saved(content: object, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def legacy(content: object) -> bytes:
    return saved(content, _use_new_zipfile_serialization=False)


WAYS = {"zip": saved, "legacy": legacy, "pickle": pickle.dumps}


class Scaled(torch.nn.Module):  # type: ignore[name-defined,misc]
    def __init__(self, mean: Any = MEAN, std: Any = STD) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


class Model(torch.nn.Module):  # type: ignore[name-defined,misc]
    def __init__(self) -> None:
        super().__init__()
        self.scaler = Scaled()
        self.head = torch.nn.Linear(4, 1)


def of(data: object, rows: Any = ROWS, **said: Any) -> Any:
    found = sources.read(data, Reading(**said))
    return found.inputs[None].transform()(rows)


CONTENTS: dict[str, Any] = {
    "plain": {"mean": MEAN, "std": STD},
    "module": Scaled().state_dict(),
    "nested module": Model().state_dict(),
    "checkpoint": {
        "state_dict": Model().state_dict(),
        "epoch": 3,
        "lr": 0.1,
        "note": "x",
        "device": torch.device("cpu"),
    },
    "model": {"model": Model().state_dict(), "optimizer": torch.optim.Adam(Model().parameters()).state_dict()},
    "parameters": {"mean": torch.nn.Parameter(MEAN), "std": torch.nn.Parameter(STD)},
    "ordered": OrderedDict(mean=MEAN, std=STD),
    "numpy beside": {"mean": MEAN, "std": STD.numpy()},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label", CONTENTS)
def test_state_dicts_and_checkpoints(label: str, way: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(WAYS[way](CONTENTS[label]))
    found = sources.read(path)
    assert found.source.format == ("pickle" if way == "pickle" else "pytorch")
    np.testing.assert_array_equal(
        found.inputs[None].transform()(ROWS), (ROWS - MEAN.double().numpy()) / STD.double().numpy()
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "uint8", "uint16"]
)
def test_every_dtype_is_its_own_numbers(dtype: str, way: str) -> None:
    given = torch.tensor([1.5, 2.25, 100.75]).to(getattr(torch, dtype))
    got = sources.read(WAYS[way]({"mean": given, "std": given})).inputs[None].scaler
    np.testing.assert_array_equal(got.mean, given.double().numpy())  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", WAYS)
def test_views_of_a_storage(way: str) -> None:
    whole = torch.arange(1.0, 25.0).reshape(4, 6)
    for view in (
        whole[1],
        whole[:, 2],
        whole.T[1],
        whole[2, 1:5:2],
        whole.t()[2:4, 1],
        torch.ones(1).expand(3),
        whole[3, 5],
    ):
        got = sources.read(WAYS[way]({"mean": view, "std": view})).inputs[None].scaler
        np.testing.assert_array_equal(got.mean, view.double().numpy())  # type: ignore[attr-defined]


def test_where_the_features_lie() -> None:
    found = sources.read(saved({"pixel.mean": MEAN.reshape(3, 1, 1), "pixel.std": STD.reshape(3, 1, 1)})).inputs[None]
    assert found.axis == -3
    x = np.random.default_rng(1).random((2, 3, 4, 5))
    want = (torch.tensor(x) - MEAN.double().reshape(3, 1, 1)) / STD.double().reshape(3, 1, 1)
    np.testing.assert_array_equal(found.transform()(x, found.axis), want.numpy())


def test_one_of_several_groups_is_named() -> None:
    data = saved({"a": Scaled().state_dict(), "b": Scaled(MEAN + 1).state_dict()})
    with pytest.raises(StatisticsError, match=r"several groups.*'a', 'b'.*--pick"):
        sources.read(data)
    with pytest.raises(StatisticsError, match="not among"):
        sources.read(data, Reading(pick="c"))
    np.testing.assert_array_equal(of(data, pick="b"), (ROWS - (MEAN + 1).double().numpy()) / STD.double().numpy())


def test_big_weights_beside_are_not_decoded() -> None:
    state = {"scaler.mean": MEAN, "scaler.std": STD, "embedding.weight": torch.zeros(20 << 20)}
    assert of(saved(state)).shape == ROWS.shape


class Called:
    def __reduce__(self) -> Any:
        return print, ("owned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layer.weight": MEAN}, "no statistics"),
        (torch.nn.BatchNorm1d(3).state_dict(), "eps is not stored"),
        ({"s.mean": MEAN, "s.std": STD, "s.eps": torch.tensor(0.1)}, r"--dialect plus-eps"),
        ({"mean": MEAN, "std": STD, "epsilon": 1e-3}, r"--dialect plus-eps"),
        ({"mean": MEAN, "std": STD[:2]}, "different widths"),
        ({"mean": MEAN, "std": STD * 0}, "std is 0"),
        ({"mean": MEAN * torch.nan, "std": STD}, "finite"),
        ({"mean": MEAN.to(torch.complex64), "std": STD}, "ComplexFloatStorage"),
        ({"mean": MEAN.to(torch.float8_e4m3fn), "std": STD}, "float8_e4m3fn"),
        (MEAN, "holds a Tensor"),
        ([MEAN, STD], "holds a list"),
        (torch.nn.Linear(2, 2), "Linear"),
        ({"mean": MEAN, "std": STD, "more": Called()}, r"calls (builtins|__builtin__)\.print"),
        ({"mean": MEAN.to_sparse(), "std": STD}, "_rebuild_sparse_tensor"),
    ],
)
def test_what_is_no_statistics_is_refused(content: object, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        sources.read(saved(content))


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def test_lies_about_a_storage_are_refused() -> None:
    held = members(saved({"mean": MEAN, "std": STD}))
    root = next(n for n in held if n.endswith("data.pkl"))
    folder = root.removesuffix("data.pkl")
    view = b"K\x00K\x03\x85"  # offset 0, size (3,)
    assert held[root].count(view) == 2
    for change, message in (
        ({root: held[root].replace(view, b"K\x01K\x03\x85")}, "reaches beyond"),
        ({root: held[root].replace(view, b"K\x00K\x04\x85")}, "reaches beyond"),
        ({root: held[root].replace(view, b"K\x00J\xff\xff\xff\x7f\x85")}, "reaches beyond"),
        ({root: held[root].replace(view, b"K\x00J\xff\xff\xff\xff\x85")}, "not a list of sizes"),
        ({root: held[root].replace(view + b"q\x08K\x01", view + b"q\x08K\x09")}, "reaches beyond"),
        ({root: held[root].replace(b"FloatStorage", b"EvilStorages")}, "EvilStorages"),
        ({root: held[root].replace(b"ctorch\nFloatStorage", b"cos\nsystem")}, r"os\.system"),
        ({f"{folder}data/0": b"\0" * 8}, "do not fit"),
        ({f"{folder}byteorder": b"middle"}, "byteorder"),
        ({f"{folder}code/a.py": b"1"}, "TorchScript"),
        ({"other/data.pkl": b"N."}, "2 data.pkl"),
    ):
        assert all(held.get(n) != c for n, c in change.items()), change
        with pytest.raises(StatisticsError, match=message):
            sources.read(zipped(held | change))
    with pytest.raises(StatisticsError, match="does not hold"):
        sources.read(zipped({n: c for n, c in held.items() if n != f"{folder}data/0"}))
    wide = held[root].replace(view, b"K\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x85").replace(b"K\x01\x85q", b"K\x00\x85q")
    with pytest.raises(StatisticsError, match=r"reaches beyond|not a list"):
        sources.read(zipped(held | {root: wide}))


def test_big_endian_storages() -> None:
    held = members(saved({"mean": MEAN, "std": STD}))
    folder = next(n for n in held if n.endswith("data.pkl")).removesuffix("data.pkl")
    turned = {
        n: np.frombuffer(c, "<f4").astype(">f4").tobytes() for n, c in held.items() if n.startswith(f"{folder}data/")
    }
    got = of(zipped(held | turned | {f"{folder}byteorder": b"big"}))
    np.testing.assert_array_equal(got, of(saved({"mean": MEAN, "std": STD})))


@pytest.mark.parametrize("way", WAYS)
def test_damaged_files_are_refused_or_read(way: str) -> None:
    data = WAYS[way]({"state_dict": Scaled().state_dict(), "epoch": 1})
    refused, total = damaging.refused(damaging.cut(data))
    assert refused == total
    refused, total = damaging.refused(damaging.flipped(data, 600, at_once=3))
    assert refused > 0


def test_nothing_hostile_is_run_imported_or_opened(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for i, way in enumerate(WAYS.values()):
        (folder / f"good.{i}.pt").write_bytes(way({"mean": MEAN, "std": STD}))
    (folder / "good.0.pkl").write_bytes(pickle.dumps({"mean": [0.5], "std": [1.5]}, protocol=0))
    (folder / "good.zip.pt").write_bytes(zipped(members(saved({"mean": MEAN, "std": STD}))))
    system = legacy({})[: legacy({}).index(b"\x80\x02}q\x00.")]
    expected = {}
    for label, payload in (CODE | {"inside": call("os", "system", "touch owned")}).items():
        for way, data in (
            ("zip", zipped({"a/data.pkl": payload, "a/byteorder": b"little", "a/version": b"3\n"})),
            ("legacy", system + payload + b"\x80\x02]q\x00."),
            (
                "packed",
                pickle.dumps({"mean": 1.0})[:-2] + call("torch.storage", "_load_from_bytes", payload)[:-1] + b"u.",
            ),
        ):
            name = f"{len(expected):04d}.pt"
            (folder / name).write_bytes(data)
            expected[name] = label, way
    before = set(tmp_path.rglob("*"))
    run = subprocess.run(
        [sys.executable, "-m", "tests.hostile", str(folder)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent.parent, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    said = json.loads(run.stdout)
    assert said.keys() == expected.keys() and set(tmp_path.rglob("*")) == before
    for name, where in expected.items():
        assert said[name]["outcome"].startswith("StatisticsError: "), (where, said[name])
        assert said[name]["events"] == [] and said[name]["seconds"] < 2, (where, said[name])


@pytest.mark.parametrize("names", [("pixel_mean", "pixel_std"), ("x_mean", "x_std"), ("input_mean", "input_std")])
def test_buffers_that_say_whose_they_are(names: tuple[str, str]) -> None:
    net = torch.nn.Linear(3, 2)
    net.register_buffer(names[0], MEAN), net.register_buffer(names[1], STD)
    mean, std = MEAN.double().numpy(), STD.double().numpy()
    np.testing.assert_array_equal(of(saved(net.state_dict())), (ROWS - mean) / std)
    whole = torch.nn.ModuleDict({"encoder": net})
    np.testing.assert_array_equal(of(saved(whole.state_dict())), (ROWS - mean) / std)


def test_a_scale_and_a_shift_do_not_say_what_they_do() -> None:
    net = torch.nn.Linear(3, 2)  # LPIPS calls its mean and std so
    net.register_buffer("shift", MEAN), net.register_buffer("scale", STD)
    mean, std = MEAN.double().numpy(), STD.double().numpy()
    with pytest.raises(StatisticsError, match=r"--dialect affine.*--dialect shift-div"):
        of(saved(net.state_dict()))
    np.testing.assert_array_equal(of(saved(net.state_dict()), dialect="shift-div"), (ROWS - mean) / std)
    np.testing.assert_array_equal(of(saved(net.state_dict()), dialect="affine"), ROWS * std + mean)


def test_an_inverse_of_the_std_multiplies() -> None:
    held = {"encoder.global_cmvn.mean": MEAN, "encoder.global_cmvn.istd": 1 / STD, "encoder.w": STD}
    want = (ROWS - MEAN.double().numpy()) * (1 / STD).double().numpy()
    np.testing.assert_array_equal(of(saved(held)), want)
