"""Other statistics that the data may belong to: of another site, another year, another model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnxscale.checking import judging, laws
from onnxscale.checking.expecting import Expectation, expected
from onnxscale.checking.reference import Reference, aligned
from onnxscale.checking.result import Check
from onnxscale.checking.sample import Sample
from onnxscale.errors import DataError
from onnxscale.statistics import Reading

GAP, RATIO = 0.08, 0.6  # by how much the mean distance must shrink


def better(
    found: Check, drawn: Sample, own: Expectation, candidates: Sequence[object], reading: Reading | None
) -> Check:
    """The check, or the verdict that one of the candidates fits clearly better where the data is not as expected.

    Raises DataError for a candidate of another number of columns.
    """
    if found.verdict in ("as expected", "cannot tell"):
        return found
    here = _distance(own.reference, drawn)
    best: tuple[float, Expectation] | None = None
    for source in candidates:
        other = expected(source, own.input, reading)
        if other.reference.width != own.reference.width:
            raise DataError(f"{other.said}: has {other.reference.width} columns, {own.said} has {own.reference.width}")
        other = replace(other, reference=aligned(other.reference, own.reference.features))
        there = _distance(other.reference, drawn)
        if there < RATIO * here and here - there > GAP and (best is None or there < best[0]):
            best = (there, other)
    if best is None or judging.judged(best[1].reference, drawn).level == "mismatch":
        return found
    evidence = {"distance from its own": here, "distance from the other": best[0]}
    story, todo = judging.WORDS["other-statistics"]
    return replace(
        found, verdict="other-statistics", story=story.format(file=best[1].said), todo=todo, evidence=evidence,
        also=(found.verdict, *found.also),
    )  # fmt: skip


def _distance(reference: Reference, drawn: Sample) -> float:
    """Mean distance of the columns."""
    distance = laws.distance(drawn.below(reference.law), reference.law)
    return float(np.nanmean(distance)) if np.isfinite(distance).any() else 1.0
