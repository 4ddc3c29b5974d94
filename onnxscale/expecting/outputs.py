"""Cue: how the outputs behave on rows that each hypothesis would feed. Where a classifier is fed what it was trained on it is sure
of most rows and does not call them all the same; rows of another scale end on one side of everything, or saturate.

The measure is the mutual information of row and class, H(mean p) - mean H(p), over log K: 0 where all rows get one answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from onnxscale.expecting.base import Evidence, Subject, columns
from onnxscale.expecting.hypotheses import PRIORS
from onnxscale.linting import KNOWN
from onnxscale.step import Array
from onnxscale.verifying import runnable
from onnxscale.worker import Died, Failure, started

ROWS, SIZE, LARGEST = 96, 64, 1 << 29
TRUST, TRUST_PROBES = (
    5.0,
    1.5,
)  # log likelihood that an information of 1 is worth, on rows of the user's and on made-up ones
SCALED, ALIKE = (
    ("standard", "unit", "symmetric"),
    0.25,
)  # told apart from raw rows; among each other the widest tends to win
IMAGENET = KNOWN[0]


def outputs(subject: Subject) -> Iterator[Evidence]:
    others = [v.name for v in subject.model.skeleton.graph.input if v.name != subject.spec.name]
    constants = {t.name for t in subject.model.skeleton.graph.initializer}
    if set(others) - constants - set(subject.others) or len(subject.model.data) > LARGEST:
        return
    fed = _given(subject) if subject.data is not None else _probes(subject)
    answers = _answers(subject, fed)
    if isinstance(answers, str):
        yield Evidence("outputs", f"the model did not run on candidate rows: {answers}", {})
        return
    found = {name: m for name, a in answers.items() if (m := _measured(a)) is not None}
    if len(found) < 2 or max(i for i, _ in found.values()) < 0.01:
        return
    trust = TRUST if subject.data is not None else TRUST_PROBES
    scores = {name: trust * (info - 0.5 * _saturated(sure, subject)) for name, (info, sure) in found.items()}
    best = max((scores[n] for n in SCALED if n in scores), default=0.0)
    scores |= {n: best - ALIKE * (best - scores[n]) for n in SCALED if n in scores}
    middle = float(np.mean([*scores.values()]))
    scores = {name: scores.get(name, middle) for name in PRIORS[subject.sort]}
    rows = "your rows" if subject.data is not None else "made-up rows"
    listed = ", ".join(f"{name} {info:.2f}" for name, (info, _) in sorted(found.items(), key=lambda x: -x[1][0]))
    yield Evidence("outputs", f"how much the answers tell {rows} apart (0 to 1), fed as: {listed}", scores)


def _saturated(sure: float, subject: Subject) -> float:
    return sure if subject.data is None else 0.0


def _given(subject: Subject) -> dict[str, Array]:
    """The user's rows as each hypothesis would feed them, scaled by their own statistics."""
    assert subject.data is not None
    raw = subject.data.astype(np.float64)
    flat = columns(raw, subject.spec)
    axis = 1 if raw.ndim == 4 and raw.shape[1] in (1, 3, 4) else -1
    shape = [1] * raw.ndim
    shape[axis] = flat.shape[1]

    def each(values: Array) -> Array:
        return np.asarray(values).reshape(shape)

    low, high = np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)
    mean, std = np.nanmean(flat, axis=0), np.nanstd(flat, axis=0)
    std = np.where(std > 0, std, 1.0)
    span = np.where(high > low, high - low, 1.0)
    if subject.sort == "picture" and high.max() > 2:
        one = raw / 255
        constants = len(mean) == 3
        m, s = (np.array(v) if constants else w / 255 for v, w in ((IMAGENET.mean, mean), (IMAGENET.std, std)))
        return {
            "pixels": raw,
            "unit": one,
            "symmetric": one * 2 - 1,
            "standard": (one - each(m)) / each(s),
            "centred": raw - each(mean),
        }
    unit = (raw - each(low)) / each(span)
    scaled = (raw - each(mean)) / each(std)
    return {"raw": raw, "standard": scaled, "unit": unit, "symmetric": unit * 2 - 1}


def _probes(subject: Subject) -> dict[str, Array]:
    draw = np.random.default_rng(0)
    dims = subject.spec.shape or (None, None)
    shape = (ROWS, *(d if isinstance(d, int) else SIZE for d in dims[1:]))
    if math.prod(shape) > 1 << 24:
        shape = (8, *shape[1:])
    noise, flat = draw.normal(size=shape), draw.uniform(size=shape)
    made = {"standard": noise, "unit": flat, "symmetric": 2 * flat - 1}
    if subject.sort == "picture":
        made |= {"pixels": 255 * flat, "centred": 255 * flat - 117}
    return made


def _answers(subject: Subject, fed: dict[str, Array]) -> dict[str, Array] | str:
    """The first float output that has a row per row, for each hypothesis; or why there is none."""
    model, dtype = subject.model, np.dtype(subject.spec.dtype)
    first = subject.spec.shape[0] if subject.spec.shape else None
    step = first if isinstance(first, int) else ROWS
    feeds, of = [], []
    for name, rows in fed.items():
        count = min(len(rows), 4 * max(step, ROWS))
        for at in range(0, count - step + 1 if isinstance(first, int) else count, step):
            with np.errstate(over="ignore", invalid="ignore"):
                one = {subject.spec.name: rows[at : at + step].astype(dtype)}
            feeds.append(one | {n: v[at : at + step] for n, v in subject.others.items()})
            of.append(name)
    try:
        with started(len(model.data), subject.seconds) as worker:
            got = worker.run(runnable(model, str(model.path) if model.path else model.read(0, len(model.data))), feeds)
    except Died as death:
        return str(death)
    if isinstance(got, Failure):
        return got.message
    failed = next((g for g in got if isinstance(g, Failure)), None)
    if failed is not None:
        return failed.message
    result: dict[str, list[Array]] = {}
    for name, feed, answer in zip(of, feeds, got, strict=True):
        assert isinstance(answer, dict)
        found = [_probabilities(v, len(feed[subject.spec.name])) for v in answer.values()]
        result.setdefault(name, []).extend([p for p in found if p is not None][:1])
    return {name: np.concatenate(parts) for name, parts in result.items() if parts}


def _probabilities(value: object, rows: int) -> Array | None:
    """An output as probabilities of (rows, K); None for one that is not that."""
    if isinstance(value, list) and len(value) == rows and all(isinstance(v, dict) for v in value):
        value = np.array([[*v.values()] for v in value])
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or len(np.atleast_1d(value)) != rows:
        return None
    flat = value.reshape(rows, -1).astype(np.float64)
    if not np.isfinite(flat).all() or flat.shape[1] > 1 << 16:
        return None
    if flat.shape[1] == 1:
        return np.hstack([1 - flat, flat]) if (flat >= 0).all() and (flat <= 1).all() else None
    if (flat >= 0).all() and np.abs(flat.sum(axis=1) - 1).max() < 1e-3:
        return flat
    return None


def _measured(p: Array) -> tuple[float, float] | None:
    """The information of (rows, K) probabilities over log K, and the share of rows that are sure beyond doubt."""
    if len(p) < 8:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=1)
        mean = p.mean(axis=0)
        whole = -np.where(mean > 0, mean * np.log(mean), 0.0).sum()
    return float(max(whole - entropy.mean(), 0.0) / math.log(p.shape[1])), float((p.max(axis=1) > 0.9999).mean())
