"""What a change does to the outputs: two models run on the same raw rows, each in a process of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxscale import destination, graph, pipeline, recognition, rows
from onnxscale.comparing import OutputCheck, Worst, numbers
from onnxscale.errors import PlanError, names
from onnxscale.feeding import Feed
from onnxscale.judging import judge
from onnxscale.modelfile import ModelFile
from onnxscale.ports import Port
from onnxscale.rows import Slot
from onnxscale.step import Array
from onnxscale.verifying import runnable
from onnxscale.worker import Answers, Died, Failure, started

FOLDED = 1e-5  # what two folds of one function may round differently in the weights, of an output's largest value
MOST = 512  # rows of one run
NUMBERS = (*graph.FLOATS, "uint8", "int8", "int16", "uint16", "int32", "int64", "uint32", "uint64", "bool")


@dataclass(frozen=True)
class Effect:
    """One output of both models on the rows. kind: "float" or "exact" (labels). largest: difference; share: of the largest
    value of A; tolerance: for share, from the noise of A's own arithmetic. decisions: rows whose label or argmax changed, or whose
    one probability crossed 0.5. problem: why there is no number, or ""."""

    name: str
    kind: str
    rows: int
    largest: float
    share: float
    tolerance: float
    decisions: int
    holds: bool
    worst: Worst | None = None
    problem: str = ""


def effects(
    a: object,
    b: object,
    ports: Sequence[Port],
    renamed: Mapping[str, str],
    data: str | os.PathLike[str],
    seconds: float,
) -> tuple[tuple[Effect, ...], tuple[str, ...]]:
    """Both models on the rows of a file. ports: those of A. renamed: its tensor names -> those of B.

    Raises ModelError, and PlanError where the rows do not fit or A itself does not run on them.
    """
    one, two = (pipeline.opened(x) for x in (a, b))  # type: ignore[arg-type]
    slots = [Slot(p.spec, p.spec.dtype, p.inside.features) for p in ports if p.role == "input" and p.spec is not None]
    odd = [s.spec.prose() for s in slots if s.spec.dtype not in NUMBERS]
    if odd:
        raise PlanError(f"{one.name}: --data gives numbers, but an input is {odd[0]}")
    raw = rows.read_slots(data, slots)
    raw = {s.spec.name: raw[s.spec.name] for s in slots}
    feeds = _feeds(raw, slots, two, renamed)
    types = {s.name: s.dtype for s in graph.inputs(two.skeleton)}
    missing = [n for n in types if n not in renamed.values()]
    if missing:
        return (_failed(f"B needs {names(missing)}, which A does not have"),), ()
    known = [n for n in raw if renamed.get(n, n) in types]
    theirs = [{renamed.get(n, n): f.raw[n].astype(np.dtype(types[renamed.get(n, n)])) for n in known} for f in feeds]
    mine = [f.raw for f in feeds]
    expected, plain = _run(one, mine, seconds)
    bad = next((x for x in expected if isinstance(x, Failure)), None)
    if bad is not None:
        raise PlanError(f"{one.name} does not run on {os.fspath(data)}: {bad.message}")
    got, got_plain = _run(two, theirs, seconds)
    failed = next((x for x in (*got, *got_plain) if isinstance(x, Failure)), None)
    if failed is not None:
        return (_failed(f"B does not run on these rows: {failed.message}"),), ()
    beside = recognition.guard_outputs(one)
    listed = [o.name for o in graph.outputs(one.skeleton) if o.name not in beside]
    back = {n: renamed.get(n, n) for n in listed}
    got, got_plain = ([_called(x, back) for x in part] for part in (got, got_plain))
    shared = [n for n in listed if all(isinstance(x, dict) and n in x for x in got)]
    nothing: list[Answers] = [Failure("not run")] * len(feeds)
    checks, notes = judge(feeds, got, got_plain, expected, plain, nothing, None, shared, FOLDED, {})
    made = [_effect(c, _turned(c.name, expected, got)) for c in checks]
    return (*made, *(_failed("B has no such output", n) for n in listed if n not in shared)), tuple(notes)


def _effect(c: OutputCheck, turned: int) -> Effect:
    worst = None if c.worst is None else replace(c.worst, feed="your rows", row=c.worst.row + int(c.worst.feed))
    return Effect(c.name, c.kind, c.rows, c.absolute, c.relative, c.tolerance, c.flips + turned, c.holds, worst)


def _turned(name: str, expected: Sequence[Answers], got: Sequence[Answers]) -> int:
    """Rows of a single probability that cross 0.5; 0 for any other output."""
    count = 0
    for one, two in zip(expected, got, strict=True):
        a, b = (None if isinstance(x, Failure) else numbers(x[name]) for x in (one, two))
        if a is None or b is None or a.shape != b.shape or a.size != len(np.atleast_1d(a)):
            return 0
        if not ((a >= 0) & (a <= 1) & (b >= 0) & (b <= 1)).all():
            return 0
        count += int(((a > 0.5) != (b > 0.5)).sum())
    return count


def _failed(problem: str, name: str = "") -> Effect:
    return Effect(name, "none", 0, math.inf, math.inf, 0.0, 0, False, None, problem)


def _called(answers: Answers, back: Mapping[str, str]) -> Answers:
    return answers if isinstance(answers, Failure) else {n: answers[m] for n, m in back.items() if m in answers}


def _feeds(raw: Mapping[str, Array], slots: Sequence[Slot], two: ModelFile, renamed: Mapping[str, str]) -> list[Feed]:
    """The rows in runs of a size that both models take, each labelled with its first row; rows that fill no whole run of
    a fixed size are left out."""
    others = {s.name: s for s in graph.inputs(two.skeleton)}
    specs = [s for slot in slots for s in (slot.spec, others.get(renamed.get(slot.spec.name, slot.spec.name)))]
    fixed = {s.shape[0] for s in specs if s is not None and s.shape and isinstance(s.shape[0], int)}
    counts = {len(v) for v in raw.values() if v.ndim}
    if not all(v.size for v in raw.values()):
        raise PlanError("the rows are empty; expected at least one")
    if len(counts) != 1 or len(fixed) > 1:
        return [Feed("0", raw)]
    count = counts.pop()
    step = fixed.pop() if fixed else 0
    if count < step:
        raise PlanError(f"{count} row(s) given, and a model takes {step} at a time")
    starts = range(0, count - step + 1, step) if step else range(0, count, MOST)
    return [Feed(str(i), {n: v[i : i + (step or MOST)] for n, v in raw.items()}) for i in starts]


def _run(model: ModelFile, feeds: Sequence[Mapping[str, Array]], seconds: float) -> tuple[list[Answers], list[Answers]]:
    """Answers with optimizations and without. What kills or stops onnxruntime is a Failure."""
    size = len(model.data) + sum(f.stat().st_size for f in destination.data_files(model).values())
    found: list[list[Answers]] = []
    try:
        whole = runnable(model, str(model.path) if model.path else model.read(0, len(model.data)))
        with started(size, seconds) as worker:
            for optimized in (True, False):
                answers = worker.run(whole, list(feeds), optimized=optimized)
                found.append([answers] * len(feeds) if isinstance(answers, Failure) else answers)
    except Died as death:
        dead: list[Answers] = [Failure(str(death))] * len(feeds)
        return dead, dead
    return found[0], found[1]
