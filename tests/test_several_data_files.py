"""External data in several files, at offsets of their own with gaps between: shared, copied, folded, kept as they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import numpy_helper

import onnxscale
from tests import build

MEAN, STD = np.array([0.5, -1.2, 0.03, 1.1]), np.array([0.8, 0.9, 1.1, 1.2])  # near enough to 0 to fold whole
STATS = {"mean": list(MEAN), "std": list(STD)}
PLACES = {"a.bin": 64, "b.bin": 4096}  # where the first tensor lies


def scattered(folder: Path) -> Path:
    """An MLP whose tensors lie in two files by turns, a page or a few bytes apart, with rubbish in the gaps."""
    made = build.mlp(hidden=64)
    ends = dict(PLACES)
    content = {name: bytearray(b"\xaa" * 8192) for name in PLACES}
    for i, tensor in enumerate(made.graph.initializer):
        file = list(PLACES)[i % 2]
        raw = numpy_helper.to_array(tensor).tobytes()
        offset = ends[file]
        content[file].extend(b"\xaa" * max(0, offset + len(raw) + 100 - len(content[file])))
        content[file][offset : offset + len(raw)] = raw
        ends[file] = offset + len(raw) + 52
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = T.EXTERNAL
        for key, value in (("location", file), ("offset", str(offset)), ("length", str(len(raw)))):
            tensor.external_data.add(key=key, value=value)
    for file, data in content.items():
        (folder / file).write_bytes(bytes(data))
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x.astype(np.float32)})[0]


@pytest.mark.parametrize("form", ["nodes", "auto"])
@pytest.mark.parametrize("where", ["beside", "elsewhere", "linked"])
def test_a_bake_keeps_files_and_offsets(form: str, where: str, tmp_path: Path) -> None:
    home = tmp_path / "in"
    home.mkdir()
    model = scattered(home)
    before = digests(home)
    folder = home if where == "beside" else tmp_path / "out"
    folder.mkdir(exist_ok=True)
    made = onnxscale.bake(model, STATS, form=form).verify()
    assert made.comparison is not None and made.comparison.verified
    out = made.save(folder / "baked.onnx", data="link" if where == "linked" else "share")
    assert {k: v for k, v in digests(home).items() if k in before} == before, "an input changed"
    files = set(digests(folder)) - {"model.onnx"}
    assert files >= {"baked.onnx", *PLACES}
    assert {k: v for k, v in digests(folder).items() if k in PLACES} == {k: before[k] for k in PLACES}
    old, new = (onnx.load(p, load_external_data=False).graph.initializer for p in (model, out))
    said = {t.name: {e.key: e.value for e in t.external_data} for t in old}
    kept = [t for t in new if t.data_location == T.EXTERNAL and t.external_data[0].value in PLACES]
    assert all({e.key: e.value for e in t.external_data} == said[t.name] for t in kept)
    assert len(kept) == len(old) - (2 if form == "auto" else 0), "all but the folded weight and bias"
    x = np.random.default_rng(0).normal(MEAN, STD, (9, len(MEAN)))
    assert np.allclose(answer(out, x), answer(model, (x - MEAN) / STD), atol=1e-5)
    back = onnxscale.unbake(out, folder / "back.onnx")
    assert back.read_bytes() == model.read_bytes()
