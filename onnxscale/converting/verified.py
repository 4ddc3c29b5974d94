"""A transformer that was put in front of a model, proved: what reaches the model against the transformer's own answer, row by row,
and the outputs against the original model on that answer.

Where the exported graph computes in float64, what reaches the model may be two units in the last place off. In float32 it may be as
far off as the transformer's own answer moves when its input moves by float32's rounding, measured on the same rows, times a margin;
categories and bins must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from onnxscale import feeding, reference, seam
from onnxscale.comparing import DIFFERS, NOT_VERIFIED, VERIFIED, Comparison, SeamCheck, Worst, relative, ulps
from onnxscale.converting.columns import answer, apart, every, rows
from onnxscale.feeding import Feed
from onnxscale.graph import ELEMENTS
from onnxscale.judging import judge
from onnxscale.modelfile import ModelFile
from onnxscale.plans import Converted, Plan
from onnxscale.precision import UNIT, rounded
from onnxscale.step import Array
from onnxscale.verifying import Golden, Subject, golden, loaded, runnable
from onnxscale.worker import Answers, Died, Failure, Runnable, Worker, started

MARGIN = 16.0
COUNTS = {"in distribution": (400, 1.0, None), "six sigmas out": (100, 6.0, None), "zeros": (20, 1.0, 0.0),
          "NaN": (40, 1.0, np.nan), "large": (20, 1e4, None), "one row": (1, 1.0, None)}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Case:
    """Rows as the app feeds them, and what the transformer makes of them."""

    label: str
    raw: Mapping[str, Array]
    want: Array
    slack: Array


def verify(
    original: ModelFile, subject: Subject, plan: Plan, *, data: Mapping[str, Array] | None = None, seed: int = 0,
    seconds: float = 300, tell: Callable[[int], None] = lambda count: None,
) -> tuple[Comparison, Golden | None]:  # fmt: skip
    """As verifying.verify, for a plan with a converted transformer. Never raises for what a model does."""
    assert plan.converted is not None
    try:
        with started(2 * len(original.data), seconds, tell) as worker:
            return _verify(worker, original, subject, plan, plan.converted, data or {}, seed)
    except Died as death:
        return Comparison(NOT_VERIFIED, str(death), seed, 0, (), (), (), {}), None


def _verify(
    worker: Worker,
    original: ModelFile,
    subject: Subject,
    plan: Plan,
    made: Converted,
    data: Mapping[str, Array],
    seed: int,
) -> tuple[Comparison, Golden | None]:
    rng = np.random.default_rng(seed)
    versions = {"onnx": onnx.__version__, "numpy": np.__version__, "skl2onnx": made.version, **worker.versions()}
    first = runnable(
        original, str(original.path) if original.descriptor is not None else original.read(0, len(original.data))
    )
    second = runnable(original, subject.content)
    cases, notes = _cases(made, rng, data)
    feeder = feeding.feeder(original.skeleton, [])
    shape = next(feeder.shapes())
    feeds = [
        feeder.feed(c.label, len(c.want), {made.spec.name: rounded(c.want, made.spec.dtype)}, shape, rng) for c in cases
    ]
    outer = [Feed(f.label, _outer(f, made, c), c.label != "NaN") for f, c in zip(feeds, cases, strict=True)]
    expected = worker.run(first, [f.raw for f in feeds])
    if isinstance(expected, Failure):
        reason = f"onnxruntime cannot load the original model: {expected.message}"
        return Comparison(NOT_VERIFIED, reason, seed, 0, (), (), tuple(notes), versions), None
    if isinstance(expected[0], Failure):
        reason = f"the original model does not run on what the transformer gives ({expected[0].message})"
        return Comparison(NOT_VERIFIED, reason, seed, 0, (), (), tuple(notes), versions), None
    plain = _all(worker.run(first, [f.raw for f in feeds], optimized=False), len(feeds))
    got, got_plain = (
        worker.run(second, [f.raw for f in outer]),
        worker.run(second, [f.raw for f in outer], optimized=False),
    )
    for one in (got, got_plain):
        if isinstance(one, Failure):
            reason = f"onnxruntime cannot load the baked model: {one.message}"
            return Comparison(DIFFERS, reason, seed, 0, (), (), tuple(notes), versions), None
    check, reached = _seam(worker, subject, made, cases)
    moved = _all(
        worker.run(first, [{**f.raw, made.spec.name: r} for f, r in zip(feeds, reached, strict=True)]), len(feeds)
    )
    targets = [p for p in plan.placements if p.role == "output"]
    answers = [reference.unscaled(list(a), targets, feeds) for a in (expected, plain, moved)]
    checks, more = judge(
        outer, _all(got, len(feeds)), _all(got_plain, len(feeds)), answers[0], answers[1], answers[0], answers[2],
        [o.name for o in original.skeleton.graph.output], 0.0, {},
    )  # fmt: skip
    broken = next(
        (f"output {c.name!r} is off by {c.relative:.3g} on {c.differing} row(s)" for c in checks if not c.holds), ""
    )
    broken = broken or next((n for n in more if n.startswith("only the baked model fails")), "")
    if not check.holds:
        where = "" if check.column is None else f" in column {check.column}"
        broken = f"what reaches the model is off by {check.error:.3g}{where}, over the bound of {check.bound:.3g}"
    reason = broken or "the transformer's own answers reach the model, and every output agrees"
    count = sum(len(c.want) for c in cases)
    kept = golden(outer, answers[0], checks) if not broken else None
    verdict = DIFFERS if broken else VERIFIED
    return Comparison(verdict, reason, seed, count, (check,), tuple(checks), (*notes, *more), versions), kept


def _cases(made: Converted, rng: np.random.Generator, data: Mapping[str, Array]) -> tuple[list[_Case], list[str]]:
    dtype = next((s.dtype for s in made.fed if s.dtype not in ("string", "int64")), "float32")
    cases, notes = [], list[str]()
    for label, (count, far, odd) in COUNTS.items():
        raw = rows(made.columns, count, rng, dtype, far, odd)
        want = answer(made.estimator, raw, made.columns)
        if want is None:
            notes.append(f"left out {label!r}: the transformer itself refuses such rows")
            continue
        cases.append(_Case(label, raw, want, _slack(made, raw, want, rng)))
    if data:
        raw = _own(made, data)
        want = answer(made.estimator, raw, made.columns)
        if want is not None:
            cases.append(_Case("your rows", raw, want, _slack(made, raw, want, rng)))
    return cases, notes


def _own(made: Converted, data: Mapping[str, Array]) -> dict[str, Array]:
    if not apart(made.columns) and len(made.fed) == 1 and len(made.columns) > 1:
        return {c.name: data[made.fed[0].name][:, i : i + 1] for i, c in enumerate(made.columns)}
    count = len(next(iter(data.values())))
    read = {c.name: data[c.name] if c.used or c.name in data else np.zeros(count) for c in made.columns}
    return {n: np.asarray(v).reshape(-1, 1) for n, v in read.items()}


def _slack(made: Converted, raw: Mapping[str, Array], want: Array, rng: np.random.Generator) -> Array:
    """How far what reaches the model may be off, before it is rounded to the model's type."""
    size: Array
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.nanmax(np.abs(np.where(np.isfinite(want), want, 0.0)), axis=0, initial=0.0)
        slack: Array = np.abs(want) * 2.0**-45 + 2.0**-45 * size
        if made.dtype == "float64" and not _single(made.estimator):
            return np.asarray(slack)
        for _ in range(2):
            shaken = {
                n: v
                if v.dtype.kind in "Oi"
                else v.astype(np.float64) * (1 + rng.choice([-1, 1], v.shape) * UNIT["float32"])
                for n, v in raw.items()
            }
            other = answer(made.estimator, shaken, made.columns)
            if other is not None:
                slack = np.maximum(slack, MARGIN * np.abs(other - want))
        return np.asarray(slack + MARGIN * UNIT["float32"] * (np.abs(want) + size * (slack > 0)))


