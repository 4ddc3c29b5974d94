"""An audit of 10,000 models, and its memory: in one process, in two, and of a tenth of the models, to see that memory stays flat.

The models are multilayer perceptrons of 2 to 40 kB, a third of them baked, each in a folder with its statistics. Each audit runs in a
process of its own; memory is the peak of that process and its largest worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measuring

MODELS = 10_000
METER = """import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(json.dumps([done.returncode, time.perf_counter() - start, peak, json.loads(done.stdout)["models"]]))"""


def main(seconds: float, out: Path | None) -> None:
    del seconds
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fill(home / "all", MODELS)
        fill(home / "tenth", MODELS // 10)
        rows = [measured(home / "tenth", 1), measured(home / "all", 1), measured(home / "all", 2)]
    for row in rows:
        print(f"{row['models']:6,} models, {row['workers']} process(es): {row['seconds']:.1f} s, {row['peak_mb']} MB")
    measuring.write("audit", {"audits": rows}, out)


def fill(home: Path, count: int) -> None:
    """Folders with a model and its statistics each."""
    import onnxscale
    from tests import build

    kinds: list[tuple[bytes, str]] = []
    for i, width in enumerate((4, 8, 16, 30, 64, 12)):
        draw = np.random.default_rng(i)
        stats = {"mean": draw.normal(0, 10, width).tolist(), "std": draw.uniform(0.5, 9, width).tolist()}
        model: Any = build.mlp(width, hidden=8 * (i + 1) ** 2, seed=i)
        home.mkdir(parents=True, exist_ok=True)
        path = home / "one.onnx"
        if i % 3 == 0:
            onnxscale.bake(model, stats).save(path, force=True)
            data = path.read_bytes()
            path.unlink()
        else:
            data = model.SerializeToString()
        kinds.append((data, json.dumps(stats)))
    for n in range(count):
        data, said = kinds[n % len(kinds)]
        folder = home / f"team{n % 100}" / f"model{n}"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(data)
        (folder / "stats.json").write_text(said)


def measured(home: Path, workers: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "onnxscale", "audit", str(home), "--json", "--workers", str(workers)]
    done = subprocess.run([sys.executable, "-c", METER, *command], capture_output=True, text=True, check=True)
    code, took, peak, models = json.loads(done.stdout)
    if code not in (0, 1):
        raise SystemExit(f"the audit ended with {code}")
    return {"models": models, "workers": workers, "seconds": round(took, 2), "peak_mb": peak}
