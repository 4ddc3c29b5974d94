"""Exact quantiles of columns of any length, from a few scans in bounded memory; of shards, by rounds that add.

    first = [t for _, t in counted(scan, [None] * width)]       on every shard; then `merged` with the others'
    searches = wanted(first, asks)                              the ranks, and how far the first round knows them
    while pending(searches): searches = advanced(searches, dict(counted(scan, searches)))       on every shard, merged
    answers(asks, searches)                                     or `approximate(first, ask)` with the first round alone

A scan is a function of the numbers of columns: it starts over, and yields batches of just these, each an array of (n, columns) or
a list of one array a column, float32 or float64, NaN where a value is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.fitting.ahead import ahead
from onnxscale.fitting.radix import FEW, FLOAT, Search, Tally, begin, estimated, narrowed, next_round
from onnxscale.step import Array

Scan = Callable[[Sequence[int]], Iterable[Array | Sequence[Array]]]
MEMORY = 160_000_000  # bytes of counts at a time; where a round needs more, it scans groups of columns
MOST = 3  # such groups; where there were more, a round counts 8 bits, and there is one round more
_BITS = {np.dtype(kind): bits for bits, kind in FLOAT.items()}
METHODS = ("inverted_cdf", "linear")


@dataclass(frozen=True, eq=False)
class Asked:
    """probabilities: from 0 to 1, float64 of (Q,). method, in the words of numpy.quantile: "inverted_cdf", the smallest value
    that at least this share of the values reaches no further than, or "linear", between two neighbours (definitions 1 and 7 of
    Hyndman and Fan, 1996)."""

    probabilities: Array
    method: str = "inverted_cdf"

    def __post_init__(self) -> None:
        given = np.asarray(self.probabilities, np.float64).reshape(-1)
        if self.method not in METHODS or not ((given >= 0) & (given <= 1)).all():
            raise StatisticsError(
                f"quantiles: expected probabilities from 0 to 1 and a method of {', '.join(METHODS)}; got {self.method!r} of "
                f"{given.tolist()[:8]}"
            )
        object.__setattr__(self, "probabilities", given)

    def neighbours(self, count: int) -> tuple[Array, Array, Array]:
        """Of `count` values, the ranks from 0 below and above each quantile, int64 of (Q,), and the share of the upper one.
        The expressions are numpy's, so that rounding puts no quantile elsewhere."""
        if self.method == "linear":
            at = (count - 1) * self.probabilities
            below = np.floor(at)
            return below.astype(np.int64), np.minimum(below + 1, count - 1).astype(np.int64), at - below
        rank = np.maximum(np.ceil(count * self.probabilities - 1), 0).astype(np.int64)
        return rank, rank, np.zeros(len(rank))


def quantiles(scan: Scan, width: int, *asks: Asked, tell: Callable[[int], None] = lambda rows: None) -> list[Array]:
    """For each ask the exact quantiles of every column, float64 of (width, Q); NaN where a column has no finite value.

    tell: called with the rows of each batch. Raises StatisticsError where a column changes its dtype on the way.
    """
    searches = [_begun(asks, tally) for _, tally in counted(scan, [None] * width, tell)]
    while pending(searches):
        for i, tally in counted(scan, searches, tell):
            searches[i] = narrowed(searches[i], tally)
    return answers(asks, searches)


def counted(
    scan: Scan, searches: Sequence[Search | None], tell: Callable[[int], None] = lambda rows: None
) -> Iterator[tuple[int, Tally]]:
    """One round: the number of each column that is not done, in order, and what its search asks next, or the first round where
    that is None. One scan, or as many as the counts have groups of MEMORY bytes; only those of one are held here."""
    left = {i: s for i, s in enumerate(searches) if s is None or not s.done}
    prefixes = {i: 1 if s is None else len(np.unique(s.prefixes)) for i, s in left.items()}
    digit = 16 if sum(map(_cost, prefixes.values())) <= MOST * MEMORY else 8
    for group in _groups({i: _cost(n, digit) for i, n in prefixes.items()}):
        tallies = [Tally(32) if (s := left[i]) is None else next_round(s, digit) for i in group]
        for batch in ahead(scan(group)):
            columns = list(batch.T) if isinstance(batch, np.ndarray) else batch
            tallies = [_taken(t, c, i) for t, c, i in zip(tallies, columns, group, strict=True)]
            tell(len(columns[0]))
        while group:
            yield group.pop(0), tallies.pop(0)