def _single(estimator: object) -> bool:
    """Whether the transformer itself computes in float32: an imputer that was fitted on such hands on nothing else."""
    return any(getattr(part, "_fit_dtype", None) == np.float32 for part in every(estimator))


def _outer(feed: Feed, made: Converted, case: _Case) -> dict[str, Array]:
    """The feed with what the app feeds instead of the model's own input."""
    others = {n: v for n, v in feed.raw.items() if n != made.spec.name}
    if not apart(made.columns) and len(made.fed) == 1 and made.fed[0].name == made.spec.name:
        dtype = np.dtype(made.fed[0].dtype)
        return {
            made.spec.name: np.concatenate([case.raw[c.name] for c in made.columns], axis=1).astype(dtype),
            **others,
        }
    return {**{s.name: case.raw[s.name] for s in made.fed}, **others}


def _seam(worker: Worker, subject: Subject, made: Converted, cases: Sequence[_Case]) -> tuple[SeamCheck, list[Array]]:
    """What reaches the model, cut out of the baked one, beside the transformer's answers; and those values."""
    end = subject.seams["input", made.spec.name]
    starts = [v for v in subject.proto.graph.input if v.name in {s.name for s in made.fed}]
    part = seam.cut(subject.proto, starts, [end], loaded(subject.model), ELEMENTS[made.spec.dtype])
    assert part is not None, "the transformer's nodes follow from its inputs"
    feeds = [_outer(Feed("", {}), made, c) for c in cases]
    needed = {v.name for v in part.graph.input}
    answers = worker.run(
        Runnable(part.SerializeToString()), [{n: v for n, v in f.items() if n in needed} for f in feeds]
    )
    most, error, bound, ulp, holds, worst, column = -1.0, 0.0, 0.0, 0.0, True, None, None
    reached = []
    for case, one in zip(cases, _all(answers, len(cases)), strict=True):
        want = rounded(case.want, made.spec.dtype)
        got = one[end] if isinstance(one, dict) else np.full(want.shape, np.nan, want.dtype)
        reached.append(got if got.shape == want.shape else want)
        if got.shape != want.shape:
            return SeamCheck(end, "input", len(want), np.inf, 0.0, np.inf, None, False), [c.want for c in cases]
        off, _ = relative(got, want)
        allowed = case.slack + 2 * UNIT[made.spec.dtype] * np.abs(case.want)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(off == 0, 0.0, off / allowed)
        share = np.where(np.isnan(share), 0.0, share)
        holds = holds and bool((share <= 1).all())
        ulp = max(ulp, ulps(got, want)) if case.label != "NaN" else ulp
        if share.size and float(share.max()) > most:
            most = float(share.max())
            at = np.unravel_index(int(share.argmax()), share.shape)
            error, bound, column = float(off[at]), float(np.broadcast_to(allowed, share.shape)[at]), int(at[-1])
            row = {n: v[at[0]].tolist() for n, v in case.raw.items()}
            worst = Worst(case.label, int(at[0]), row, float(got[at]), float(want[at]))
    return SeamCheck(end, "input", sum(map(len, reached)), error, bound, ulp, column, holds, worst), reached


def _all(answers: list[Answers] | Failure, count: int) -> list[Answers]:
    return [answers] * count if isinstance(answers, Failure) else answers
