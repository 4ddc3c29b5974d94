"""Folding a large forest: 1,000 trees of depth 12, in a process of its own; seconds and peak memory of the bake.

The forest is trained by scikit-learn on 20,000 rows and exported by skl2onnx once; the bake neither verifies nor saves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks import measuring, subjects

TREES, DEPTH, TRAINED, SECONDS, MEMORY = 1000, 12, 20_000, 3.0, 1024
CHILD = r"""
import json, re, sys, time
import onnxscale
from onnxscale import modelfile, planning, baking

def peak():  # of this program: getrusage's starts at that of the process that started it
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])

idle = peak()
start = time.perf_counter()
baked = onnxscale.bake(sys.argv[1], sys.argv[2], form="fold")
size = sum(len(p) if isinstance(p, bytes) else p.length for p in baked.file())
taken = time.perf_counter() - start
print(json.dumps([taken, peak() // 1024, idle // 1024, size]))
"""


def main(seconds: float, out: Path | None) -> None:
    print(__doc__)
    draw = np.random.default_rng(0)
    x = draw.standard_normal((TRAINED, 20))
    y = np.sin(x[:, 0] * 3) + x[:, 1] * x[:, 2] + draw.standard_normal(TRAINED) / 3
    scaler = StandardScaler().fit(x)
    forest = RandomForestRegressor(TREES, max_depth=DEPTH, n_jobs=-1, random_state=0).fit(scaler.transform(x), y)
    nodes = sum(t.tree_.node_count for t in forest.estimators_)
    with tempfile.TemporaryDirectory() as folder:
        model, stats = Path(folder) / "forest.onnx", Path(folder) / "stats.json"
        model.write_bytes(subjects.converted(forest, x.shape[1]))
        stats.write_text(json.dumps({"mean": scaler.mean_.tolist(), "std": scaler.scale_.tolist()}))
        size = model.stat().st_size
        runs = []
        for _ in range(3):
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(model), str(stats)], capture_output=True, text=True, check=True
            )
            runs.append(json.loads(done.stdout))
    taken = sorted(r[0] for r in runs)[1]
    peak = max(r[1] for r in runs)
    row = [
        f"{TREES} trees, depth {DEPTH}",
        f"{nodes:,}",
        f"{size / 1e6:.0f}",
        f"{taken:.2f}",
        f"{SECONDS:.0f}",
        peak,
        MEMORY,
    ]
    print(measuring.table(["forest", "tree nodes", "file, MB", "seconds", "target", "peak, MB", "target "], [row]))
    figures = {
        "trees": TREES,
        "depth": DEPTH,
        "nodes": nodes,
        "file": size,
        "seconds": taken,
        "peak_mb": peak,
        "runs": runs,
    }
    measuring.write("forests", figures, out)
