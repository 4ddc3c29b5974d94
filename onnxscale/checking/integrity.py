"""What broke on its way: columns that hold nothing, one value, or a number that stands for nothing.

Broken beyond doubt is a verdict. What only looks odd (more nulls than in training, fractions where there were whole
numbers, values far beyond the range) is a warning: measured as verdicts, these alarmed on 5 to 17 % of good samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnxscale.checking.laws import CLOSE
from onnxscale.checking.reference import Reference
from onnxscale.checking.result import Warned
from onnxscale.checking.sample import Sample
from onnxscale.step import Array

SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, -999999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, -32768.0,
32767.0, 65535.0, 2147483647.0, -2147483648.0, 1e20, -1e20, 1e30, -1e30, 1e10, -1e10, 0.0)  # fmt: skip
SURE = 1e-6  # the chance of it in good data, below which it is broken
OFTEN = 0.5  # share of the training rows of one value, from which that value alone may be drift
FEW = 12  # so many values at most: a flag, a site, a month, of which one alone may be drift too
FILLED = 0.3  # share of a column that is missing and was not, to be broken
STANDING = 0.03  # share of a column that is one sentinel
FAR = 20.0  # ranges beyond the range


@dataclass(frozen=True, eq=False)
class Broken:
    """missing, constant, sentinel: columns that are broken so, with a word on each. warnings: the rest."""

    missing: dict[int, str] = field(default_factory=dict)
    constant: dict[int, str] = field(default_factory=dict)
    sentinel: dict[int, str] = field(default_factory=dict)
    warnings: tuple[Warned, ...] = ()

    @property
    def columns(self) -> Array:
        return np.array(sorted({*self.missing, *self.constant, *self.sentinel}), dtype=np.int64)


def broken(reference: Reference, sample: Sample, name: list[str]) -> Broken:
    """What is broken, with the columns' names for the words."""
    n = max(sample.seen, 1)
    gone = 1 - sample.count / n
    usual = np.zeros(reference.width) if reference.missing is None else reference.missing
    found = Broken()
    warned: list[Warned] = []
    bound = (
        usual
        + 4 * np.sqrt(np.maximum(usual * (1 - usual), 1 / max(float(reference.rows.max(initial=1)), 1)) / n)
        + 1 / n
    )
    lost = gone > np.maximum(usual + FILLED, bound)
    for j in np.flatnonzero(lost):
        found.missing[int(j)] = f"{gone[j]:.0%} of the rows have no number (training: {usual[j]:.1%})"
    for j in np.flatnonzero((gone > bound) & ~lost):
        warned.append(
            Warned("missing", name[j], f"{gone[j]:.2%} of the rows have no number (training: {usual[j]:.2%})")
        )
    if reference.measured:
        constant, still = _constant(reference, sample)
        found.constant.update(constant)
        warned += [Warned("constant", name[j], word) for j, word in still.items()]
        for j in np.flatnonzero((sample.low < reference.low) | (sample.high > reference.high)):
            said, sure = _standing(reference, sample, int(j))
            if said and sure and int(j) not in found.constant:
                found.sentinel[int(j)] = said
            elif said and int(j) not in found.constant:
                warned.append(Warned("sentinel", name[j], said))
        whole = reference.integral
        if whole is not None:
            rows = sample.finite
            with np.errstate(all="ignore"):
                fractions = (
                    np.nanmean(np.where(np.isnan(rows), np.nan, rows != np.round(rows)), axis=0) if len(rows) else usual
                )
            for j in np.flatnonzero(whole & (np.nan_to_num(fractions) > 0) & reference.varied):
                warned.append(
                    Warned(
                        "fractions",
                        name[j],
                        f"{fractions[j]:.1%} of the values are no whole numbers (training: all are)",
                    )
                )
    span = np.maximum(reference.high - reference.low, 1e-300)
    with np.errstate(all="ignore"):
        out = np.fmax((reference.low - sample.low) / span, (sample.high - reference.high) / span)
    for j in np.flatnonzero((np.nan_to_num(out) > FAR) & reference.varied):
        if int(j) not in found.sentinel and not any(w.rule == "sentinel" and w.column == name[j] for w in warned):
            warned.append(
                Warned(
                    "range",
                    name[j],
                    f"{sample.low[j]:g} to {sample.high[j]:g} (training: {reference.low[j]:g} to {reference.high[j]:g})",
                )
            )
    return Broken(found.missing, found.constant, found.sentinel, tuple(warned))


def _constant(reference: Reference, sample: Sample) -> tuple[dict[int, str], dict[int, str]]:
    """Columns of one value that had more beyond doubt; apart those that mostly had this value, or have few values of which this
    is one: the rows of one site, or those with one answer, do that too."""
    points = reference.law.points
    steps = np.diff(reference.law.cdf, axis=1)
    at = steps.argmax(axis=1)
    columns = np.arange(reference.width)
    step = steps[columns, at]
    low, high = points[columns, at], points[columns, at + 1]
    usual = (step > OFTEN) & (sample.low >= low) & (sample.low <= high)
    near = CLOSE * np.maximum(np.ptp(points, axis=1), np.abs(points).max(axis=1))
    for j in np.flatnonzero(~usual & (sample.low == sample.high)):
        values = points[j][np.diff(points[j], prepend=-np.inf) > 4 * near[j]]
        usual[j] = len(values) <= FEW and bool((np.abs(points[j] - sample.low[j]) <= 4 * near[j]).any())
    chance = np.where(sample.kept > 0, np.clip(step + 1 / 64, 0, 1) ** sample.kept, 1.0)
    found: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for j in np.flatnonzero((sample.low == sample.high) & reference.varied & (chance < SURE)):
        word = f"every value is {sample.low[j]:g} (training: {reference.low[j]:g} to {reference.high[j]:g})"
        found[int(usual[j])][int(j)] = word
    return found


def _standing(reference: Reference, sample: Sample, j: int) -> tuple[str, bool]:
    """A usual sentinel outside the range of the training data, in words, and whether it is beyond doubt: many rows have it, or two
    where it lies farther away than the range is wide."""
    values = sample.ordered[: int(sample.kept[j]), j]
    low, high = reference.low[j], reference.high[j]
    for s in SENTINELS:
        if low <= s <= high:
            continue
        near = np.float64(np.float32(s))
        count = int(((values == s) | (values == near)).sum())
        others = values[(values != s) & (values != near)]
        outside = int(((others < low) | (others > high)).sum())
        if not count or count == values.size or outside > max(0.05 * values.size, 1):
            continue
        away = max(low - s, s - high) > high - low
        sure = count >= max(2 if away else 3, STANDING * values.size)
        if sure or away:
            return (
                f"{count / values.size:.{0 if sure else 2}%} of the values are {s:g} (training: {low:g} to {high:g})",
                sure,
            )
    return "", False
