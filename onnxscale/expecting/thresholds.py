"""Cue: the thresholds of trees lie among the values that the training met: their quartiles by feature, and their range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxscale.expecting.base import Evidence, Subject
from onnxscale.expecting.moments import scored
from onnxscale.folding.base import Refusal
from onnxscale.folding.trees import OPERATORS, thresholds_of
from onnxscale.step import Array
from onnxscale.tensors import values

ENOUGH = 6  # thresholds of a feature that count in full
IQR = 1.349  # of a normal distribution, in sigmas


def thresholds(subject: Subject) -> Iterator[Evidence]:
    found = [
        t for f in subject.first if f.node.op_type in OPERATORS
        if not isinstance(t := thresholds_of(f.node, lambda x: values(subject.model, x)), Refusal)
    ]  # fmt: skip
    column = np.concatenate([c for c, _ in found]) if found else np.zeros(0, int)
    value = np.concatenate([v for _, v in found]) if found else np.zeros(0)
    good = np.isfinite(value) & (np.abs(value) < 1e30)
    column, value = column[good], value[good]
    if value.size < 3:
        return
    features, centre, spread, weight = _by_feature(column, value)
    back = (
        subject.undone(centre, spread) if not subject.lead.ops or subject.lead.transform.shape in ((), (1,)) else None
    )
    points = subject.undone(value, np.ones(value.size)) if back is not None else None
    if back is None or points is None:
        return
    width = int(features.max()) + 1
    full = [np.full(width, fill, np.float64) for fill in (np.nan, np.nan, 0.0)]
    given = subject.moments()
    if given is not None and given[0].size > width:
        full = [np.full(given[0].size, fill, np.float64) for fill in (np.nan, np.nan, 0.0)]
    for whole, part in zip(full, (*back, weight), strict=True):
        whole[features] = part
    whole_numbers = float(np.mean(_halves(points[0])))
    scores = scored(subject, full[0], full[1], 0.8, points[0], full[2])
    if whole_numbers > 0.3 and np.ptp(points[0]) > 3:  # between two whole numbers, as in counts, ages and pixels
        for name in ("raw", "pixels"):
            scores[name] = scores.get(name, 0.0) + 4.0
    inside = [
        n
        for n, low, high in (("0 to 1", 0, 1), ("-1 to 1", -1, 1))
        if (points[0] >= low).all() and (points[0] <= high).all()
    ]
    more = f", all within {inside[0]}" if inside else ""
    more += f", {whole_numbers:.0%} of them half-way between whole numbers" if whole_numbers > 0.3 else ""
    says = (
        f"{value.size:,} thresholds on {features.size} feature(s): medians by feature from {back[0].min():.3g} to "
        f"{back[0].max():.3g}, the values from {points[0].min():.3g} to {points[0].max():.3g}{more}"
    )
    yield Evidence("thresholds", says, scores)


def _halves(values: Array) -> Array:
    doubled = values * 2
    return np.asarray((np.abs(doubled - np.round(doubled)) < 1e-4) & (np.abs(values) > 0.4))


def _by_feature(column: Array, value: Array) -> tuple[Array, Array, Array, Array]:
    """Features, and of each the median, a spread (from the quartiles, else from the pooled one), and a weight."""
    features = np.unique(column)
    parts = [value[column == f] for f in features]
    centre = np.array([np.median(p) for p in parts])
    size = np.array([p.size for p in parts])
    quartiles = np.array([np.subtract(*np.percentile(p, [75, 25])) for p in parts]) / IQR
    pooled = float(np.subtract(*np.percentile(value, [75, 25])) / IQR) or max(float(np.ptp(value)), 1e-6)
    typical = (
        float(np.median(quartiles[(size >= 3) & (quartiles > 0)])) if ((size >= 3) & (quartiles > 0)).any() else pooled
    )
    spread = np.where((size >= 3) & (quartiles > 0), quartiles, typical)
    return features, centre, spread, np.minimum(size, ENOUGH) / ENOUGH