def _taken(tally: Tally, column: Array, number: int) -> Tally:
    bits = _BITS.get(column.dtype, 64)
    if bits > tally.bits:
        if tally.held or tally.nonfinite or tally.depth:
            raise StatisticsError(
                f"column {number} was float32 in earlier batches and is {column.dtype} in this one: cast it"
            )
        tally = Tally(bits)
    tally.take(column)
    return tally


def _cost(prefixes: int, digit: int = 16) -> int:
    """Bytes that a column may take in a round: of values that are kept, and of counts."""
    return 8 * FEW + 4 * prefixes * (1 << (digit if prefixes > 1 else 16))


def _groups(costs: Mapping[int, int]) -> Iterator[list[int]]:
    """Numbers of columns, so many at a time as MEMORY holds."""
    group: list[int] = []
    used = 0
    for number, cost in costs.items():
        if group and used + cost > MEMORY:
            yield group
            group, used = [], 0
        group.append(number)
        used += cost
    if group:
        yield group


def merged(mine: Sequence[Tally], *others: Sequence[Tally]) -> list[Tally]:
    """The counts of several shards as one; `mine` takes them in. Raises StatisticsError where they are of different rounds."""
    for other in others:
        for tally, more in zip(mine, other, strict=True):
            tally.add(more)
    return list(mine)


def wanted(first: Sequence[Tally], asks: Sequence[Asked]) -> list[Search]:
    """The searches for all the order statistics that the asks need, after the first round, of every column."""
    return [_begun(asks, tally) for tally in first]


def _begun(asks: Sequence[Asked], tally: Tally) -> Search:
    return begin(tally, _ranks(asks, tally.held))


def _ranks(asks: Sequence[Asked], count: int) -> Array:
    if count == 0:
        return np.zeros(0, np.int64)
    found: Array = np.unique(np.concatenate([np.concatenate(a.neighbours(count)[:2]) for a in asks]))
    return found


def pending(searches: Sequence[Search]) -> bool:
    """Whether another round is needed."""
    return not all(s.done for s in searches)


def advanced(searches: Sequence[Search], tallies: Mapping[int, Tally]) -> list[Search]:
    """The searches after a round, whose tallies are those of all shards."""
    return [narrowed(search, tallies[i]) if i in tallies else search for i, search in enumerate(searches)]


def answers(asks: Sequence[Asked], searches: Sequence[Search]) -> list[Array]:
    """The quantiles, float64 of (width, Q) for each ask, once no search is pending."""
    return [np.stack([_between(a, asks, s.count, s.values) for s in searches]) for a in asks]


def _between(ask: Asked, asks: Sequence[Asked], count: int, values: Array) -> Array:
    if count == 0:
        return np.full(len(ask.probabilities), np.nan)
    ranks = _ranks(asks, count)
    below, above, share = ask.neighbours(count)
    low, high = values[np.searchsorted(ranks, below)], values[np.searchsorted(ranks, above)]
    if ask.method == "inverted_cdf":
        return low
    with np.errstate(over="ignore", invalid="ignore"):
        # as numpy.quantile interpolates: from the nearer side, so that the result never leaves the interval
        found: Array = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    return np.where(low == high, low, found)


def approximate(first: Sequence[Tally], ask: Asked) -> tuple[Array, Array]:
    """What the first round alone says of the quantiles: values, float64 of (width, Q), and a bound of the error of each one's
    rank as a share of the values, float64 of (width, Q); both NaN where a column has no finite value."""
    found, errors = (np.full((len(first), len(ask.probabilities)), np.nan) for _ in range(2))
    for i, tally in enumerate(first):
        if tally.held:
            values, off = estimated(tally, ask.neighbours(tally.held)[0])
            found[i], errors[i] = values, off / tally.held
    return found, errors
