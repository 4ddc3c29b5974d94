"""What the benchmarks share: the machine's name, interleaved timing, a table, a JSON file."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("onnxscale", "onnx", "onnxruntime", "numpy", "scikit-learn", "skl2onnx")


def machine() -> dict[str, Any]:
    """Processor, cores, system and versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")),
            model,
        )
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def interleaved(cases: Mapping[str, Callable[[], object]], seconds: float, calls: int = 5) -> dict[str, float]:
    """Median microseconds of one call of each case. All take turns in one loop, in a new order each round, and each turn
    begins with a call that is not timed, so that no case pays for what another left in the caches."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    draw = random.Random(0)
    order = list(cases)
    end = time.perf_counter() + seconds * len(cases)
    while time.perf_counter() < end or len(times[order[0]]) < 7:
        draw.shuffle(order)
        for name in order:
            run = cases[name]
            run()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            times[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(t) * 1e6 for name, t in times.items()}


def ratio(one: Callable[[], object], other: Callable[[], object], seconds: float, calls: int = 10) -> float:
    """Median over rounds of the time of `one` over that of `other`, measured side by side in turns."""
    found, turn = [], 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < 15:
        pair = (one, other) if turn % 2 else (other, one)
        taken = []
        for run in pair:
            run()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            taken.append(time.perf_counter() - start)
        found.append(taken[0] / taken[1] if turn % 2 else taken[1] / taken[0])
        turn += 1
    return statistics.median(found)


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(titles), *[[str(c) for c in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    text = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *text[1:]])


def write(name: str, content: Mapping[str, Any], path: Path | None) -> None:
    """Figures and machine as JSON."""
    out = path or Path(__file__).parent / "results" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"benchmark": name, "machine": machine(), **content}, indent=1) + "\n")
    print(f"\nwritten to {out}")
