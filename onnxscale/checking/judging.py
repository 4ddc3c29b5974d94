"""From what was measured to one verdict: broken columns, one story for all, another order, a function on some, drift, or as expected.

What explains the most comes first: data that was scaled already also looks drifted. Every verdict has its words here, in one table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnxscale.checking import channels, integrity, order, stories, units
from onnxscale.checking import drift as drifting
from onnxscale.checking import fit as fitting
from onnxscale.checking.reference import Reference
from onnxscale.checking.result import Check, Column
from onnxscale.checking.sample import Sample
from onnxscale.step import Array

FEWEST = 32  # rows
FAR = 0.5  # distance of data that no hypothesis explains from a law that is only guessed
LOOSE = 0.2  # distance that a story leaves where it is no exact one
ORDERLY = 2.0  # strain up to which another order explains all: 1 by chance
PLAINLY = 0.8  # share of what another order leaves unexplained
SAME = 1e-6  # distances of one function in two guises
LISTED = 50  # columns that a result names
ORDERS = ("permuted", "exchanged")
USUAL = ("z-scored", "min-maxed", "minus-one-one", "robust-scaled")

WORDS = {
    "as expected": ("the data is what the model expects", ""),
    "drift": (
        "the data has moved, and no known mistake explains it: {count} of {width} columns",
        "look at the columns below in what feeds the model; if the world has changed, fit again",
    ),
    "z-scored": ("the data is already z-scored: {how}", "feed raw values; the model scales them itself"),
    "min-maxed": ("the data is already min-maxed: {how}", "feed raw values; the model scales them itself"),
    "minus-one-one": ("the data is already scaled to [-1, 1]: {how}", "feed raw values; the model scales them itself"),
    "robust-scaled": ("the data is already robust-scaled: {how}", "feed raw values; the model scales them itself"),
    "scaled": ("the data is already scaled by {how}", "feed raw values; the model scales them itself"),
    "half-scaled": ("a part of the scaling was already done: {how}", "feed raw values; the model does all of it itself"),
    "twice": ("the data was scaled twice before it came: {how}", "feed raw values; the model scales them itself, once"),
    "x255": (
        "the values are 255 times too large; dividing by 255 was forgotten, or multiplying by it was done",
        "feed values as at training: divide by 255",
    ),
    "/255": (
        "the values are 255 times too small; they were divided by 255 already",
        "feed values as at training: do not divide by 255",
    ),
    "log-taken": ("a logarithm was taken that the training data had not: {how}", "feed the values themselves; undo the logarithm"),
    "log-not-taken": ("the training data was logarithms, this is not: {how}", "take the logarithm before the model, as at training"),
    "permuted": (
        "the columns are in another order: {count} of {width} moved",
        "put the columns in the order of the model's features (listed below)",
    ),
    "exchanged": ("two columns are exchanged: {pair}", "exchange them back"),
    "bgr": ("the channels are BGR, the model expects RGB", "reverse the channels of every picture"),
    "unit": ("another unit on some columns: {units}", "convert these columns to the unit of the training data"),
    "other-statistics": (
        "the data fits {file} better than the statistics of this model",
        "check which model, or which statistics, belongs to this data",
    ),
    "missing": ("columns arrive without numbers: {broken}", "find where these columns are lost, such as a join or a renamed field"),
    "constant": ("columns arrive with one value: {broken}", "find where these columns are filled with a constant"),
    "sentinel": ("columns hold a number that stands for nothing: {broken}", "make these values null, or fill them as at training"),
}  # fmt: skip
LOCAL = "an order of columns, an exchange, a unit or a logarithm on some columns, drift: these need quantiles in the model, and rows"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured of a sample, once."""

    reference: Reference
    sample: Sample
    names: list[str]
    broken: integrity.Broken
    drift: drifting.Drift


