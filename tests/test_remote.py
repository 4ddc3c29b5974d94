"""Models and statistics behind a URL: real HTTP servers with and without ranges, a real object store where moto is installed."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

import onnxscale
from onnxscale import modelfile, remote
from onnxscale.errors import ModelError, StatisticsError
from tests import build
from tests.build import MEAN, STD

pytest.importorskip("fsspec", reason="needs the extra [remote]")
pytest.importorskip("aiohttp", reason="needs the extra [remote]")


class Plain(http.server.SimpleHTTPRequestHandler):
    """Python's own server, which knows no ranges; it counts what it sends."""

    sent = 0

    def log_message(self, *arguments: object) -> None:
        del arguments

    def copyfile(self, source, outputfile) -> None:
        data = source.read()
        type(self).sent += len(data)
        outputfile.write(data)


class Ranged(Plain):
    def send_head(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        first, last = int(asked[1]), min(int(asked[2]), size - 1)
        self.send_response(206)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        file = path.open("rb")
        file.seek(first)
        self._left = last - first + 1
        return file

    def copyfile(self, source, outputfile) -> None:
        data = source.read(getattr(self, "_left", -1))
        type(self).sent += len(data)
        outputfile.write(data)

    def end_headers(self) -> None:
        if self.command == "HEAD":
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture(params=[Plain, Ranged], ids=["no ranges", "ranges"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, type[Plain]]]:
    handler = type("Handler", (request.param,), {"sent": 0})
    (tmp_path / "far").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "far")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path / "far", handler
    server.shutdown()
    thread.join()
    server.server_close()


def stats(folder: Path) -> None:
    (folder / "stats.json").write_text(json.dumps({"mean": list(MEAN), "std": list(STD)}))


def test_bake_inspect_and_unbake_from_a_server(served, cli, tmp_path: Path) -> None:
    url, far, _ = served
    model = build.mlp().SerializeToString()
    (far / "model.onnx").write_bytes(model)
    stats(far)
    got = cli("bake", f"{url}/model.onnx", f"{url}/stats.json", "-o", tmp_path / "out.onnx")
    assert got.returncode == 0, got.stderr
    (tmp_path / "same.onnx").write_bytes(model)
    local = onnxscale.bake(tmp_path / "same.onnx", far / "stats.json").verify()
    x = np.random.default_rng(0).standard_normal((5, len(MEAN))).astype("f")
    np.testing.assert_array_equal(run((tmp_path / "out.onnx").read_bytes(), x), run(local.to_bytes(), x))
    (far / "baked.onnx").write_bytes((tmp_path / "out.onnx").read_bytes())
    got = cli("inspect", f"{url}/baked.onnx", "--json")
    assert json.loads(got.stdout)["record"]["scalers"][0]["kind"] == "standard"
    got = cli("unbake", f"{url}/baked.onnx", "-o", tmp_path / "back.onnx")
    assert got.returncode == 0 and (tmp_path / "back.onnx").read_bytes() == model


def test_external_data_come_along(served, tmp_path: Path) -> None:
    url, far, _ = served
    build.external(far)
    baked = onnxscale.bake(f"{url}/model.onnx", {"mean": list(MEAN), "std": list(STD)}, form="nodes").verify()
    assert baked.comparison is not None and baked.comparison.verified
    baked.save(tmp_path / "out.onnx")
    assert (tmp_path / "weights.bin").read_bytes() == (far / "weights.bin").read_bytes()


@pytest.mark.parametrize("served", [Ranged], ids=["ranges"], indirect=True)
def test_looking_reads_little(served) -> None:
    url, far, handler = served
    weights = [build.tensor(np.zeros((1000, 1000)), f"w{i}") for i in range(12)]
    nodes = [helper.make_node("MatMul", ["x" if not i else f"h{i}", f"w{i}"], [f"h{i + 1}"]) for i in range(12)]
    big = build.model(nodes, [build.value("x", ("N", 1000))], [build.value("h12", ("N", 1000))], weights)
    onnx.save(big, far / "big.onnx")
    found = onnxscale.inspect(f"{url}/big.onnx")
    assert found.inputs[0].name == "x" and found.size == (far / "big.onnx").stat().st_size > 40_000_000
    assert 0 < handler.sent < 200_000
    handler.sent = 0
    assert onnxscale.diff(f"{url}/big.onnx", f"{url}/big.onnx").same
    assert 0 < handler.sent < 400_000
    handler.sent = 0
    held = onnxscale.audit([f"{url}/big.onnx"])
    assert held is not None and 0 < handler.sent < 400_000


@pytest.mark.slow
@pytest.mark.parametrize("what", ["missing.onnx", "empty.onnx", "page.onnx"])
def test_what_is_no_model_is_refused(served, what: str, cli, tmp_path: Path) -> None:
    url, far, _ = served
    (far / "empty.onnx").write_bytes(b"")
    (far / "page.onnx").write_bytes(b"<html></html>")
    stats(far)
    for command in (["inspect"], ["bake"]):
        more = [far / "stats.json", "-o", tmp_path / "out.onnx"] if command == ["bake"] else []
        got = cli(*command, f"{url}/{what}", *more)
        assert got.returncode == 2 and f"{what}" in got.stderr and "Traceback" not in got.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_statistics_that_are_missing_are_refused(served) -> None:
    url, far, _ = served
    (far / "model.onnx").write_bytes(build.mlp().SerializeToString())
    with pytest.raises(StatisticsError, match="cannot be read"):
        onnxscale.bake(f"{url}/model.onnx", f"{url}/none.json")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        modelfile.open_model("nobody://x/model.onnx")


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a%2f..%2fb", "x?y", "a#b"])
def test_external_data_of_a_far_model_stay_in_its_folder(location: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="plain name"):
        remote.fetch_beside("http://127.0.0.1:9/model.onnx", [location], tmp_path)


def test_fetched_files_are_gone_with_the_model(served) -> None:
    url, far, _ = served
    (far / "model.onnx").write_bytes(build.mlp().SerializeToString())
    model = modelfile.far_model(f"{url}/model.onnx")
    folder = model.path.parent
    assert folder.is_dir()
    del model
    assert not folder.exists()


def test_an_object_store(object_store: Any, tmp_path: Path) -> None:
    object_store.pipe_file("bucket/models/model.onnx", build.mlp().SerializeToString())
    assert onnxscale.inspect("s3://bucket/models/model.onnx").inputs[0].name == "x"
    baked = onnxscale.bake("s3://bucket/models/model.onnx", {"mean": list(MEAN), "std": list(STD)}).verify()
    assert baked.comparison is not None and baked.comparison.verified
    original = object_store.cat_file("bucket/models/model.onnx")
    assert onnxscale.unbake(baked.save(tmp_path / "o.onnx"), tmp_path / "b.onnx").read_bytes() == original
