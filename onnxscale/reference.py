"""What the pipeline answers: rows scaled by the source's own formula before the original model, answers scaled back after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import onnx

from onnxscale import graph, tensors, walk
from onnxscale.feeding import Feed
from onnxscale.folding.base import Refusal
from onnxscale.guarding import FILL
from onnxscale.modelfile import ModelFile
from onnxscale.plans import Placement
from onnxscale.precision import bound, rounded, rounding
from onnxscale.step import Array, align
from onnxscale.worker import Answers, Failure

PASSED = ("Cast", "Identity")
MOST_CASTS = 4
TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")


def scaled(feed: Feed, placements: Sequence[Placement], dtype: str = "float64") -> dict[str, Array]:
    """The feed as the original model wants it: scaled by the source's own formula, in float64 or as a plain host would."""
    arrays = dict(feed.raw)
    for p in placements:
        if p.role == "input" and p.spec.name in arrays:
            raw = p.clamped(arrays[p.spec.name])
            made = p.transform(raw, p.axis % raw.ndim if raw.ndim else 0, dtype, feed.raw)
            arrays[p.spec.name] = rounded(made, p.inner_dtype)
    new = {s.name for p in placements for s in p.added}
    return {n: v for n, v in arrays.items() if n not in new}


def moved(feed: Feed, placements: Sequence[Placement], rng: np.random.Generator) -> dict[str, Array]:
    """The scaled feed, moved by as much as the scaler's own rounding may move it: each value its own way, or, as a rounded
    constant does, every row the same way, which models that sum over rows do not average out."""
    arrays = scaled(feed, placements)
    for p in placements:
        if p.role == "input" and p.spec.name in arrays and not p.exact:
            raw = p.clamped(feed.raw[p.spec.name])
            axis = p.axis % raw.ndim if raw.ndim else 0
            if p.form == "nodes":
                most = bound(p.transform, p.precision, raw, axis, p.dtype, p.inner_dtype, feed.raw)
            else:
                most = rounding(p.transform, raw, axis, p.inner_dtype, feed.raw)
            with np.errstate(over="ignore", invalid="ignore"):
                ways = most.shape if rng.random() < 0.5 else (1, *most.shape[1:])
                moved = arrays[p.spec.name] + (rng.choice([-1.0, 1.0], ways) * most).reshape(most.shape)
            arrays[p.spec.name] = rounded(moved, p.inner_dtype)
    return arrays


def thresholds(original: ModelFile, placements: Sequence[Placement]) -> dict[str, list[tuple[int, float]]]:
    """Raw values at which trees that read a scaled input decide."""
    found: dict[str, list[tuple[int, float]]] = {}
    for p in placements:
        inverse = p.transform.inverse()
        if p.role != "input" or inverse is None or not p.transform.elementwise:
            continue
        inverse_rank = len(p.transform.shape)
        for node in _readers(original.skeleton.graph, p.spec.name):
            if node.op_type not in TREES:
                continue
            from onnxscale.folding import trees

            decided = trees.thresholds_of(node, partial(tensors.values, original))
            if isinstance(decided, Refusal):
                continue
            features, values = decided
            width = p.transform.shape[-1] if p.transform.shape else 0
            features = features if width else np.zeros_like(features)
            places = np.flatnonzero(features < max(width, 1))
            for start in range(0, places.size, 1 << 12):
                rows = places[start : start + (1 << 12)]
                each = np.broadcast_to(values[rows].reshape(-1, *(1,) * inverse_rank), (rows.size, *p.transform.shape))
                raw = inverse(each).reshape(rows.size, -1)[np.arange(rows.size), features[rows]]
                found.setdefault(p.spec.name, []).extend(zip(features[rows].tolist(), raw.tolist(), strict=True))
    return found


def _readers(body: onnx.GraphProto, name: str) -> Iterator[onnx.NodeProto]:
    """The nodes that read a tensor, also by way of a few casts."""
    names = [name]
    for _ in range(MOST_CASTS):
        found = [reader.node for n in names for reader in graph.readers(body, n)]
        yield from (node for node in found if node.op_type not in PASSED)
        names = [node.output[0] for node in found if node.op_type in PASSED]


def has_trees(model: ModelFile) -> bool:
    return any(node.op_type in TREES for body, _ in walk.bodies(model.skeleton) for node in body.node)


def poisoned(answers: list[Answers], placements: Sequence[Placement], feeds: Sequence[Feed]) -> list[Answers]:
    """The answers, all or some outputs, without the rows that a guard takes for wrong: NaN, or -1 for integers."""
    guarded = [(p.spec.name, p.guard) for p in placements if p.guard is not None and p.guard.poisons]
    done: list[Answers] = []
    for answer, feed in zip(answers, feeds, strict=True):
        if isinstance(answer, Failure):
            done.append(answer)
            continue
        changed = dict(answer)
        for name, guard in guarded:
            wrong = guard.wrong(feed.raw[name])
            for output, dtype in guard.poisons.items():
                if output not in changed:
                    continue
                y = changed[output]
                changed[output] = np.where(align(wrong, y.ndim, 0), np.array(FILL[dtype], y.dtype), y)
        done.append(changed)
    return done


def finished(answers: list[Answers], placements: Sequence[Placement], feeds: Sequence[Feed]) -> list[Answers]:
    """The original's answers as the baked model gives them: in real units, without the rows that a guard takes out."""
    return poisoned(unscaled(answers, [p for p in placements if p.role == "output"], feeds), placements, feeds)


def unscaled(answers: list[Answers], targets: Sequence[Placement], feeds: Sequence[Feed]) -> list[Answers]:
    """The original's answers in real units: the inverse of the target scaler in float64, rounded to the output's type."""
    if not targets:
        return answers
    done: list[Answers] = []
    for answer, feed in zip(answers, feeds, strict=True):
        if isinstance(answer, Failure):
            done.append(answer)
            continue
        changed = dict(answer)
        for p in targets:
            y = changed[p.spec.name]
            changed[p.spec.name] = rounded(
                p.transform(y, p.axis % y.ndim if y.ndim else 0, beside=feed.raw), y.dtype.name
            )
        done.append(changed)
    return done