def judged(reference: Reference, sample: Sample) -> Check:
    """The verdict on a sample of the same number of columns."""
    names = list(reference.features) or [f"column {j}" for j in range(reference.width)]
    base = Check("cannot tell", "", rows=sample.seen, used=len(sample.rows), width=reference.width)
    if sample.seen < FEWEST:
        return replace(
            base,
            story=f"{sample.seen} rows are too few to say anything; at least {FEWEST} are needed",
            todo="check more rows at once",
        )
    if not reference.varied.any():
        return replace(
            base, story="every column of the training data was constant: nothing can be told", untested=("everything",)
        )
    broken = integrity.broken(reference, sample, names) if sample.real else integrity.Broken()
    whole = _without(sample, broken.columns)
    seen = Evidence(reference, whole, names, broken, drifting.drift(reference, whole))
    enough = whole.kept >= FEWEST
    if not (enough & reference.varied).any():
        if broken.columns.size:
            return _broken(seen, base)
        return replace(base, story=f"no column has {FEWEST} numbers or more", todo="check more rows at once")
    asked = stories.questions(reference)
    tested = tuple(dict.fromkeys(a.hypothesis.verdict for a in asked.asked))
    untold = tuple(f"{v}: on this data it would change nothing that shows" for v in asked.untold)
    base = replace(base, tested=tested, untested=untold, warnings=broken.warnings)
    if told := stories.best(asked, whole):
        better = _order_instead(reference, whole, told[0])
        return _moved(seen, better, replace(base, tested=(*tested, *ORDERS))) if better else _story(seen, told, base)
    if not reference.measured or not sample.real:
        return _guessed(seen, asked, replace(base, untested=(*untold, LOCAL)))
    base = replace(base, tested=(*tested, *ORDERS, "unit", "drift"))
    fit = fitting.fitted(reference, whole)
    moved = order.rearranged(reference, whole, fit)
    if moved is None and (evidence := channels.turned(reference, whole)):
        return _turned(seen, evidence, base)
    other, ease = units.converted(reference, whole, fit)
    if moved is not None and not (other and _explains_more(fit, other, moved)):
        return _moved(seen, moved, base)
    if other:
        return _converted(seen, other, ease, base)
    if broken.columns.size:
        return _broken(seen, base)
    if seen.drift.drifted.any():
        return _drifted(seen, base)
    return _said(
        replace(base, verdict="as expected", evidence={"largest distance": float(np.nanmax(seen.drift.distance))}),
        columns=(),
    )


def _order_instead(reference: Reference, sample: Sample, told: stories.Story) -> order.Order | None:
    """The order that leaves nothing unexplained, where the story leaves much: a column of returns near zero that arrives as
    the year looks z-scored."""
    if told.after < LOOSE or not reference.measured or not sample.real:
        return None
    moved = order.rearranged(reference, sample, fitting.fitted(reference, sample))
    return moved if moved is not None and max(moved.strain, moved.worst) < ORDERLY else None


def _without(sample: Sample, columns: Array) -> Sample:
    """The sample with NaN for columns that are broken: they say nothing about the others."""
    if not columns.size:
        return sample
    rows = sample.rows.copy()
    rows[:, columns] = np.nan
    return replace(sample, rows=rows)


def _explains_more(fit: fitting.Fit, other: list[units.Converted], moved: order.Order) -> bool:
    """Whether functions on columns leave clearly less unexplained than the other order does, which never needs two of them."""
    inside = {j for cycle in moved.cycles for j in cycle}
    if len(other) > 1 and {c.column for c in other} <= inside:
        return False
    strain = fit.strain.copy()
    for c in other:
        strain[c.column] = c.strain
    return float(np.nanmean(strain)) < PLAINLY * moved.strain


def _said(check: Check, columns: tuple[Column, ...], **words: object) -> Check:
    story, todo = WORDS[check.verdict]
    return replace(check, story=story.format(width=check.width, **words), todo=todo, columns=columns)


def _story(seen: Evidence, told: list[stories.Story], base: Check) -> Check:
    first = told[0]
    verdict = first.hypothesis.verdict
    same = [s for s in told if s.after < first.after + 0.02]
    if verdict == "scaled":  # by the name of the kind, where the model's own scaler is one of the usual ones
        usual = min(
            (s for s in same if s.hypothesis.verdict in USUAL), key=lambda s: abs(s.after - first.after), default=None
        )
        verdict = usual.hypothesis.verdict if usual else verdict
    how = first.hypothesis.how
    if verdict == "half-scaled" or seen.reference.channels:  # pixels from 0 to 255: the range is the factor
        factor = next((s for s in same if s.hypothesis.verdict in ("/255", "x255")), None)
        if factor and (verdict == "half-scaled" or abs(factor.after - first.after) < SAME):
            verdict = factor.hypothesis.verdict
    quiet = (verdict, first.hypothesis.verdict, "scaled", "half-scaled")
    also = tuple(dict.fromkeys(s.hypothesis.verdict for s in same if s.hypothesis.verdict not in quiet))
    evidence = {
        "distance read raw": first.before,
        "distance read so": first.after,
        "columns that tell": float(first.columns),
    }
    worst = np.argsort(-np.nan_to_num(seen.drift.distance))[:LISTED]
    return _said(
        replace(base, verdict=verdict, evidence=evidence, also=also, warnings=()), _columns(seen, worst), how=how
    )


def _guessed(seen: Evidence, asked: stories.Questions, base: Check) -> Check:
    """No story holds, and the law is only a guess: near it is as expected, far from it nobody knows."""
    distance = seen.drift.distance[asked.columns]
    mean = float(np.nanmean(distance))
    evidence = {"mean distance": mean}
    if seen.broken.columns.size:
        return _broken(seen, replace(base, evidence=evidence))
    if not asked.asked:
        return replace(base, story="nothing that is known would show on this data", evidence=evidence)
    if mean > FAR:
        story = "the data is far from the mean and the spread that the model knows, and no known mistake explains it"
        todo = "fit statistics with quantiles (onnxscale fit), bake them, and check again"
        return replace(base, story=story, todo=todo, evidence=evidence)
    return _said(replace(base, verdict="as expected", evidence=evidence), ())


