"""What the scaler inside the model costs at inference, side by side in one run on one thread.

bare: the model on rows scaled beforehand. sklearn + model, numpy + model: how it is deployed today. sklearn's own pipeline:
before any export. whole Pipeline: what skl2onnx makes of it. Then the baked model with nodes, in each precision, and folded
(`--form auto`). Answers are compared with the training pipeline's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import onnxscale
from benchmarks import fitted, measuring
from benchmarks.fitted import Array, Case

BATCHES = (1, 64, 4096)
BARE, TODAY, FOLDED = "bare (rows scaled beforehand)", "sklearn transform + model", "baked, folded"
WAYS = {
    "baked, exact": {"precision": "exact", "form": "nodes"},
    "baked, split": {"precision": "split", "form": "nodes"},
    "baked, single": {"precision": "single", "form": "nodes"},
    FOLDED: {"precision": "exact", "form": "auto"},
}


def ways(case: Case) -> dict[str, Callable[[Array], Any]]:
    """Name -> answers to raw rows (of the first: to scaled ones)."""
    plain = fitted.ready(case.bare)
    mean, scale = case.scaler.mean_, case.scaler.scale_
    made: dict[str, Callable[[Array], Any]] = {
        BARE: plain,
        TODAY: lambda x: plain(case.scaled(x)),
        "numpy + model": lambda x: plain(((x - mean) / scale).astype(np.float32)),
    }
    if case.framework is not None:
        made["sklearn's own pipeline"] = case.framework
    if case.whole is not None:
        made["skl2onnx, whole Pipeline"] = fitted.ready(case.whole)
    for name, options in WAYS.items():
        made[name] = fitted.ready(onnxscale.bake(case.bare, case.scaler, axis=case.axis, **options).to_bytes())
    return made


def off(answers: Any, expected: Array) -> int:
    """Rows that differ by more than 1e-4 of the largest answer."""
    difference = np.abs(np.asarray(answers).reshape(expected.shape) - expected)
    return int((difference.reshape(len(expected), -1).max(1) > 1e-4 * np.abs(expected).max()).sum())


def main(seconds: float, out: Path | None) -> None:
    print(__doc__)
    figures: list[dict[str, Any]] = []
    for case in fitted.cases():
        figures += _measured(case, ways(case), seconds)
    _print(figures)
    measuring.write("inference", {"threads": 1, "rows": figures}, out)


def _measured(case: Case, runs: dict[str, Callable[[Array], Any]], seconds: float) -> list[dict[str, Any]]:
    scaled = case.scaled(case.raw)
    expected = np.asarray(case.framework(case.raw) if case.framework else runs[BARE](scaled))
    wrong = {k: off(run(scaled if k == BARE else case.raw), expected) for k, run in runs.items()}
    rows = []
    for batch in BATCHES:
        x, z = case.raw[:batch], scaled[:batch]
        now = {k: (lambda r=run, v=z if k == BARE else x: r(v)) for k, run in runs.items()}
        times = measuring.medians(measuring.interleaved(now, seconds))
        rows += [
            {
                "model": case.name, "way": k, "batch": batch, "microseconds": t, "ratio": t / times[BARE],
                "today": times[TODAY] / t, "rows_off": wrong[k],
            }
            for k, t in times.items()
        ]  # fmt: skip
    return rows


def _print(figures: list[dict[str, Any]]) -> None:
    lines = []
    for model, way in dict.fromkeys((f["model"], f["way"]) for f in figures):
        mine = {f["batch"]: f for f in figures if (f["model"], f["way"]) == (model, way)}
        cells = [f"{mine[b]['microseconds']:.1f} ({mine[b]['ratio']:.2f})" for b in BATCHES]
        lines.append([model, way, *cells, f"{mine[1]['today']:.1f}", mine[1]["rows_off"]])
    titles = ["model", "way", *(f"batch {b}: us (ratio to bare)" for b in BATCHES)]
    print(measuring.table([*titles, f"batch 1: times faster than {TODAY}", f"rows off of {fitted.ROWS}"], lines))
