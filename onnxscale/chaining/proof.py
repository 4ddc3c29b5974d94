"""A merged chain, proved: the stages run one after the other, each a model of its own, beside the one that they became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnxscale import feeding
from onnxscale.chaining import tensors
from onnxscale.comparing import DIFFERS, NOT_VERIFIED, VERIFIED, Comparison
from onnxscale.feeding import Feed, Feeder, Shape
from onnxscale.judging import judge
from onnxscale.precision import rounded
from onnxscale.step import Array
from onnxscale.worker import Answers, Died, Failure, Runnable, Worker, started

if TYPE_CHECKING:
    from onnxscale.chaining.merging import Merged

ROWS = (1, 3, 64)
SCALES = {"in distribution": 1.0, "three times as far": 3.0, "zeros": 0.0}


def compared(merged: Merged, seed: int, seconds: float) -> Comparison:
    """Both on rows that the chain's inputs take. Never raises for what a model does."""
    rng = np.random.default_rng(seed)
    content = Runnable(merged.to_bytes())
    feeder = feeding.feeder(merged.proto, [])
    stages = {n: Runnable(m.SerializeToString()) for n, m in merged.models.items()}
    try:
        with started(3 * len(merged.to_bytes()), seconds) as worker:
            versions = {"onnx": onnx.__version__, "numpy": np.__version__, **worker.versions()}
            shape = _shape(worker, content, feeder, rng)
            if isinstance(shape, str):
                return Comparison(
                    NOT_VERIFIED, f"the merged model runs on no rows: {shape}", seed, 0, (), (), (), versions
                )
            feeds = _feeds(merged, feeder, shape, rng)
            got = [_all(worker.run(content, [f.raw for f in feeds], optimized=o), len(feeds)) for o in (True, False)]
            want = [[_staged(worker, merged, stages, f, optimized=o) for f in feeds] for o in (True, False)]
    except Died as death:
        return Comparison(NOT_VERIFIED, str(death), seed, 0, (), (), (), {})
    checks, notes = judge(feeds, got[0], got[1], want[0], want[1], want[0], None, list(merged.outputs), 0.0, {})
    broken = next(
        (f"output {c.name!r} is off by {c.relative:.3g} on {c.differing} row(s)" for c in checks if not c.holds), ""
    )
    broken = broken or next((n for n in notes if n.startswith("only the baked model fails")), "")
    rows = sum(max((len(v) for v in f.raw.values() if v.ndim), default=1) for f in feeds)
    verdict = DIFFERS if broken else NOT_VERIFIED if all(c.vacuous for c in checks) else VERIFIED
    reason = broken or (
        "every output is the chain's" if verdict == VERIFIED else "the outputs are constant over all rows"
    )
    return Comparison(verdict, reason, seed, rows, (), tuple(checks), tuple(notes), versions)


def _shape(worker: Worker, content: Runnable, feeder: Feeder, rng: np.random.Generator) -> Shape | str:
    """The first way to fill the open dimensions on which the merged model runs, or why none does."""
    said = "no shape was tried"
    for tried, shape in enumerate(feeder.shapes()):
        try:
            trial = feeder.feed("trial", shape.rows or 2, {}, shape, rng)
        except (ValueError, MemoryError) as error:  # numpy has 64 dimensions, and so much memory
            return f"no rows of its shape can be made ({error})"
        answer = worker.run(content, [trial.raw])
        bad = answer if isinstance(answer, Failure) else answer[0] if isinstance(answer[0], Failure) else None
        if bad is None:
            return shape
        said = bad.message
        if tried >= feeding.TRIES:
            break
    return said


def _feeds(merged: Merged, feeder: Feeder, shape: Shape, rng: np.random.Generator) -> list[Feed]:
    fixed = shape.rows if shape.rows is not None else feeder.fixed_batch()
    known = tensors.stages(merged.report.chain)
    made = []
    for label, scale in SCALES.items():
        for rows in ROWS if fixed is None else (fixed,):
            feed = feeder.feed(f"{label}, {rows} rows", rows, {}, shape, rng)
            raw = {n: _drawn(known, merged.inputs[n], v, scale) for n, v in feed.raw.items()}
            made.append(Feed(feed.label, raw))
    return made


def _drawn(known: Mapping[str, tensors.Known], place: tuple[str, str], values: Array, scale: float) -> Array:
    """Values as training had them, where the stage says by what it scales its raw input."""
    if values.dtype.kind != "f":
        return values
    inside = known[place[0]].inputs[place[1]].inside
    undone = None if inside.transform is None or not inside.transform.elementwise else inside.transform.inverse()
    drawn = values.astype(np.float64) * scale
    if undone is None or values.ndim == 0:
        return drawn.astype(values.dtype)
    with np.errstate(all="ignore"):
        return rounded(undone(drawn, inside.axis if inside.axis is not None else -1), values.dtype.name)


def _staged(worker: Worker, merged: Merged, stages: Mapping[str, Runnable], feed: Feed, *, optimized: bool) -> Answers:
    """The answers of the chain, run stage by stage."""
    held: dict[tuple[str, str], Any] = {}
    edges = merged.report.edges
    for name in tensors.order(merged.report.chain, [e.ends for e in edges]):
        inputs = {t: feed.raw[n] for n, (s, t) in merged.inputs.items() if s == name}
        for e in edges:
            if e.edge.target == name:
                value = held[e.edge.source, e.edge.output]
                if e.adapter is not None and e.adapter.steps:
                    axis = e.ends.given.space.axis if e.ends.given.space.axis is not None else e.ends.taken.space.axis
                    value = rounded(e.adapter(value, -1 if axis is None else axis), value.dtype.name)
                inputs[e.edge.input] = value
        answers = _all(worker.run(stages[name], [inputs], optimized=optimized), 1)
        if isinstance(answers[0], Failure):
            return answers[0]
        held |= {(name, t): v for t, v in answers[0].items()}
    return {n: held[place] for n, place in merged.outputs.items()}


def _all(answers: Sequence[Answers] | Failure, count: int) -> list[Answers]:
    return [answers] * count if isinstance(answers, Failure) else list(answers)