def _moved(seen: Evidence, moved: order.Order, base: Check) -> Check:
    columns = np.array([j for cycle in moved.cycles for j in cycle])
    base = _explained(seen, columns, base)
    evidence = {"gain in nats": moved.gain, "strain as it would be": moved.strain}
    said = {int(j): f"holds what the model calls {seen.names[int(moved.place[j])]}" for j in columns}
    if columns.size == 2:
        a, b = sorted(columns.tolist())
        bgr = seen.reference.channels and seen.reference.width in (3, 4) and (a, b) == (0, 2)
        check = replace(base, verdict="bgr" if bgr else "exchanged", evidence=evidence)
        return _said(check, _columns(seen, columns, said), pair=f"{seen.names[a]} and {seen.names[b]}")
    check = replace(base, verdict="permuted", evidence=evidence)
    return _said(
        check,
        _columns(seen, columns[:LISTED], said),
        count=f"at least {columns.size}" if moved.partial else columns.size,
    )


def _turned(seen: Evidence, evidence: dict[str, float], base: Check) -> Check:
    first, last = channels.ENDS
    said = {a: f"holds what the model calls {seen.names[b]}" for a, b in ((first, last), (last, first))}
    return _said(replace(base, verdict="bgr", evidence=evidence), _columns(seen, np.array(channels.ENDS), said))


def _converted(seen: Evidence, other: list[units.Converted], ease: float, base: Check) -> Check:
    verdicts = [c.unit.verdict for c in other]
    verdict = max(dict.fromkeys(verdicts), key=verdicts.count)
    said = {c.column: f"the values are {c.unit.words}" for c in other}
    evidence = {"gain in nats": float(sum(c.gain for c in other)), "strain of the others": ease}
    words = "; ".join(f"{seen.names[c.column]}: {c.unit.words}" for c in other[:5]) + (
        "; ..." if len(other) > 5 else ""
    )
    columns = np.array([c.column for c in other])
    base = _explained(seen, columns, base)
    return _said(
        replace(base, verdict=verdict, evidence=evidence), _columns(seen, columns, said), units=words, how=words
    )


def _explained(seen: Evidence, columns: Array, base: Check) -> Check:
    """Without the warnings that the verdict explains."""
    told = {seen.names[j] for j in columns.tolist()}
    return replace(base, warnings=tuple(w for w in base.warnings if w.column not in told))


def _broken(seen: Evidence, base: Check) -> Check:
    parts = {"missing": seen.broken.missing, "constant": seen.broken.constant, "sentinel": seen.broken.sentinel}
    verdict = max(parts, key=lambda k: len(parts[k]))
    said = {j: word for part in parts.values() for j, word in part.items()}
    first = parts[verdict]
    words = "; ".join(f"{seen.names[j]}: {word}" for j, word in list(first.items())[:3]) + (
        "; ..." if len(first) > 3 else ""
    )
    also = tuple(k for k, v in parts.items() if v and k != verdict)
    check = replace(
        base, verdict=verdict, also=also, evidence={"columns": float(len(said))}, warnings=seen.broken.warnings
    )
    return _said(check, _columns(seen, np.array(sorted(said))[:LISTED], said), broken=words)


def _drifted(seen: Evidence, base: Check) -> Check:
    columns = np.flatnonzero(seen.drift.drifted)
    columns = columns[np.argsort(-seen.drift.distance[columns])]
    said = {int(j): f"moved by {seen.drift.shift[j]:+.2f} sigma" for j in columns if np.isfinite(seen.drift.shift[j])}
    evidence = {"largest distance": float(seen.drift.distance[columns[0]]), "columns": float(columns.size)}
    return _said(
        replace(base, verdict="drift", evidence=evidence), _columns(seen, columns[:LISTED], said), count=columns.size
    )


def _columns(seen: Evidence, columns: Array, said: dict[int, str] | None = None) -> tuple[Column, ...]:
    d, r, s = seen.drift, seen.reference, seen.sample

    def number(values: Array, j: int) -> float | None:
        return float(values[j]) if np.isfinite(values[j]) else None

    return tuple(
        Column(
            seen.names[j], j, (said or {}).get(j, ""), number(r.mean, j), number(s.mean, j), number(r.std, j), number(s.std, j),
            number(d.shift, j), number(d.distance, j), number(d.limit, j), number(d.psi, j),
        )
        for j in map(int, columns)
    )  # fmt: skip
