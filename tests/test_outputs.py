"""Where an output may go: never over an input unasked; without --force only over what can be made again (SECURITY.md T13)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxscale import pipeline
from onnxscale.errors import OutputError
from tests import build


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def _is_folder(folder: Path) -> Path:
    (folder / "out").mkdir()
    return folder / "out"


def _exists(folder: Path) -> Path:
    (folder / "out.onnx").write_bytes(b"mine")
    return folder / "out.onnx"


def _other_model(folder: Path) -> Path:
    (folder / "other.onnx").write_bytes(build.mlp().SerializeToString())
    return folder / "other.onnx"


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _symlink(folder: Path) -> Path:
    (folder / "link.onnx").symlink_to("model.onnx")
    return folder / "link.onnx"


def _hardlink(folder: Path) -> Path:
    (folder / "hard.onnx").hardlink_to(folder / "model.onnx")
    return folder / "hard.onnx"


REFUSED: dict[str, tuple[Callable[[Path], Path], str, bool]] = {
    "a folder": (_is_folder, "a folder", True),
    "in no folder": (lambda f: f / "missing" / "out.onnx", "no such folder", True),
    "there already": (_exists, "--force", False),
    "a model without a scaler": (_other_model, "--force", False),
    "a pipe": (_fifo, "neither a file", True),
    "the model": (lambda f: f / "model.onnx", "--in-place", True),
    "the model, otherwise spelled": (lambda f: f / "." / "x" / ".." / "model.onnx", "--in-place", True),
    "a link to the model": (_symlink, "--in-place", True),
    "a hard link to the model": (_hardlink, "--in-place", True),
    "the model's weights": (lambda f: f / "weights.bin", "weights", True),
}


@pytest.mark.parametrize("what", REFUSED)
def test_where_an_output_may_not_go(what: str, tmp_path: Path) -> None:
    build.external(tmp_path)
    make, message, even_with_force = REFUSED[what]
    out = make(tmp_path)
    before = _digests(tmp_path)
    for force in {False, even_with_force}:
        with pytest.raises(OutputError, match=message):
            build.bake(tmp_path / "model.onnx").save(out, force=force)
    assert _digests(tmp_path) == before


def test_in_place_replaces_the_model_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(build.mlp().SerializeToString())
    path.chmod(0o640)
    original = path.read_bytes()
    build.bake(path).save(path, in_place=True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert pipeline.unbake(path, tmp_path / "back.onnx").read_bytes() == original


def test_unbake_replaces_a_model_without_a_scaler_and_no_other_file(tmp_path: Path) -> None:
    model, baked, back = tmp_path / "model.onnx", tmp_path / "baked.onnx", tmp_path / "back.onnx"
    model.write_bytes(build.mlp().SerializeToString())
    build.bake(model).save(baked)
    for content in (None, build.mlp(seed=2).SerializeToString()):
        if content:
            back.write_bytes(content)
        assert pipeline.unbake(baked, back).read_bytes() == model.read_bytes()
    back.write_bytes(b"mine")
    for place in (back, baked):
        with pytest.raises(OutputError, match="--force"):
            pipeline.unbake(baked, place)
