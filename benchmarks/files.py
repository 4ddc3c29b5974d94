"""Big files: a bake of a 1.5 GB model beside a copy of it, and beside onnx.load, edit and onnx.save; inspect, local and over HTTP.

Each command runs in a process of its own, nothing is verified, the figures are medians of three, memory is the peak of the process.
A small bake's wall time is start-up, taken off where the row says so.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from benchmarks import measuring

TENSORS, SIDE, WIDTH, SMALL = 24, 4096, 30, 10_000
# A slim process between: a child's peak starts at that of the process that forked it.
METER = """import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(json.dumps([code, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024]))"""
WHOLE = """import onnx, sys
from onnx import helper
model = onnx.load(sys.argv[1])
for node in model.graph.node:
    node.input[:] = ["scaled" if n == "x" else n for n in node.input]
model.graph.initializer.extend(helper.make_tensor(n, 1, [30], [1.5] * 30) for n in ("mean", "std"))
model.graph.node.insert(0, helper.make_node("Sub", ["x", "mean"], ["centred"]))
model.graph.node.insert(1, helper.make_node("Div", ["centred", "std"], ["scaled"]))
onnx.save(model, sys.argv[2], **({"save_as_external_data": True, "location": "whole.data"} if len(sys.argv) > 3 else {}))"""
MANY = """import sys, time, onnxscale, pathlib
paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
onnxscale.inspect(paths[0])
start = time.process_time()
for path in paths:
    onnxscale.inspect(path)
print((time.process_time() - start) / len(paths))"""


def chain(tensors: int) -> onnx.ModelProto:
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((SIDE, SIDE)).astype("f") / 64
    held = [numpy_helper.from_array(draw.standard_normal((WIDTH, SIDE)).astype("f"), "first")]
    nodes, last = [helper.make_node("MatMul", ["x", "first"], ["h"])], "h"
    for i in range(tensors):
        held.append(numpy_helper.from_array(weight + np.float32(i * 1e-6), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]))
        last = f"m{i}"
    nodes.append(helper.make_node("ReduceMean", [last], ["y"], axes=[1]))
    x, y = (helper.make_tensor_value_info(n, T.FLOAT, ["N", w]) for n, w in (("x", WIDTH), ("y", 1)))
    graph = helper.make_graph(nodes, "chain", [x], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def measured(*command: object) -> tuple[float, int]:
    """(seconds, peak in MB) of a command."""
    done = subprocess.run(
        [sys.executable, "-c", METER, sys.executable, *map(str, command)], capture_output=True, text=True, check=True
    )
    code, seconds, peak = json.loads(done.stdout)
    if code:
        raise SystemExit(f"{command} ended with {code}")
    return seconds, peak


def copied(source: Path, target: Path) -> float:
    start = time.perf_counter()
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


class Ranges(http.server.SimpleHTTPRequestHandler):
    """A server that knows byte ranges, and counts what it sends."""

    sent = 0

    def log_message(self, *arguments: object) -> None:
        del arguments

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), min(int(asked[2]), size - 1)) if asked else (0, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        with path.open("rb") as file:
            file.seek(first)
            data = file.read(last - first + 1)
        type(self).sent += len(data)
        self.wfile.write(data)


def served(path: Path) -> int:
    """Bytes that an inspect of the model behind a URL reads."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(path.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Ranges.sent = 0
    measured("-m", "onnxscale", "inspect", f"http://127.0.0.1:{server.server_port}/{path.name}")
    server.shutdown()
    return Ranges.sent


def middle(runs: list[tuple[float, int]]) -> tuple[float, int]:
    return statistics.median(r[0] for r in runs), max(r[1] for r in runs)


