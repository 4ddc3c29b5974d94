"""What a hostile model file may try (SECURITY.md T1, T2): read outside its folder, hang, change while it is read."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # noqa: F401  loaded once here, so that every forked worker starts with it
import pytest
from onnx import helper, numpy_helper

from onnxscale import cli, modelfile, pipeline, recognition
from onnxscale.errors import ModelError, OutputError
from tests import build

T = onnx.TensorProto
CANARY = b"CANARY-c4n4ry-secret-bytes-0123"
SECRET_OPENED: list[str] = []


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and "secret" in str(arguments[0]):
        SECRET_OPENED.append(str(arguments[0]))


sys.addaudithook(_watch)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder `model` to keep models in, beside a secret file that no model may read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.bin").write_bytes(CANARY * 8)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stats.json").write_text(json.dumps({"mean": build.MEAN.tolist(), "std": build.STD.tolist()}))
    SECRET_OPENED.clear()
    yield folder
    assert not SECRET_OPENED


def outside(name: str, location: str) -> onnx.TensorProto:
    """A tensor of 7 floats that says it lies in another file."""
    tensor = onnx.TensorProto(name=name, data_type=T.FLOAT, dims=[7], data_location=T.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "28")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _initializer(location: str) -> Callable[[onnx.ModelProto], None]:
    return lambda m: m.graph.initializer.append(outside("leak", location))


def _constant(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Constant", [], ["leak"], value=outside("leak", "../outside/secret.bin")))


def _tensors(m: onnx.ModelProto) -> None:
    node = helper.make_node("Custom", [], ["leak"], domain="other")
    node.attribute.add(name="several", type=onnx.AttributeProto.TENSORS).tensors.append(
        outside("leak", "../outside/secret.bin")
    )
    m.graph.node.append(node)


def _sparse(m: onnx.ModelProto) -> None:
    sparse = onnx.SparseTensorProto(dims=[7], indices=numpy_helper.from_array(np.arange(7)))
    sparse.values.CopyFrom(outside("leak", "../outside/secret.bin"))
    m.graph.sparse_initializer.append(sparse)


def _branch(m: onnx.ModelProto) -> None:
    m.CopyFrom(build.if_captured())
    m.graph.node[3].attribute[1].g.initializer.append(outside("leak", "../outside/secret.bin"))


def _function(m: onnx.ModelProto) -> None:
    m.CopyFrom(build.local_function())
    _constant_in = helper.make_node("Constant", [], ["k"], value=outside("leak", "../outside/secret.bin"))
    m.functions[0].node.append(_constant_in)


def _default(m: onnx.ModelProto) -> None:
    """The default value of a function's attribute is a graph."""
    m.CopyFrom(build.local_function())
    graph = helper.make_graph([], "g", [], [], [outside("leak", "../outside/secret.bin")])
    m.functions[0].attribute_proto.append(helper.make_attribute("body", graph))


def _training(m: onnx.ModelProto) -> None:
    m.training_info.add().initialization.initializer.append(outside("leak", "../outside/secret.bin"))


