"""What the scaler inside the model costs at inference, side by side in one run on one thread.

bare: the model on rows scaled beforehand. sklearn + model, numpy + model: how it is deployed today. whole pipeline: what
skl2onnx makes of the Pipeline. Then the baked model in each precision. Answers are compared with scikit-learn's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import onnxscale
from benchmarks import measuring
from benchmarks.subjects import converted, models, ready

BATCHES = (1, 64, 4096)
FORMS = (("exact", "nodes"), ("split", "nodes"), ("single", "nodes"), ("exact", "auto"))


def off(answers: Any, expected: np.ndarray) -> int:
    difference = np.abs(np.asarray(answers).reshape(expected.shape) - expected)
    return int((difference.reshape(len(expected), -1).max(1) > 1e-4 * np.abs(expected).max()).sum())


def main(seconds: float, out: Path | None) -> None:
    print(__doc__)
    figures: list[dict[str, Any]] = []
    for name, (estimator, target, data) in models().items():
        raw = data.astype(np.float32)
        pipeline = make_pipeline(StandardScaler(), estimator).fit(raw.astype(np.float64), target)
        scaler = pipeline[0]
        bare = converted(estimator, raw.shape[1])
        runs: dict[str, Callable[[np.ndarray], Any]] = {"bare (rows scaled beforehand)": ready(bare)}
        plain = runs["bare (rows scaled beforehand)"]
        mean, scale = scaler.mean_, scaler.scale_
        runs["sklearn transform + model"] = lambda x, m=plain, s=scaler: m(
            s.transform(x.astype(np.float64)).astype(np.float32)
        )
        runs["numpy + model"] = lambda x, m=plain, a=mean, b=scale: m(((x - a) / b).astype(np.float32))
        runs["skl2onnx, whole Pipeline"] = ready(converted(pipeline, raw.shape[1]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(bare)
            for precision, form in FORMS:
                baked = onnxscale.bake(path, scaler, precision=precision, form=form)
                runs[f"baked, {precision}, {form}"] = ready(baked.to_bytes())
        figures += _measured(name, runs, raw, pipeline, seconds)
    _print(figures)
    measuring.write("inference", {"threads": 1, "rows": figures}, out)


def _measured(
    name: str, runs: dict[str, Callable[[np.ndarray], Any]], raw: np.ndarray, pipeline: Any, seconds: float
) -> list[dict[str, Any]]:
    many = raw[np.random.default_rng(0).integers(0, len(raw), 4096)]
    wide = many.astype(np.float64)
    expected = pipeline.predict_proba(wide) if hasattr(pipeline, "predict_proba") else pipeline.predict(wide)
    scaled = pipeline[0].transform(wide).astype(np.float32)
    first = next(iter(runs))
    wrong = {k: off(run(scaled if k == first else many), expected) for k, run in runs.items()}
    rows = []
    for batch in BATCHES:
        x, z = many[:batch], scaled[:batch]
        times = measuring.interleaved(
            {k: (lambda r=run, v=z if k == first else x: r(v)) for k, run in runs.items()}, seconds
        )
        rows += [
            {
                "model": name,
                "way": k,
                "batch": batch,
                "microseconds": t,
                "ratio": t / times[first],
                "rows_off": wrong[k],
            }
            for k, t in times.items()
        ]
    return rows


def _print(figures: list[dict[str, Any]]) -> None:
    ways = list(dict.fromkeys((f["model"], f["way"]) for f in figures))
    lines = []
    for model, way in ways:
        mine = {f["batch"]: f for f in figures if (f["model"], f["way"]) == (model, way)}
        cells = [f"{mine[b]['microseconds']:.1f} ({mine[b]['ratio']:.2f})" for b in BATCHES]
        lines.append([model, way, *cells, mine[1]["rows_off"]])
    print(measuring.table(["model", "way", *(f"batch {b}: us (ratio)" for b in BATCHES), "rows off of 4096"], lines))
    here = measuring.machine()
    print(f"\n{here['cpu']}, {here['cores']} cores, Python {here['python']}, {here['versions']}")