def main(seconds: float, out: Path | None) -> None:
    print(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        rows, figures = _rows(Path(folder))
    print(measuring.table(["case", "measured", "target"], rows))
    measuring.write("files", figures, out)


def _rows(at: Path) -> tuple[list[list[Any]], dict[str, Any]]:
    big, out, stats, outside = at / "big.onnx", at / "out.onnx", at / "s.json", at / "outside"
    outside.mkdir()
    stats.write_text(json.dumps({"mean": [1.5] * WIDTH, "std": [2.0] * WIDTH}))
    model = chain(TENSORS)
    onnx.save(model, big)
    onnx.save(model, outside / "big.onnx", save_as_external_data=True, location="big.data")
    del model
    onnx.save(chain(0), at / "tiny.onnx")
    bake = ("-m", "onnxscale", "bake")
    how = ("--form", "nodes", "--no-verify", "--force")
    startup = middle([measured(*bake, at / "tiny.onnx", stats, "-o", at / "t.onnx", *how) for _ in range(3)])[0]
    runs, ratios = [], []
    for _ in range(3):
        out.unlink(missing_ok=True)
        runs.append(measured(*bake, big, stats, "-o", out, *how))
        ratios.append((runs[-1][0] - startup) / copied(big, at / "copy.onnx"))
    wall, peak = middle(runs)
    whole = middle([measured("-c", WHOLE, big, out) for _ in range(2)])
    out.unlink()
    beside = middle([measured(*bake, outside / "big.onnx", stats, "-o", outside / "out.onnx", *how) for _ in range(3)])
    theirs = measured("-c", WHOLE, outside / "big.onnx", outside / "whole.onnx", "external")
    local = middle([measured("-m", "onnxscale", "inspect", big) for _ in range(3)])
    sent = served(big)
    many = at / "many"
    many.mkdir()
    small = _small().SerializeToString()
    for i in range(SMALL):
        (many / f"m{i:05}.onnx").write_bytes(small)
    each = float(
        subprocess.run([sys.executable, "-c", MANY, str(many)], capture_output=True, text=True, check=True).stdout
    )
    ratio = statistics.median(ratios)
    embedded, external = ((w[0] / b[0], w[1] / b[1]) for w, b in ((whole, (wall, peak)), (theirs, beside)))
    rows: list[list[Any]] = [
        ["1.5 GB embedded, less start-up / a copy with fsync", f"{ratio:.2f} ({wall:.2f} s, {peak} MB)", "1.1, 150 MB"],
        ["external data, OUT beside MODEL", f"{beside[0]:.2f} s, {beside[1]} MB", "0.7 s, 120 MB"],
        ["onnx.load, edit, onnx.save / a bake, embedded", "{:.1f} times the time, {:.0f} times the memory".format(*embedded), "5, 20"],
        ["the same, external data", "{:.1f} times the time, {:.0f} times the memory".format(*external), ""],
        ["inspect of 1.5 GB, local", f"{local[0]:.2f} s, {local[1]} MB", "0.7 s"],
        ["inspect of 1.5 GB over HTTP", f"{sent:,} bytes read", "1 MB"],
        [f"{SMALL:,} small models inspected in one process", f"{1 / each:,.0f} a second of one core", "1,000"],
    ]  # fmt: skip
    figures = {
        "startup": startup, "bake": [wall, peak], "bake_over_copy": ratios, "beside": beside, "whole": whole, "whole_external": theirs,
        "inspect": local, "http_bytes": sent, "inspections_a_second": 1 / each,
    }  # fmt: skip
    return rows, figures


def _small() -> onnx.ModelProto:
    """A dense layer of 30 inputs and 16 outputs."""
    draw = np.random.default_rng(1)
    held = [
        numpy_helper.from_array(draw.standard_normal((WIDTH, 16)).astype("f"), "w"),
        numpy_helper.from_array(np.zeros(16, "f"), "b"),
    ]
    x, y = (helper.make_tensor_value_info(n, T.FLOAT, ["N", w]) for n, w in (("x", WIDTH), ("y", 16)))
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], "small", [x], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
