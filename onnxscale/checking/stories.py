"""One story for all columns: which hypothesis brings the data back to the law of the training data, if the raw reading does not.

Two simple hypotheses are compared by the gap of their distances, never one of them by a p-value: drift moves both, so it does not
look like a mistake. Only columns on which the two differ beforehand say anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxscale.checking import laws
from onnxscale.checking.hypotheses import Hypothesis, hypotheses
from onnxscale.checking.reference import Reference
from onnxscale.checking.sample import Sample
from onnxscale.step import Array

TELLS = 0.25  # distance of two hypotheses on a column that can tell them apart
GAP, RATIO = 0.15, 0.6
MOST = 512  # columns that are looked at; one story for all needs no more
NEAR = 0.08  # distances that are the same to a small sample
# Where all misfits are over DRIFTED times that of chance, they are weighed so.
RARE = {"scaled": 0.5, "robust-scaled": 2.0}
DRIFTED = 3.0


@dataclass(frozen=True, eq=False)
class Story:
    """hypothesis; before, after: mean distance of the columns that tell, read raw and read so; columns: how many tell."""

    hypothesis: Hypothesis
    before: float
    after: float
    columns: int


@dataclass(frozen=True, eq=False)
class Asked:
    """A hypothesis as a law on the columns looked at. tells: where it can be told from the raw reading, bool."""

    hypothesis: Hypothesis
    law: laws.Law
    tells: Array


@dataclass(frozen=True, eq=False)
class Questions:
    """All that can be told of a reference. columns: those looked at."""

    columns: Array
    law: laws.Law
    asked: tuple[Asked, ...]
    untold: tuple[str, ...]


def questions(reference: Reference) -> Questions:
    """The hypotheses as laws, and the names of those that this data could never show."""
    columns = np.flatnonzero(reference.varied)
    if columns.size > MOST:
        columns = np.sort(np.random.default_rng(0).choice(columns, MOST, replace=False))
    raw = reference.law.take(columns)
    asked: list[Asked] = []
    for h in hypotheses(reference):
        law = reference.law.mapped(h.function).take(columns)
        defined: Array = np.asarray(np.isfinite(law.points).all(axis=1))
        tells = np.zeros(columns.size, np.bool_)
        if defined.any():
            tells[defined] = laws.between(raw.take(defined), law.take(defined)) > TELLS
        if tells.any():
            asked.append(Asked(h, law, tells))
    told = {a.hypothesis.verdict for a in asked}
    untold = dict.fromkeys(h.verdict for h in hypotheses(reference) if h.verdict not in told)
    return Questions(columns, raw, tuple(asked), tuple(untold))


def best(q: Questions, sample: Sample) -> list[Story]:
    """The stories that hold, the best first; [] where the raw reading is as good."""
    if not q.columns.size:
        return []
    near = laws.distance(sample.below(q.law, q.columns), q.law)
    known = np.isfinite(near)
    if not known.any() or near[known].max() < GAP:
        return []
    found: list[Story] = []
    for a in q.asked:
        tells = a.tells & known
        if not tells.any() or near[tells].mean() < GAP:
            continue
        here = np.flatnonzero(tells)
        law = a.law.take(here)
        share = sample.below(law, q.columns[here])
        far = laws.distance(share, law)
        before, after = float(near[here].mean()), float(far.mean())
        if before - after > GAP and after < RATIO * before:
            found.append(Story(a.hypothesis, before, after, int(here.size)))
    found.sort(key=lambda s: s.after)
    if not found:
        return []
    close = [s for s in found if s.after < found[0].after + NEAR]
    if len(close) > 1:
        close = _compared(q, sample, close, known)
    return close + [s for s in found if s not in close]


def _compared(q: Questions, sample: Sample, close: list[Story], known: Array) -> list[Story]:
    """Near hypotheses by the mean squared distance (Cramer, von Mises) over the columns that all of them speak of: finer than the
    largest distance. Where none fits, the data has drifted too, and the finer measure is blurred: then the model's own scaler is the
    likely one, and a robust one a rare one. By chance, the squares are 1 / 6n."""
    laws_of = {a.hypothesis: a.law for a in q.asked}
    there = known.copy()
    for s in close:
        there &= np.isfinite(laws_of[s.hypothesis].points).all(axis=1)
    columns = np.flatnonzero(there)
    if not columns.size:
        return close
    misfit: dict[Hypothesis, float] = {}
    for s in close:
        law = laws_of[s.hypothesis].take(columns)
        misfit[s.hypothesis] = float(((sample.below(law, q.columns[columns]) - law.cdf) ** 2).mean())
    chance = float((1 / np.maximum(sample.kept[q.columns[columns]], 1)).mean()) / 6
    drifted = min(misfit.values()) > DRIFTED * chance
    return sorted(close, key=lambda s: misfit[s.hypothesis] * (RARE.get(s.hypothesis.verdict, 1.0) if drifted else 1.0))
