"""Columns in another order: the assignment of the sample's columns to the model's that makes the data most likely.

gain[j, k]: the log-likelihood ratio, over the cells of law j, of "column j of the data is what the model calls k" against "it is j".
To it comes what the correlations say: with W the inverse of the correlation matrix and S that of the sample, exchanging the columns a
and b of the sample gains n sum_l (W[a,l] - W[b,l]) (S[a,l] - S[b,l]), the log-likelihood ratio of normal rows of unit spread. A
permutation is split into its cycles, and a cycle must pay for itself: for each column that it moves, and for how badly
the columns that it leaves alone fit. Where all is drifting, nothing is called an exchange.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onnxscale.checking.assignment import assigned
from onnxscale.checking.fit import EVIDENCE, Fit, fitted
from onnxscale.checking.reference import WIDEST, Reference, log_ratios
from onnxscale.checking.sample import Sample
from onnxscale.step import Array

MOVED = 1.5  # what a moved column costs, in nats, besides the logarithm of how many there are
WEIGHT = 0.5  # of the correlations: rows are not normal
THRESHOLD = 5.0  # nats that a cycle must gain, of two columns among two
SIMPLER = 1.3  # how much more the assignment must gain than exchanges of two columns, one after the other
SMALL = 0.08  # share of the best cycle's gain below which another is chance beside it
WEAK = 2.0  # nats that one column of a cycle may lose
FITS = 6.0  # strain of columns where they go, up to which they fit
BETTER = 0.6  # share of another strain below which one is plainly better
FEWEST = 10  # rows that are not the commonest value, for a column's correlations to say anything
SUSPECTED = 1200  # columns that are compared with one another


@dataclass(frozen=True, eq=False)
class Order:
    """place: what the model calls the columns of the data, a permutation (F,). cycles: of those that moved. gain:
    nats. strain: how the data fits in this order, mean, worst: of those that moved. partial: whether more columns look
    out of place than are compared."""

    place: Array
    cycles: tuple[tuple[int, ...], ...]
    gain: float
    strain: float
    worst: float
    partial: bool = False


def rearranged(reference: Reference, sample: Sample, fit: Fit) -> Order | None:
    """The order that the data is in, or None where the model's own explains it as well."""
    columns = _suspected(reference, fit)
    if columns.size < 2:
        return None
    small = reference.ratios is not None and columns.size == reference.width
    ratios = reference.ratios if small else log_ratios(reference, columns)
    assert ratios is not None
    gain = _gains(reference, sample, fit, columns, ratios)
    bound = _bond(reference, sample, columns)
    start = np.arange(columns.size)
    cost = MOVED + float(np.log(columns.size))
    if gain.max() <= cost and (bound is None or columns.size < 3):
        return None
    rule = _Rule(reference, sample, fit, columns, gain, bound, cost)
    best = assigned(gain - cost * (1 - np.eye(columns.size)))
    if columns.size > WIDEST:  # so many columns are not exchanged one pair after the other
        kept = _proven(rule, best)
    else:
        kept = _proven(rule, _climbed(start, gain, bound, cost))
        other = _proven(rule, _climbed(best, gain, bound, cost))
        if sum(p for _, p, _ in other) > SIMPLER * sum(p for _, p, _ in kept) + 2 * cost:
            kept = other
    if not kept:
        return None
    final = start.copy()
    for cycle, _, to in kept:
        final[list(cycle)] = list(to)
    moved = np.arange(reference.width)
    moved[columns] = columns[final]
    strain = _strain(reference, sample, fit, columns, final)
    inside = np.array([j for c, _, _ in kept for j in c])
    return Order(
        moved, tuple(tuple(columns[list(c)].tolist()) for c, _, _ in kept), float(sum(p for _, p, _ in kept)),
        float(np.nanmean(strain)), float(np.nanmean(strain[np.isin(columns, columns[inside])])),
        reference.width > WIDEST and columns.size == SUSPECTED,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Rule:
    reference: Reference
    sample: Sample
    fit: Fit
    columns: Array
    gain: Array
    bond: tuple[Array, Array] | None
    cost: float


def _proven(rule: _Rule, place: Array) -> list[tuple[tuple[int, ...], float, tuple[int, ...]]]:
    """The cycles that pay for themselves: columns, nats, where they go. Of a longer cycle that does not, the exchange
    in it that does."""
    kept = []
    count = rule.columns.size
    need = THRESHOLD + 0.5 * float(np.log(max(count * (count - 1) / 2, 1)))
    ease = max(1.0, float(np.nanmean(_strain(rule.reference, rule.sample, rule.fit, rule.columns, place))))
    for cycle in _cycles(place):
        back = place.copy()
        back[list(cycle)] = list(cycle)
        found = []
        for to in _readings(rule, place, cycle):
            there = back.copy()
            there[list(to)] = list(to.values())
            paid = _total(there, rule.gain, rule.bond, rule.cost) - _total(back, rule.gain, rule.bond, rule.cost)
            weakest = min(float(rule.gain[j, k]) for j, k in to.items())
            needed = (need + rule.cost * (len(to) - 2)) * ease**2
            if weakest > -WEAK and paid > needed and _fits(rule, to):
                found.append((tuple(to), paid, tuple(to.values())))
        if found:
            # what the exchange of two explains nearly as well is one, if the others of the cycle fit where they are
            whole, last = found[0], found[-1]
            nearly = whole[1] < SIMPLER * last[1] + need
            rest, every = (_misfit(rule, cycle, dict(zip(f[0], f[2], strict=True))) for f in (last, whole))
            kept.append(last if nearly and not (rest > FITS and every < BETTER * rest) else whole)
    best = max((paid for _, paid, _ in kept), default=0.0)
    return [k for k in kept if k[1] > SMALL * best]


def _fits(rule: _Rule, to: dict[int, int]) -> bool:
    """Whether the columns fit where they go, or plainly better than where they were: what has left its law for no other, as counts do
    that were moved by a fraction, is likelier anywhere else and still belongs nowhere."""
    return _misfit(rule, to, to) < max(FITS, BETTER * float(np.nanmean(rule.fit.strain[rule.columns[list(to)]])))


def _misfit(rule: _Rule, columns: Iterable[int], to: dict[int, int]) -> float:
    """The mean strain of these columns where they go; the others of them stay."""
    pairs = [(j, to.get(j, j)) for j in columns]
    mine, theirs = (rule.columns[list(c)] for c in zip(*pairs, strict=True))
    return float(np.nanmean(fitted(rule.reference, rule.sample, mine, theirs).strain))


def _readings(rule: _Rule, place: Array, cycle: tuple[int, ...]) -> list[dict[int, int]]:
    found = [{j: int(place[j]) for j in cycle}]
    if len(cycle) > 2:
        inside = np.array(cycle)
        both = rule.gain[np.ix_(inside, inside)]
        both = both + both.T
        np.fill_diagonal(both, -np.inf)
        a, b = np.unravel_index(int(np.argmax(both)), both.shape)
        found.append({cycle[a]: cycle[b], cycle[b]: cycle[a]})
    return found


def _gains(reference: Reference, sample: Sample, fit: Fit, columns: Array, ratios: Array) -> Array:
    """(n, n): the ratio over the cells of law j, and over those of law k, their mean: outside the range of one law, only the
    other tells."""
    own = np.einsum("jc,jkc->jk", fit.counts[columns], ratios)
    edges = reference.cells.edges[columns]
    other = np.empty_like(own)
    for i, j in enumerate(columns.tolist()):
        n = int(sample.kept[j])
        if not n:
            other[i] = 0.0
            continue
        share = np.searchsorted(sample.ordered[:n, j], edges.ravel(), side="right").reshape(edges.shape) / n
        counts = np.diff(share, axis=1, prepend=0.0, append=1.0) * fit.rows[j]
        other[i] = -np.einsum("kc,kc->k", counts, ratios[:, i])
    return np.asarray((own + other) / 2)


def _suspected(reference: Reference, fit: Fit) -> Array:
    columns = (
        np.flatnonzero(np.isfinite(fit.strain) & reference.varied)
        if reference.width > WIDEST
        else np.arange(reference.width)
    )
    if reference.width <= WIDEST:
        return columns
    columns = columns[fit.strain[columns] > 6.0]
    return np.sort(columns[np.argsort(-fit.strain[columns])[:SUSPECTED]])


def _bond(reference: Reference, sample: Sample, columns: Array) -> tuple[Array, Array] | None:
    """The inverse correlations of the training data, and the sample's correlations times its rows."""
    if reference.precision is None or columns.size != reference.width:
        return None
    x = sample.finite
    rare = (x != _commonest(sample)).sum(axis=0) - (len(x) - sample.kept) < FEWEST
    x = x[:, ~rare]
    with np.errstate(all="ignore"):
        x = x - np.nanmean(x, axis=0)
        x = np.nan_to_num(x / np.sqrt(np.nanmean(x * x, axis=0)))
    rows = min(len(x), EVIDENCE)
    trained = float(np.median(reference.rows))
    told = np.ix_(~rare, ~rare)
    precision, seen = np.eye(len(rare)), np.zeros(reference.precision.shape)
    precision[told] = reference.precision[told]
    seen[told] = (x.T @ x) / max(len(x), 1) * rows / (1 + rows / trained) * WEIGHT
    return precision, seen


def _commonest(sample: Sample) -> Array:
    """The middle value of each column, which a column of hardly more than one value has nearly always, (F,)."""
    middle: Array = sample.ordered[np.maximum(sample.kept // 2, 0), np.arange(sample.kept.size)]
    return middle


def _total(place: Array, gain: Array, bond: tuple[Array, Array] | None, cost: float) -> float:
    every = np.arange(place.size)
    total = float(gain[every, place].sum()) - cost * float((place != every).sum())
    if bond is not None:
        at = np.argsort(place)
        precision, seen = bond
        total += 0.5 * float((precision * seen).sum() - (precision * seen[np.ix_(at, at)]).sum())
    return total


def _climbed(place: Array, gain: Array, bond: tuple[Array, Array] | None, cost: float) -> Array:
    """Exchanges of two columns, the best first, while one gains."""
    place = place.copy()
    for _ in range(2 * place.size):
        at = np.argsort(place)  # at[a]: the data's column that stands for the model's a
        here = gain[at]  # (model's a, model's b): what it gains as b
        own = np.diag(here)
        step = here + here.T - own[:, None] - own[None, :]
        stays = (at == np.arange(at.size)).astype(np.float64)
        comes = (at[:, None] == np.arange(at.size)[None, :]).astype(np.float64)
        step -= cost * (stays[:, None] + stays[None, :] - comes - comes.T)
        if bond is not None:
            precision, seen = bond
            seen = seen[np.ix_(at, at)]
            a = precision @ seen
            d = np.diag(a)
            step += d[:, None] + d[None, :] - a - a.T
            p, s = np.diag(precision), np.diag(seen)
            step -= (p[:, None] - precision) * (s[:, None] - seen) + (p[None, :] - precision) * (s[None, :] - seen)
        np.fill_diagonal(step, 0.0)
        first, second = np.unravel_index(int(np.argmax(step)), step.shape)
        if step[first, second] <= 1e-9:
            break
        place[at[first]], place[at[second]] = second, first
    return place


def _cycles(place: Array) -> list[tuple[int, ...]]:
    left = set(np.flatnonzero(place != np.arange(place.size)).tolist())
    found = []
    while left:
        start = min(left)
        cycle, j = [], start
        while j in left:
            left.remove(j)
            cycle.append(j)
            j = int(place[j])
        found.append(tuple(cycle))
    return found


def _strain(reference: Reference, sample: Sample, fit: Fit, columns: Array, place: Array) -> Array:
    strain: Array = fit.strain[columns].copy()
    moved = np.flatnonzero(place != np.arange(place.size))
    if moved.size:
        strain[moved] = fitted(reference, sample, columns[moved], columns[place[moved]]).strain
    return strain
