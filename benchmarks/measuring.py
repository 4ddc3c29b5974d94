"""What the benchmarks share: the machine's name, interleaved timing, a table, a JSON file."""

from __future__ import annotations

import gc
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

PACKAGES = (
    "onnxscale", "onnx", "onnxruntime", "numpy", "scikit-learn", "skl2onnx", "onnxmltools", "xgboost", "lightgbm",
    "catboost", "openvino",
)  # fmt: skip
BLOCK = 1e-3  # seconds of one measurement, at least: many calls of what is short
Run = Callable[[], object]


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system and versions."""
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
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def named() -> str:
    """The machine in one line."""
    here = machine()
    versions = ", ".join(f"{k} {v}" for k, v in here["versions"].items())
    return (
        f"{here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB, {here['system']}, "
        f"Python {here['python']}, {versions}"
    )


def interleaved(cases: Mapping[str, Run], seconds: float) -> dict[str, list[float]]:
    """Microseconds of one call of each case, a measurement a round; in every round all cases take turns, in random order,
    each after one call that is not counted (so that none pays for what another left in the caches).

    seconds: for each case.
    """
    calls = {}
    for name, run in cases.items():
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, min(1000, int(BLOCK / (time.perf_counter() - start + 1e-9))))
    times: dict[str, list[float]] = {name: [] for name in cases}
    order, draw = list(cases), random.Random(0)
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + seconds * len(cases)
        while time.perf_counter() < end or len(times[order[0]]) < 5:
            draw.shuffle(order)
            for name in order:
                run, count = cases[name], calls[name]
                run()
                start = time.perf_counter()
                for _ in range(count):
                    run()
                times[name].append((time.perf_counter() - start) / count * 1e6)
    finally:
        gc.enable()
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(t) for name, t in times.items()}


def ratios(made: Mapping[str, Callable[[], Run]], seconds: float, sessions: int = 7) -> dict[str, tuple[float, float]]:
    """Microseconds and ratio to the first case, for cases that are made anew several times: where a session happens to lie
    in memory moves its time by some percent, in every case, so the ratio is the median over that many pairs.

    made: name -> makes a runnable. seconds: for each case, over all sessions.
    """
    every: dict[str, list[float]] = {name: [] for name in made}
    found: dict[str, list[float]] = {name: [] for name in made}
    order, draw = list(made), random.Random(1)
    for _ in range(sessions):
        draw.shuffle(order)
        runs = {name: made[name]() for name in order}
        middle = medians(interleaved(runs, seconds / sessions))
        base = middle[next(iter(made))]
        for name in made:
            every[name].append(middle[name])
            found[name].append(middle[name] / base)
    return {name: (statistics.median(every[name]), statistics.median(found[name])) for name in made}


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
    print(f"\n{named()}\n\nwritten to {out}")
