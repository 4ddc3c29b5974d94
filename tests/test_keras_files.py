"""Normalization and Rescaling from files that Keras itself wrote: its answers bit for bit, and no file beside it is opened."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Reading
from tests import damaging

from .hostile import zipped

pytestmark = pytest.mark.slow  # imports keras, and torch where it is installed
if importlib.util.find_spec("keras") is None:
    pytest.skip("needs keras", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "torch" if importlib.util.find_spec("torch") else "numpy")
h5py = pytest.importorskip("h5py", reason="needs h5py")
ROWS = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)
ULPS = 2  # the square root of torch is not always the nearest one, numpy's is
IMAGES = np.random.default_rng(1).integers(0, 256, (6, 5, 4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras", reason="needs keras")


def answer(model: Any, x: np.ndarray) -> np.ndarray:
    found = model(x)
    return np.asarray(found.detach() if hasattr(found, "detach") else found)


def models(keras: Any) -> dict[str, tuple[Any, np.ndarray]]:
    layers = keras.layers

    def adapted(rows: np.ndarray, **how: Any) -> Any:
        layer = layers.Normalization(**how)
        layer.adapt(rows)
        return layer

    def chain(rows: np.ndarray, *parts: Any) -> tuple[Any, np.ndarray]:
        return keras.Sequential([keras.Input(rows.shape[1:], dtype=str(rows.dtype)), *parts]), rows

    constant = np.concatenate([ROWS[:, :3], np.ones((50, 1), np.float32)], axis=1)
    return {
        "adapted": chain(ROWS, adapted(ROWS)),
        "constant feature": chain(constant, adapted(constant)),
        "inverted": chain(ROWS, adapted(ROWS, invert=True)),
        "constructor": chain(ROWS, layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.1, 4.2, 0.0, 2.3])),
        "scalars": chain(ROWS, layers.Normalization(mean=0.3, variance=2.7)),
        "float64": chain(ROWS.astype(float), adapted(ROWS, dtype="float64")),
        "float64 constructor": chain(ROWS.astype(float), layers.Normalization(mean=0.3, variance=2.7, dtype="float64")),
        "no axis": chain(ROWS, adapted(ROWS, axis=None)),
        "images": chain(IMAGES, layers.Rescaling(1 / 255), adapted(IMAGES / np.float32(255))),
        "rows of images": chain(IMAGES, adapted(IMAGES, axis=1)),
        "two axes": chain(IMAGES, adapted(IMAGES, axis=(1, 2))),
        "axes apart": chain(IMAGES, adapted(IMAGES, axis=(1, 3))),
        "fewer than axes": chain(
            IMAGES, layers.Normalization(axis=(1, 3), mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])
        ),
        "rescaling": chain(IMAGES, layers.Rescaling(1 / 127.5, offset=-1)),
        "rescaling channels": chain(IMAGES, layers.Rescaling([0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0])),
        "rescaling an array": chain(IMAGES, layers.Rescaling(np.array([0.1, 0.2, 0.3]))),
        "three": chain(ROWS, layers.Rescaling(0.5), adapted(ROWS), layers.Rescaling(2.0, offset=0.1)),
    }


LABELS = (
    "adapted", "constant feature", "inverted", "constructor", "scalars", "float64", "float64 constructor", "no axis", "images",
    "rows of images", "two axes", "axes apart", "fewer than axes", "rescaling", "rescaling channels", "rescaling an array", "three",
)  # fmt: skip


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("label", LABELS)
def test_the_answers_are_those_of_keras(label: str, suffix: str, keras: Any, tmp_path: Path) -> None:
    model, rows = models(keras)[label]
    path = tmp_path / f"model{suffix}"
    model.save(path)
    again = keras.saving.load_model(path, compile=False) if suffix == ".keras" else model  # not all .h5 can be loaded
    found = sources.read(path)
    assert found.source.framework == "keras" and found.source.version == keras.__version__
    fitted = found.inputs[None]
    got = fitted.transform()(rows, fitted.axis, dtype=rows.dtype)
    np.testing.assert_array_max_ulp(got, answer(again, rows), ULPS)
    assert got.dtype == rows.dtype and any("scales twice" in note for note in fitted.notes)


def test_what_follows_a_chain_is_not_taken(keras: Any, tmp_path: Path) -> None:
    scaler = keras.layers.Normalization()
    scaler.adapt(ROWS)
    model = keras.Sequential([keras.Input((4,)), scaler, keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    got = sources.read(tmp_path / "m.keras").inputs[None].transform()(ROWS, -1, dtype=np.float32)
    np.testing.assert_array_max_ulp(got, answer(scaler, ROWS), ULPS)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_several_inputs_and_inner_models(suffix: str, keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    first, second, third = (layers.Normalization(name=n) for n in ("one", "two", "three"))
    for i, layer in enumerate((first, second, third)):
        layer.adapt(ROWS * (i + 1))
    inner = keras.Sequential([keras.Input((4,)), third], name="inner")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    out = layers.Concatenate()(
        [layers.Rescaling(2.0, name="double")(first(a)), layers.Dense(4)(b), second(layers.Dense(4)(b)), inner(a)]
    )
    keras.Model([a, b], out).save(tmp_path / f"m{suffix}")
    with pytest.raises(StatisticsError, match=r"several layers that scale.*'one'.*--pick"):
        sources.read(tmp_path / f"m{suffix}")
    for name, layer in (("two", second), ("inner/three", third), ("one", first)):
        got = (
            sources.read(tmp_path / f"m{suffix}", Reading(pick=name))
            .inputs[None]
            .transform()(ROWS, -1, dtype=np.float32)
        )
        np.testing.assert_array_max_ulp(got, answer(layer, ROWS), ULPS)
    with pytest.raises(StatisticsError, match="not among the layers that scale"):
        sources.read(tmp_path / f"m{suffix}", Reading(pick="dense"))


def test_two_chains_are_two(keras: Any, tmp_path: Path) -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    parts = [keras.layers.Rescaling(0.5, name="ra"), keras.layers.Normalization(mean=1.0, variance=4.0, name="na")]
    other = keras.layers.Normalization(mean=2.0, variance=9.0, name="nb")
    keras.Model([a, b], keras.layers.Add()([parts[1](parts[0](a)), other(b)])).save(tmp_path / "m.keras")
    with pytest.raises(StatisticsError, match=r"ra\+na"):
        sources.read(tmp_path / "m.keras")
    whole = sources.read(tmp_path / "m.keras", Reading(pick="ra+na")).inputs[None].transform()(ROWS, dtype=np.float32)
    np.testing.assert_array_max_ulp(whole, answer(parts[1], answer(parts[0], ROWS)), ULPS)
    half = sources.read(tmp_path / "m.keras", Reading(pick="na")).inputs[None]
    assert any("before it" in note for note in half.notes)


def test_weights_alone(keras: Any, tmp_path: Path) -> None:
    model, rows = models(keras)["adapted"]
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(StatisticsError, match=r"whether 'normalization.*' is inverted.*--accept-defaults"):
        sources.read(tmp_path / "m.weights.h5")
    fitted = sources.read(tmp_path / "m.weights.h5", Reading(accept_defaults=True)).inputs[None]
    np.testing.assert_array_max_ulp(fitted.transform()(rows, -1, dtype=np.float32), answer(model, rows), ULPS)
    keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()]).save_weights(tmp_path / "b.weights.h5")
    with pytest.raises(StatisticsError, match="no group that is called normalization"):
        sources.read(tmp_path / "b.weights.h5", Reading(accept_defaults=True))
    models(keras)["two axes"][0].save_weights(tmp_path / "two.weights.h5")
    with pytest.raises(StatisticsError, match="which axis=-1 does not make"):
        sources.read(tmp_path / "two.weights.h5", Reading(accept_defaults=True))


def archive(model: Any, tmp_path: Path) -> dict[str, bytes]:
    model.save(tmp_path / "archive.keras")
    with zipfile.ZipFile(tmp_path / "archive.keras") as held:
        return {n: held.read(n) for n in held.namelist()}


def test_what_is_not_known_is_refused(keras: Any, tmp_path: Path) -> None:
    held = archive(models(keras)["adapted"][0], tmp_path)

    def changed(old: str, new: str) -> dict[str, bytes]:
        text = held["config.json"].decode()
        assert old in text
        return held | {"config.json": text.replace(old, new).encode()}

    for members, message in (
        (changed('"Normalization"', '"Dense"'), "no Normalization"),
        (changed('"float32"', '"bfloat16"'), "bfloat16"),
        (changed('"axis": [-1]', '"axis": ["a"]'), "axis"),
        (changed('"axis": [-1]', '"axis": [0]'), "axes"),
        (changed('"invert": false', '"invert": "no"'), "invert"),
        (changed('"mean": null', '"mean": [1e999]'), "1e999"),
        (changed('"mean": null', '"mean": [1.0, 2.0]'), "variance"),
        (changed('"layers": [', '"lairs": ['), "no layers"),
        ({n: c for n, c in held.items() if "weights" not in n}, "npz|no array"),
        (held | {"model.weights.h5": b"nothing"}, "damaged HDF5"),
        (held | {"config.json": b"{"}, "JSON|json"),
    ):
        with pytest.raises(StatisticsError, match=message):
            sources.read(zipped(members))
    empty = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(StatisticsError, match="no Normalization and no Rescaling"):
        sources.read(zipped(archive(empty, tmp_path)))


def test_nothing_that_lies_elsewhere_is_opened(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["mean"], secret["std"] = [1.0, 2.0], [3.0, 4.0]
    (tmp_path / "raw.bin").write_bytes(bytes(16))

    def external(file: Any) -> None:
        file["mean"] = h5py.ExternalLink("secret.h5", "/mean")

    def soft(file: Any) -> None:
        file["mean"] = h5py.SoftLink("/elsewhere")

    def storage(file: Any) -> None:
        file.create_dataset("mean", (2,), "f8", external=[("raw.bin", 0, 16)])

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((2,), "f8")
        layout[:] = h5py.VirtualSource("secret.h5", "mean", (2,))
        file.create_virtual_dataset("mean", layout)

    def filtered(file: Any) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((2,))
        plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(file.id, b"mean", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((2,)), plist)

    for make, message in (
        (external, "ExternalLink"),
        (soft, "SoftLink"),
        (storage, "another file"),
        (virtual, "another file"),
        (filtered, "32015"),
    ):
        with h5py.File(tmp_path / "made.h5", "w") as file:
            file["std"] = [3.0, 4.0]
            make(file)
        with pytest.raises(StatisticsError, match=message):
            sources.read(tmp_path / "made.h5")


def test_arrays_of_any_other_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "made.h5", "w") as file:
        file.create_dataset("scaler/mean", data=[0.5, 1.5], compression="gzip")
        file.create_dataset("scaler/std", data=[0.25, 2.0], shuffle=True, chunks=(2,))
        file["scaler/again"] = file["scaler"]  # a cycle of hard links
        file["huge"] = 1.0
    with pytest.raises(StatisticsError, match=r"more than|several"):
        sources.read(tmp_path / "made.h5")
    with h5py.File(tmp_path / "made.h5", "w") as file:
        file.create_dataset("scaler/mean", data=[0.5, 1.5], compression="gzip")
        file.create_dataset("scaler/std", data=[0.25, 2.0], shuffle=True, chunks=(2,))
    x = ROWS[:, :2].astype(float)
    got = sources.read(tmp_path / "made.h5").inputs[None].transform()(x)
    np.testing.assert_array_equal(got, (x - [0.5, 1.5]) / [0.25, 2.0])
    with h5py.File(tmp_path / "made.h5", "w") as file:
        file.create_dataset("mean", (1 << 40,), "f8", chunks=(1024,))
        file["std"] = [1.0]
    with pytest.raises(StatisticsError, match="at most"):
        sources.read(tmp_path / "made.h5")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damaged_files_are_refused_or_read(suffix: str, keras: Any, tmp_path: Path) -> None:
    models(keras)["images"][0].save(tmp_path / f"m{suffix}")
    data = (tmp_path / f"m{suffix}").read_bytes()
    refused, total = damaging.refused(damaging.cut(data, step=max(7, len(data) // 300 // 7 * 7)))
    assert refused == total
    refused, total = damaging.refused(damaging.flipped(data, 300, at_once=3))
    assert refused > 0


def test_a_bomb_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("config.json", json.dumps({"config": {"layers": []}}))
        held.writestr("model.weights.h5", bytes(80 << 20))
    with pytest.raises(StatisticsError, match="unpacks to"):
        sources.read(file.getvalue())
