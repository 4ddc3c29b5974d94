"""Fit: 20 million rows of 16 float32 columns in a parquet file, beside a bare sum by Polars and scikit-learn's partial_fit.

Each case runs in a process of its own, in turns; seconds are those after the imports, ratios are medians over rounds of the two
times of one round, memory is the peak of the process. ROWS in the environment makes the file smaller.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measuring

ROWS, COLUMNS, GROUP, ROUNDS = int(os.environ.get("ROWS", "20000000")), 16, 500_000, 3
METER = """import json, resource, sys, time
path = sys.argv[1]
{imports}
start = time.perf_counter()
{body}
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))"""
CASES = {
    "bare": (
        "import polars as pl",
        "names = pl.scan_parquet(path).collect_schema().names()\n"
        "pl.scan_parquet(path).select(pl.col(n).sum() for n in names).collect(engine='streaming')",
    ),
    "fit": (
        "import onnxscale, onnxscale.fitting, polars",
        "found = onnxscale.fit(path, 'standard', exact=False).inputs[None].profile\n"
        "onnxscale.make('minmax', {'data_min': found.min, 'data_max': found.max})",
    ),
    "fit, numpy": ("import onnxscale, onnxscale.fitting", "onnxscale.fit(path, engine='pyarrow', exact=False)"),
    "fit, 65 quantiles": ("import onnxscale, onnxscale.fitting, polars", "onnxscale.fit(path)"),
    "partial_fit": (
        "import numpy as np\nfrom pyarrow import parquet\nfrom sklearn.preprocessing import MinMaxScaler, StandardScaler",
        "one, other = StandardScaler(), MinMaxScaler()\n"
        "for batch in parquet.ParquetFile(path).iter_batches(1 << 16):\n"
        "    x = np.column_stack([c.to_numpy() for c in batch.columns])\n"
        "    one.partial_fit(x)\n"
        "    other.partial_fit(x)",
    ),
}

FITS = ("fit", "fit, 65 quantiles", "fit, numpy")


def written(path: Path, rows: int) -> None:
    """Normal columns of different means and widths, in row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    draw = np.random.default_rng(0)
    schema = pa.schema([(f"c{i:02}", pa.float32()) for i in range(COLUMNS)])
    with parquet.ParquetWriter(path, schema, compression="snappy") as out:
        for at in range(0, rows, GROUP):
            n = min(GROUP, rows - at)
            columns = {f"c{i:02}": (draw.standard_normal(n) * (i + 1) + 10 * i).astype("f4") for i in range(COLUMNS)}
            out.write_table(pa.table(columns, schema=schema), row_group_size=GROUP)


def measured(case: str, path: Path) -> tuple[float, int]:
    """(seconds, peak in MB) of a case."""
    imports, body = CASES[case]
    code = METER.format(imports=imports, body=body)
    # A slim process between: a child's peak starts at that of the process that forked it.
    slim = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    command = [sys.executable, "-c", slim, sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def exact_std(x: np.ndarray[Any, Any]) -> float:
    """By rational numbers and one rounding."""
    values = [Fraction(float(v)) for v in x]
    mean = sum(values) / len(values)
    variance = sum(v * v for v in values) / len(values) - mean * mean
    return float(Fraction(isqrt(int(variance * 2**400))) / 2**200)


def errors(folder: Path) -> dict[str, Any]:
    """Relative errors of std on columns far from zero and on usual ones, by every engine that is here; and between two."""
    import pyarrow as pa
    from pyarrow import parquet

    import onnxscale

    n = 100_000
    draw = np.random.default_rng(1)
    columns = {
        "mean 1.7e9, std 1e-3": 1.7e9 + draw.normal(0, 1e-3, n),
        "mean 1e12, std 1": 1e12 + draw.normal(0, 1, n),
        "normal": draw.normal(5, 2, n),
        "lognormal": draw.lognormal(3, 1, n),
        "float32": draw.normal(-3, 0.1, n).astype("f4"),
    }
    path = folder / "hard.parquet"
    parquet.write_table(pa.table(columns), path, row_group_size=10_000)
    reference = np.array([exact_std(x) for x in columns.values()])
    found = {}
    for engine in ("polars", "duckdb", "pyarrow", "dask"):
        profile = onnxscale.fit(path, engine=engine, exact=False).inputs[None].profile
        assert profile is not None
        found[engine] = profile.std
    off = {e: dict(zip(columns, np.abs(s / reference - 1).tolist(), strict=True)) for e, s in found.items()}
    apart = max(float(np.abs(a / b - 1).max()) for a in found.values() for b in found.values())
    return {"engines": off, "between": apart}


def main(seconds: float, out: Path | None) -> None:
    del seconds
    print(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        written(path, ROWS)
        measured("bare", path)  # the file is in memory from now on
        rounds = [{case: measured(case, path) for case in CASES} for _ in range(ROUNDS)]
        off = errors(Path(folder))
    taken = {c: statistics.median(r[c][0] for r in rounds) for c in CASES}
    peak = {c: max(r[c][1] for r in rounds) for c in CASES}
    over = statistics.median(r["fit"][0] / r["bare"][0] for r in rounds)
    under = statistics.median(r["partial_fit"][0] / r["fit"][0] for r in rounds)
    far = max(e["mean 1.7e9, std 1e-3"] for e in off["engines"].values())
    usual = max(v for e in off["engines"].values() for k, v in e.items() if not k.startswith("mean"))
    rows: list[list[Any]] = [
        ["fit standard and min-max / a bare Polars streaming sum", f"{over:.2f} ({taken['fit']:.2f} s)", "2.0"],
        ["partial_fit over pyarrow batches / fit", f"{under:.1f} ({taken['partial_fit']:.2f} s)", "3"],
        ["fit without Polars (pyarrow and numpy) / the bare sum", f"{taken['fit, numpy'] / taken['bare']:.2f}", ""],
        ["fit with 65 exact quantiles of each column", f"{taken['fit, 65 quantiles']:.2f} s", ""],
        ["peak memory: fit, with quantiles, without Polars", ", ".join(str(peak[c]) for c in FITS) + " MB", "500 MB"],
        ["error of std on mean 1.7e9, std 1e-3, worst engine", f"{far:.1e}", "1e-11"],
        ["error of std on usual columns, worst engine", f"{usual:.1e}", "1e-12"],
        ["std of any two engines", f"{off['between']:.1e} apart", "1e-10"],
    ]  # fmt: skip
    print(f"{ROWS:,} rows of {COLUMNS} float32 columns\n")
    print(measuring.table(["case", "measured", "target"], rows))
    measuring.write("fitting", {"rows": ROWS, "seconds": taken, "peak": peak, "rounds": rounds, "errors": off}, out)