SHAPES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "up": _initializer("../outside/secret.bin"),
    "down and up": _initializer("sub/../../outside/secret.bin"),
    "out and in again": _initializer("../model/stats.json"),
    "absolute": _initializer("{outside}/secret.bin"),
    "NUL": _initializer("weights.bin\0../outside/secret.bin"),
    "backslashes": _initializer("..\\outside\\secret.bin"),
    "empty": _initializer(""),
    "a link": _initializer("link.bin"),
    "a linked folder": _initializer("linked/secret.bin"),
    "sparse": _sparse,
    "Constant": _constant,
    "list of tensors": _tensors,
    "If branch": _branch,
    "function body": _function,
    "function default": _default,
    "training info": _training,
}
WAYS = ("absolute", "bare", "dot", "linked cwd", "bytes")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_outside_the_folder_is_read(
    shape: str, way: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = build.mlp()
    SHAPES[shape](made)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            entry.value = entry.value.replace("{outside}", str(place.parent / "outside"))
    (place / "link.bin").symlink_to(place.parent / "outside" / "secret.bin")
    (place / "linked").symlink_to(place.parent / "outside")
    (place / "model.onnx").write_bytes(made.SerializeToString())
    before = sorted(place.parent.rglob("*"))
    if way == "bytes":
        with pytest.raises(ModelError, match="leak"):
            build.bake((place / "model.onnx").read_bytes(), name="x")
        return
    if way == "linked cwd":
        (place.parent / "alias").symlink_to(place)
        before = sorted(place.parent.rglob("*"))
        monkeypatch.chdir(place.parent / "alias")
    else:
        monkeypatch.chdir(place)
    name = {"absolute": str(place / "model.onnx"), "dot": "./model.onnx"}.get(way, "model.onnx")
    monkeypatch.setattr(sys, "argv", ["onnxscale", "bake", name, "stats.json", "--input", "x", "--no-verify"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    out, err = capfd.readouterr()
    assert "leak" in err and "bug" not in err
    assert "CANARY" not in out + err and "c4n4ry" not in out + err
    assert sorted(place.parent.rglob("*")) == before


def _hugging_face(folder: Path) -> Path:
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "x"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    build.external(blobs, "1a", "model.onnx.data")
    (blobs / "model.onnx.data").rename(blobs / "2b")
    (snapshot / "model.onnx").symlink_to("../../blobs/1a")
    (snapshot / "model.onnx.data").symlink_to("../../blobs/2b")
    return snapshot / "model.onnx"


def _linked_inside(folder: Path) -> Path:
    path = build.external(folder)
    (folder / "real").mkdir()
    (folder / "weights.bin").rename(folder / "real" / "w")
    (folder / "weights.bin").symlink_to("real/w")
    return path


def _below(folder: Path) -> Path:
    (folder / "sub").mkdir()
    return build.external(folder, data="sub/weights.bin")


def _linked_folder(folder: Path) -> Path:
    (folder / "real").mkdir()
    build.external(folder / "real")
    (folder / "alias").symlink_to("real")
    return folder / "alias" / "model.onnx"


@pytest.mark.parametrize("layout", [_hugging_face, _linked_inside, _below, _linked_folder, build.external])
def test_honest_layouts_work(layout: Callable[[Path], Path], place: Path) -> None:
    path = layout(place)
    baked = build.bake(path).verify()
    assert baked.comparison is not None and baked.comparison.verified, baked.comparison
    beside, elsewhere = path.with_name("baked.onnx"), place.parent / "elsewhere" / "baked.onnx"
    elsewhere.parent.mkdir()
    linked = layout is _hugging_face
    if linked:  # a model beside links out of its folder could not be loaded
        with pytest.raises(OutputError, match="link out of that folder"):
            baked.save(beside)
    for out in (elsewhere,) if linked else (beside, elsewhere):
        baked.save(out)
        found = pipeline.verify(out, path, build.stats())
        assert found.verified, found.reason
        assert pipeline.unbake(out, out.with_name("back.onnx")).read_bytes() == path.read_bytes()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("special", [_fifo, _zeros, _folder])
@pytest.mark.parametrize("role", ["model.onnx", "weights.bin"])
def test_special_files_are_refused_at_once(special: Callable[[Path], None], role: str, place: Path) -> None:
    build.external(place)
    (place / role).unlink()
    special(place / role)
    start = time.process_time()
    with pytest.raises(ModelError, match=r"regular file|folder|link"):
        build.bake(place / "model.onnx")
    assert time.process_time() - start < 1


def test_a_small_file_is_read_once(place: Path) -> None:
    """What is baked, hashed and verified is what was read, whatever the path holds by now."""
    path = place / "model.onnx"
    path.write_bytes(build.mlp().SerializeToString())
    baked = build.bake(path)
    path.write_bytes(build.logistic().SerializeToString())
    baked = baked.verify()
    assert baked.comparison is not None and baked.comparison.verdict != "NOT VERIFIED"
    out = baked.save(place / "out.onnx")
    held = recognition.recorded(modelfile.open_model(out))
    assert held is not None and isinstance(held["original"], dict)
    assert held["original"]["sha256"] == hashlib.sha256(build.mlp().SerializeToString()).hexdigest()


def test_a_large_file_that_changes_is_not_baked(place: Path) -> None:
    path = place / "model.onnx"
    path.write_bytes(build.mlp(hidden=200_000).SerializeToString())
    baked = build.bake(path)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"!")
    os.utime(path, (1, 1))
    with pytest.raises(ModelError, match="changed while it was read"):
        baked.save(place / "out.onnx")
    assert not (place / "out.onnx").exists()
