"""Prove a baked model by running it: the seam against float64, the answers against the original model on scaled rows.

Three verdicts only. VERIFIED: everything held. DIFFERS: a row shows that it does not. NOT VERIFIED: it could not be
told, and why. The tolerance is measured on the same model: how far the original moves between optimizations on and off
(its noise floor), and, where the scaler itself is rounded, under that rounding.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from onnxscale import external, feeding, layer, reference, seam, tensors, walk, watching
from onnxscale.comparing import DIFFERS, NOT_VERIFIED, VERIFIED, Comparison, OutputCheck, SeamCheck, is_numbers
from onnxscale.feeding import Feed
from onnxscale.judging import Thresholds, judge, verdict_of
from onnxscale.modelfile import ModelFile
from onnxscale.plans import Placement, Plan
from onnxscale.step import Array
from onnxscale.worker import Answers, Died, Failure, Runnable, Worker, started

GOLDEN_VALUES = 4096
PATIENCE, RUNS, FAMILIES = 15.0, 5, 8  # seconds for all rows of a slow model, and how often each row is run
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
SLOW = 5e-3  # seconds a row


@dataclass(frozen=True, eq=False)
class Subject:
    """A baked model to verify. proto: its skeleton or full message. model: where the skeleton's values lie.
    content: its bytes, or the path of its file. seams: (role, tensor) -> seam tensor; {} where nobody knows them."""

    proto: onnx.ModelProto
    model: ModelFile
    content: bytes | str
    seams: Mapping[tuple[str, str], str]


@dataclass(frozen=True, eq=False)
class Golden:
    """A few raw rows and the answers of the pipeline, for the record."""

    raw: Mapping[str, Array]
    outputs: Mapping[str, Array]
    tolerance: Mapping[str, float]


def verify(
    original: ModelFile,
    subject: Subject,
    plan: Plan,
    *,
    data: Mapping[str, Array] | None = None,
    seed: int = 0,
    seconds: float = 300,
    tell: Callable[[int], None] = lambda count: None,
) -> tuple[Comparison, Golden | None]:
    """Run both models and compare. data: the user's own raw rows by input name. seconds: for each request to the child.
    tell: called with the number of feeds that ran since it was last called.

    Never raises for what a model does: its failures, and the death of the process that runs it, are verdicts.
    """
    size = 2 * len(original.data)
    size += sum(p.stat().st_size for p in external.files(original.path, _outside(original)).values())
    try:
        with started(size, seconds, tell) as worker:
            return _verify(worker, original, subject, plan, data or {}, seed)
    except Died as death:
        return _not_verified(f"{death}", seed), None


def _outside(model: ModelFile) -> list[onnx.TensorProto]:
    return [t for t in walk.tensors(model.skeleton) if tensors.is_outside(t)]


def runnable(original: ModelFile, content: bytes | str) -> Runnable:
    """A model with the folder of its external data. onnxruntime refuses data files that are links out of that folder,
    as they are in the Hugging Face cache, where the model is a link too: then the real files are named instead."""
    outside = _outside(original)
    if not outside or original.path is None:
        return Runnable(content)
    whole = content if isinstance(content, bytes) else Path(content).read_bytes()
    places = external.files(original.path, outside)
    home = os.path.realpath(original.path.parent)
    if not all(p.is_relative_to(home) for p in places.values()):
        home = os.path.commonpath([p.parent for p in places.values()])
        proto = onnx.ModelProto.FromString(whole)
        for entry in (e for t in walk.tensors(proto) for e in t.external_data if e.key == "location"):
            entry.value = places[entry.value].relative_to(home).as_posix()
        whole = proto.SerializeToString()
    return Runnable(whole, home)


def _not_verified(
    reason: str, seed: int, versions: Mapping[str, str] | None = None, notes: tuple[str, ...] = ()
) -> Comparison:
    return Comparison(NOT_VERIFIED, reason, seed, 0, (), (), notes, versions or {})


def _verify(
    worker: Worker, original: ModelFile, subject: Subject, plan: Plan, data: Mapping[str, Array], seed: int
) -> tuple[Comparison, Golden | None]:
    rng = np.random.default_rng(seed)
    versions = {"onnx": onnx.__version__, "numpy": np.__version__, **worker.versions()}
    placements = plan.placements
    feeder = feeding.feeder(original.skeleton, placements)
    large = original.descriptor is not None
    first = Runnable(str(original.path)) if large else runnable(original, original.read(0, len(original.data)))
    second = runnable(original, subject.content)

    loads = worker.run(first, [])
    if isinstance(loads, Failure):
        return _not_verified(f"onnxruntime cannot load the original model: {loads.message}", seed, versions), None
    failures: list[str] = []
    seconds: list[float] = []

    def runs(feed: Feed) -> bool:
        start = time.perf_counter()
        answer = worker.run(first, [reference.scaled(feed, placements)])
        seconds.append((time.perf_counter() - start) / max(len(v) if v.ndim else 1 for v in feed.raw.values()))
        bad = answer if isinstance(answer, Failure) else next((a for a in answer if isinstance(a, Failure)), None)
        if bad is not None:
            failures.append(bad.message)
        return bad is None

    shapes = feeding.find_shapes(feeder, runs, rng)
    if not shapes and not data:
        why = failures[-1] if failures else "no shape was tried"
        reason = f"the original model ran on none of the shapes tried ({why}); give it rows with --data"
        return _not_verified(reason, seed, versions), None
    near = reference.thresholds(original, placements)
    slow = min(seconds, default=0.0) > SLOW
    most = max(2, int(PATIENCE / (RUNS * FAMILIES * min(seconds)))) if slow else feeding.MOST_ROWS
    golden_feed = feeding.golden(feeder, shapes[0], np.random.default_rng(seed)) if shapes else None
    feeds = [f for shape in shapes[:1] for f in feeding.feeds(feeder, shape, rng, near, most)]
    feeds += [f for shape in shapes[1:] for f in _fewer(feeder, shape, rng, most)]
    feeds += ([golden_feed] if golden_feed else []) + _own_rows(data, feeder)
    empty = [f for f in feeds if any(v.size == 0 for v in f.raw.values())]
    feeds = [f for f in feeds if f not in empty]
    comparison, golden = _compared(worker, original, subject, placements, feeds, first, second, versions, seed, near)
    if comparison.verdict == VERIFIED and empty:
        problem, notes = _empty(worker, first, second, empty[0], placements)
        comparison = replace(comparison, notes=(*comparison.notes, *notes))
        if problem:
            return replace(comparison, verdict=DIFFERS, reason=problem), None
    return comparison, golden


def _empty(
    worker: Worker, first: Runnable, second: Runnable, feed: Feed, placements: Sequence[Placement]
) -> tuple[str, list[str]]:
    """A batch of no rows, last of all: there are models on which it kills onnxruntime. Returns what only the baked model
    does wrong, and notes."""
    try:
        expected = worker.run(first, [reference.scaled(feed, placements)])
    except Died as death:
        return "", [f"left out {feed.label!r}: on the original model, {death}"]
    theirs = expected if isinstance(expected, Failure) else expected[0]
    if isinstance(theirs, Failure):
        return "", [f"left out {feed.label!r}: the original model fails on it ({theirs.message[:120]})"]
    try:
        got = worker.run(second, [feed.raw])
    except Died as death:
        return f"only the baked model fails on {feed.label!r}: {death}", []
    mine = got if isinstance(got, Failure) else got[0]
    if isinstance(mine, Failure):
        return f"only the baked model fails on {feed.label!r}: {mine.message}", []
    wrong = [n for n, v in theirs.items() if np.shape(v) != np.shape(mine[n])]
    return (f"output {wrong[0]!r} has another shape on {feed.label!r}", []) if wrong else ("", [])


def _fewer(feeder: feeding.Feeder, shape: feeding.Shape, rng: np.random.Generator, most: int) -> list[Feed]:
    """On a further shape, the rows in distribution only."""
    return [
        replace(f, label=f"{f.label}, other sizes")
        for f in feeding.feeds(feeder, shape, rng, {}, min(most, 16))
        if f.label == "in distribution"
    ]


def _own_rows(data: Mapping[str, Array], feeder: feeding.Feeder) -> list[Feed]:
    if not data:
        return []
    rows = {n: np.asarray(v) for n, v in data.items()}
    fixed = feeder.fixed_batch()
    if fixed is None or any(len(v) == fixed for v in rows.values()):
        return [Feed("your rows", rows)]
    count = min(len(v) for v in rows.values())
    return [
        Feed("your rows", {n: v[i : i + fixed] for n, v in rows.items()}) for i in range(0, count - fixed + 1, fixed)
    ]


def _compared(
    worker: Worker, original: ModelFile, subject: Subject, placements: Sequence[Placement], feeds: list[Feed], first: Runnable,
    second: Runnable, versions: Mapping[str, str], seed: int, near: Thresholds,
) -> tuple[Comparison, Golden | None]:  # fmt: skip
    rng = np.random.default_rng(seed + 1)
    inexact = any(not p.exact for p in placements)
    exact_labels = reference.has_trees(original)
    scaled = [reference.scaled(f, placements) for f in feeds]
    expected = _all(worker.run(first, scaled), len(feeds))
    host = _all(worker.run(first, [reference.scaled(f, placements, "float32") for f in feeds]), len(feeds))
    moved = (
        _all(worker.run(first, [reference.moved(f, placements, rng) for f in feeds]), len(feeds))
        if inexact and not exact_labels
        else None
    )
    plain = _all(worker.run(first, scaled, optimized=False), len(feeds))
    got_plain = worker.run(second, [f.raw for f in feeds], optimized=False)
    got = worker.run(second, [f.raw for f in feeds])
    for answer in (got, got_plain):
        if isinstance(answer, Failure):
            reason = f"onnxruntime cannot load the baked model: {answer.message}"
            return Comparison(DIFFERS, reason, seed, 0, (), (), (), versions), None
    seams, notes = _seams(worker, subject, placements, feeds, expected)
    seams += layer.checks(
        worker, original.skeleton, subject.proto, placements, feeds, loaded(original), loaded(subject.model)
    )
    seams += watching.checks(placements, feeds, (_all(got, len(feeds)), _all(got_plain, len(feeds))))
    expected, host, plain = (reference.finished(a, placements, feeds) for a in (expected, host, plain))
    moved = reference.finished(moved, placements, feeds) if moved is not None else None
    checks, more = judge(
        feeds, _all(got, len(feeds)), _all(got_plain, len(feeds)), expected, plain, host, moved,
        [o.name for o in original.skeleton.graph.output],
        sum((p.fold.bound or 0.0) for p in placements if p.fold is not None), near,
    )  # fmt: skip
    rows = sum(len(next(iter(f.raw.values()))) if next(iter(f.raw.values())).ndim else 1 for f in feeds if f.raw)
    verdict, reason = verdict_of(seams, checks, more)
    drawn = sorted({n.op_type for body in walk.bodies(original.skeleton) for n in body.graph.node} & RANDOM)
    if drawn and all(s.holds for s in seams):
        proven = any(not s.vacuous for s in seams)
        verdict = VERIFIED if proven else NOT_VERIFIED
        where = "at the seam: " if proven else ""
        reason = f"{where}the model draws random numbers ({', '.join(drawn)}), so its outputs prove nothing"
    kept = golden(feeds, expected, checks) if verdict == VERIFIED else None
    return Comparison(verdict, reason, seed, rows, tuple(seams), tuple(checks), (*notes, *more), versions), kept


def _all(answers: list[Answers] | Failure, count: int) -> list[Answers]:
    return [answers] * count if isinstance(answers, Failure) else answers


def _seams(
    worker: Worker, subject: Subject, placements: Sequence[Placement], feeds: list[Feed], expected: list[Answers]
) -> tuple[list[SeamCheck], list[str]]:
    checks: list[SeamCheck] = []
    with_values = loaded(subject.model)
    notes: list[str] = []
    for p in placements:
        name = subject.seams.get((p.role, p.spec.name))
        if name is None:
            continue
        if p.role == "input":
            mine = [f for f in feeds if p.spec.name in f.raw]
            found = seam.check(worker, subject.proto, p, name, mine, with_values)
        else:
            good = [
                (f, a)
                for f, a in zip(feeds, expected, strict=True)
                if isinstance(a, dict) and is_numbers(a.get(p.spec.name))
            ]
            before, last = [a[p.spec.name] for _, a in good], subject.seams.get(("poisoned", p.spec.name), "")
            found = seam.check(worker, subject.proto, p, name, [f for f, _ in good], with_values, before, last)
        if isinstance(found, str):
            notes.append(f"no seam at {p.spec.name!r}: {found}")
        else:
            checks.append(found)
    return checks, notes


def loaded(model: ModelFile) -> seam.Loaded:
    def with_values(tensor: onnx.TensorProto) -> onnx.TensorProto:
        raw = tensors.payload(model, tensor)
        if raw is None:
            return tensor
        return onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)

    return with_values


def golden(feeds: Sequence[Feed], expected: Sequence[Answers], checks: Sequence[OutputCheck]) -> Golden | None:
    """The feed made for it, where it and its answers are small numbers. Tolerances are rounded up to a power of ten, at
    least that of another machine's arithmetic."""
    for feed, answer in zip(feeds, expected, strict=True):
        if feed.label != feeding.GOLDEN or isinstance(answer, Failure):
            continue
        simple = {n: v for n, v in answer.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fiub"}
        values = [*feed.raw.values(), *simple.values()]
        small = simple and sum(v.size for v in values) <= GOLDEN_VALUES
        if small and all(v.dtype.kind in "fiub" and np.isfinite(v).all() for v in values):
            floor = {n: 64 * float(np.finfo(v.dtype).eps) for n, v in simple.items() if v.dtype.kind == "f"}
            measured = {c.name: max(c.tolerance, floor[c.name]) for c in checks if c.name in floor}
            return Golden(feed.raw, simple, {n: float(10.0 ** np.ceil(np.log10(t))) for n, t in measured.items()})
    return None
