"""Exact quantiles: 7 of all 16 float32 columns of 20 million rows of parquet, beside DuckDB's quantile_cont, and its memory.

Each case runs in a process of its own; the figures are medians of the runs, memory is the peak of the process. The values are
compared: DuckDB interpolates between two neighbours in float32, we in float64.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measuring

ROWS, WIDTH, RUNS = int(os.environ.get("ROWS", "20_000_000")), 16, 3
P = (0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999)
OURS = f"""
from onnxscale.data import opened
from onnxscale.fitting.quantiles import Asked, quantiles
data = opened(path)
(found,) = quantiles(data.arrays, data.width, Asked({P}, "linear"))
values = found.tolist()
"""
PROFILE = """
from onnxscale.data import opened
from onnxscale.fitting.quantiles import Asked, quantiles
from onnxscale.profile import PROBABILITIES
data = opened(path)
values = quantiles(data.arrays, data.width, Asked(PROBABILITIES))[0].tolist()
"""
DUCKDB = f"""
import duckdb
duckdb.execute("SET enable_progress_bar = false")
columns = ", ".join(f"quantile_cont(c{{i}}, {list(P)})" for i in range({WIDTH}))
values = [list(v) for v in duckdb.sql(f"SELECT {{columns}} FROM read_parquet('{{path}}')").fetchall()[0]]
"""
METER = """import json, resource, sys, time
start, path = time.perf_counter(), sys.argv[1]
exec(sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps([time.perf_counter() - start, peak, values]))"""
CASES = {"onnxscale, 7 quantiles": OURS, "onnxscale, the 65 of a profile": PROFILE, "DuckDB, 7 quantiles": DUCKDB}


def main(seconds: float, out: Path | None) -> None:
    del seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write(path, ROWS)
        runs: dict[str, list[Any]] = {name: [] for name in CASES}
        for _ in range(RUNS):
            for name, code in CASES.items():
                done = subprocess.run(
                    [sys.executable, "-c", METER, str(path), code], capture_output=True, text=True, check=True
                )
                runs[name].append(json.loads(done.stdout))
    ours, _, theirs = (np.asarray(r[0][2]) for r in runs.values())
    figures = [
        {"case": n, "seconds": statistics.median(r[0] for r in rows), "peak_mb": max(r[1] for r in rows)}
        for n, rows in runs.items()
    ]
    base = figures[-1]["seconds"]
    for row in figures:
        row["faster_than_duckdb"] = base / row["seconds"]
        print(f"{row['case']:32} {row['seconds']:6.1f} s  {row['peak_mb']:6,} MB  {row['faster_than_duckdb']:5.2f} x")
    off = float(np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-30)))
    print(f"largest relative difference of a value from DuckDB's: {off:.1e}")
    assert off < 1e-5, "the two do not compute the same"
    measuring.write("quantiles", {"rows": ROWS, "columns": WIDTH, "cases": figures, "largest_difference": off}, out)


def write(path: Path, rows: int) -> None:
    """A table of normal, lognormal, uniform, whole and tied columns, in row groups of half a million rows."""
    import pyarrow as pa
    from pyarrow import parquet

    draw = np.random.default_rng(0)
    kinds = (
        lambda n: draw.normal(5, 2, n),
        lambda n: draw.lognormal(2, 1, n),
        lambda n: draw.random(n) * 100,
        lambda n: draw.integers(0, 1000, n),
    )
    schema = pa.schema([(f"c{i}", pa.float32()) for i in range(WIDTH)])
    with parquet.ParquetWriter(path, schema) as file:
        for at in range(0, rows, 500_000):
            n = min(500_000, rows - at)
            file.write_table(
                pa.table({f"c{i}": kinds[i % 4](n).astype(np.float32) for i in range(WIDTH)}, schema=schema)
            )


if __name__ == "__main__":
    main(1, None)
