"""Rows whose tree decision is not that of the framework's own pipeline, out of a million raw rows each.

The raw values are whole and half numbers of float32, which sit on the thresholds that trees are split at. The pipeline
scales in float64 and predicts with the framework itself. Beside the folded model: the scaler as float32 nodes, and what
skl2onnx makes of the whole Pipeline where it converts it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import onnxscale
from benchmarks import measuring, subjects
from tests.test_trees import FEATURES, MADE, NEEDS

ROWS, CHUNK, WIDTH = 1_000_000, 100_000, FEATURES
SCALERS: dict[str, Callable[[], Any]] = {"standard": StandardScaler, "minmax, clip": lambda: MinMaxScaler(clip=True)}
PIPELINES: dict[str, Callable[[], Any]] = {
    "RandomForestClassifier": lambda: RandomForestClassifier(50, max_depth=10, random_state=0),
    "RandomForestRegressor": lambda: RandomForestRegressor(50, max_depth=10, random_state=0),
    "GradientBoostingClassifier": lambda: GradientBoostingClassifier(random_state=0),
    "ExtraTreesRegressor": lambda: ExtraTreesRegressor(50, max_depth=10, random_state=0),
    "GradientBoostingRegressor": lambda: GradientBoostingRegressor(random_state=0),
    "IsolationForest": lambda: IsolationForest(n_estimators=50, random_state=0),
}


@dataclass(frozen=True)
class Found:
    model: str
    scaler: str
    folded: int
    float32: int
    skl2onnx: int | str


def raw(draw: np.random.Generator, rows: int) -> np.ndarray:
    """Whole and half numbers: a threshold between two whole ones is a half."""
    return (draw.integers(-200, 400, (rows, WIDTH)) / 2).astype(np.float32)


def _differ(answers: np.ndarray, expected: np.ndarray) -> int:
    a, b = (np.asarray(v, dtype=np.float64).reshape(len(v), -1) for v in (answers, expected))
    return int((np.abs(a - b).max(1) > 1e-5 * max(1.0, float(np.abs(b).max()))).sum())


def _whole(name: str, scaler: Any, x: np.ndarray, y: np.ndarray, rows: int) -> int | str:
    """Rows off of skl2onnx's own conversion of the Pipeline."""
    if name not in PIPELINES:
        return "not converted by skl2onnx alone"
    pipeline = make_pipeline(scaler, PIPELINES[name]()).fit(x, (y > np.median(y)).astype(int) if "Class" in name else y)
    live = subjects.session(subjects.converted(pipeline, WIDTH))
    off, draw = 0, np.random.default_rng(7)
    output = 1 if "Class" in name or "Isolation" in name else 0
    for _ in range(0, rows, CHUNK):
        q = raw(draw, min(CHUNK, rows))
        want = (
            pipeline.predict_proba(q.astype(np.float64)) if "Class" in name
            else pipeline.decision_function(q.astype(np.float64)) if "Isolation" in name
            else pipeline.predict(q.astype(np.float64))
        )  # fmt: skip
        off += _differ(live.run(None, {"x": q})[output], want)
    return off


def _one(name: str, kind: str, rows: int) -> Found:
    draw = np.random.default_rng(3)
    x = raw(draw, 6000).astype(np.float64)
    y = np.sin(x[:, 0] / 9) * 3 + x[:, 1] / 40 + (x[:, 2] > 30) * x[:, 3] / 50 + draw.standard_normal(len(x)) / 5
    scaler = SCALERS[kind]().fit(x[:4000])
    model, predict, output = MADE[name](scaler.transform(x), y)
    double = model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    dtype = np.float64 if double else np.float32
    given = model.graph.input[0].name
    made = {
        form: subjects.session(onnxscale.bake(model, scaler, form=form, precision=precision, again=True).to_bytes())
        for form, precision in (("auto", "exact"), ("nodes", "exact" if double else "single"))
    }
    off, draw = dict.fromkeys(made, 0), np.random.default_rng(7)
    for _ in range(0, rows, CHUNK):
        q = raw(draw, min(CHUNK, rows))
        want = predict(scaler.transform(q.astype(np.float64)))
        for form, live in made.items():
            off[form] += _differ(live.run(None, {given: q.astype(dtype)})[output], want)
    return Found(name, kind, off["auto"], off["nodes"], _whole(name, SCALERS[kind](), x[:4000], y[:4000], rows))


def main(seconds: float, out: Path | None, rows: int = ROWS) -> None:
    """seconds: under 0.2, a tenth of the rows."""
    print(__doc__)
    warnings.simplefilter("ignore")
    rows = rows if seconds >= 0.2 else rows // 10
    found = []
    for name in sorted(MADE):
        missing = [m for m in NEEDS.get(name, ()) if not _installed(m)]
        if missing:
            print(f"skipped: {name}: {', '.join(missing)} not installed")
            continue
        found += [_one(name, kind, rows) for kind in SCALERS]
    lines = [[f.model, f.scaler, f.folded, f.float32, f.skl2onnx] for f in found]
    print(measuring.table(["model", "scaler", "folded", "nodes in float32", "skl2onnx, whole Pipeline"], lines))
    measuring.write("decisions", {"rows": rows, "found": [vars(f) for f in found]}, out)


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None
