"""Order statistics by counting bits: exact, mergeable, in bounded memory.

The bit pattern of an IEEE 754 number, with all bits turned where the sign is set and the sign bit set where not, is an unsigned
integer in the order of the numbers (M. Herf, Radix Tricks, 2001). A round counts the next 16 bits (or 8, in little memory) of these
keys among the values that begin as the wanted ones are known to; counts of shards add. float32 takes two rounds of 16 bits, float64
four, fewer where all lower bits are zero (whole numbers, float64 that was float32) or where few values are left: those are kept as
they are. -0.0 lies next to 0.0 and reads back as 0.0. NaN and infinities have keys at both ends: they are counted, and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.step import Array

BUCKETS = 1 << 16
BLOCK = 1 << 16  # values at a time: what is worked on stays in the cache
FEW = BUCKETS  # so many values are kept as they are; more become counts
LITTLE = sys.byteorder == "little"  # the last 16-bit word of a number holds its sign
UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {32: np.uint32, 64: np.uint64}
FLOAT: dict[int, type[np.floating[Any]]] = {32: np.float32, 64: np.float64}
ENDS = {32: 0x80, 64: 0x10}  # so many first and last buckets of 16 bits hold what is not finite


def keys(patterns: Array, bits: int) -> Array:
    """Bit patterns, unsigned of any shape, as uint64 in the order of the numbers."""
    sign = 1 << (bits - 1)
    wide = patterns.astype(np.uint64)
    ordered: Array = np.where(wide >= sign, np.uint64(2 * sign - 1) - wide, wide + np.uint64(sign))
    return ordered


def numbers(found: Array, bits: int) -> Array:
    """The numbers of these keys as float64, without negative zero."""
    sign = 1 << (bits - 1)
    patterns = np.where(found >= sign, found - np.uint64(sign), np.uint64(2 * sign - 1) - found)
    read: Array = patterns.astype(UNSIGNED[bits]).view(FLOAT[bits]).astype(np.float64)
    return read + 0.0


@dataclass(frozen=True, eq=False)
class Search:
    """How far the wanted order statistics of a column are known. bits: 32 or 64, of its numbers. depth: leading bits of the
    keys that are known. prefixes: these bits, uint64 of (R,). within: the rank among the values that begin so, int64 of (R,).
    pattern: the bit patterns of all its values, or-ed. count: how many there are."""

    bits: int
    depth: int
    prefixes: Array
    within: Array
    pattern: int
    count: int

    @property
    def done(self) -> bool:
        return self.depth == self.bits or not self.within.size

    @property
    def values(self) -> Array:
        """The order statistics, float64 of (R,), once `done`."""
        return numbers(self.prefixes, self.bits)

    def to_json(self) -> dict[str, Any]:
        """JSON values: what a shard needs for its next round."""
        plain = {k: getattr(self, k) for k in ("bits", "depth", "pattern", "count")}
        return plain | {k: getattr(self, k).tolist() for k in ("prefixes", "within")}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Search:
        plain = {k: int(content[k]) for k in ("bits", "depth", "pattern", "count")}
        return Search(
            **plain, prefixes=np.asarray(content["prefixes"], np.uint64), within=np.asarray(content["within"], np.int64)
        )


@dataclass(eq=False)
class Tally:
    """What a round counted in one column, so far. bits: 32 or 64. depth, prefixes: as of the Search, uint64 of (P,), rising.

    few: the keys themselves while they are at most FEW, uint64 arrays; then counts: of the next `digit` bits (16 or 8), of
    (P, 2 ** digit) and 32 bits while these hold every count. held: how many values begin with a prefix. pattern: the bit
    patterns of all values, or-ed, and nonfinite: how many are NaN or infinite, both of the first round.
    """

    bits: int
    depth: int = 0
    prefixes: Array = field(default_factory=lambda: np.zeros(1, np.uint64))
    few: list[Array] | None = field(default_factory=list)
    counts: Array | None = None
    held: int = 0
    pattern: int = 0
    nonfinite: int = 0
    digit: int = 16

    def take(self, column: Array) -> None:
        """Counts the values of one batch, of (n,) and the dtype that `bits` says."""
        column = np.ascontiguousarray(column, FLOAT[self.bits])
        if self.depth == 0:
            self.pattern |= int(np.bitwise_or.reduce(column.view(UNSIGNED[self.bits]), initial=0))
            if self.few is not None and self.held + len(column) <= FEW:
                fit = column[np.isfinite(column)]
                self.nonfinite += len(column) - len(fit)
                self._keep(keys(fit.view(UNSIGNED[self.bits]), self.bits))
            else:
                self._leading(column)
            return
        for at in range(0, len(column), BLOCK):
            block = column[at : at + BLOCK]
            starts = self._starts.take(_words(block))
            inside = np.flatnonzero(starts >= 0)  # numbers are taken by a list of places faster than by a mask
            if self.depth > 16 or self.few is not None:
                self._begin(keys(block.view(UNSIGNED[self.bits]).take(inside), self.bits))
                continue
            lower = _words(block, 1)
            if len(inside) < len(block):
                starts, lower = starts.take(inside), lower.take(inside)
            self.held += len(inside)
            counts = self._spread()
            starts ^= lower if self.digit == 16 else lower >> (16 - self.digit)
            np.add.at(counts.reshape(-1), starts, counts.dtype.type(1))

    @cached_property
    def _starts(self) -> Array:
        """By the first word of a number as it stands in memory: where the counts of the first prefix that begins so start, intp, or
        -1. The lower bits of a negative number are turned in its key: they are set here, to be xor-ed."""
        tops = (self.prefixes >> np.uint64(self.depth - 16)).astype(np.intp)
        tops, first = np.unique(tops, return_index=True)
        negative = tops < BUCKETS // 2
        starts = np.full(BUCKETS, -1, np.intp)
        starts[np.where(negative, BUCKETS - 1 - tops, tops - BUCKETS // 2)] = (first << self.digit) | np.where(
            negative, (1 << self.digit) - 1, 0
        )
        return starts

    def _leading(self, column: Array) -> None:
        raw = np.zeros(BUCKETS, np.int64)
        for at in range(0, len(column), BLOCK):
            raw += np.bincount(_words(column[at : at + BLOCK]), minlength=BUCKETS)
        ordered, ends = np.concatenate([raw[: BUCKETS // 2 - 1 : -1], raw[: BUCKETS // 2]]), ENDS[self.bits]
        self.nonfinite += int(ordered[:ends].sum() + ordered[-ends:].sum())
        ordered[:ends] = ordered[-ends:] = 0
        self.held += int(ordered.sum())
        counts = self._spread()
        counts[0] += ordered.astype(counts.dtype)

    def _begin(self, found: Array) -> None:
        """Keys some of which begin with a prefix."""
        slots = np.searchsorted(self.prefixes, begins := found >> np.uint64(self.bits - self.depth))
        if self.depth > 16:
            same = self.prefixes[np.minimum(slots, len(self.prefixes) - 1)] == begins
            slots, found = slots[same], found[same]
        self._keep(found, slots)

    def _keep(self, found: Array, slots: Array | None = None) -> None:
        self.held += len(found)
        if self.few is not None and self.held <= FEW:
            self.few.append(found)
            return
        counts, slots = self._spread(), np.zeros(len(found), np.intp) if slots is None else slots
        np.add.at(counts.reshape(-1), (slots << self.digit) + self._next(found), counts.dtype.type(1))

    def _next(self, found: Array) -> Array:
        """The bits after the prefix."""
        shifted = found >> np.uint64(self.bits - self.depth - self.digit)
        bucket: Array = (shifted & np.uint64((1 << self.digit) - 1)).astype(np.intp)
        return bucket

    def _spread(self) -> Array:
        """The counts; what was kept as it is goes into them."""
        if self.counts is None:
            self.counts = np.zeros((len(self.prefixes), 1 << self.digit), np.uint32)
            kept, self.few = np.concatenate([np.empty(0, np.uint64), *(self.few or [])]), None
            slots = np.searchsorted(self.prefixes, kept >> np.uint64(self.bits - self.depth)) if self.depth else 0
            np.add.at(self.counts.reshape(-1), (slots << self.digit) + self._next(kept), np.uint32(1))
        if self.held > 0xFFFFFFFF and self.counts.dtype == np.uint32:
            self.counts = self.counts.astype(np.int64)
        return self.counts

    def add(self, other: Tally) -> None:
        """Takes in what another shard counted in the same round. Raises StatisticsError where the rounds differ."""
        mine, theirs = ((t.bits, t.depth, t.digit, t.prefixes.tolist()) for t in (self, other))
        if mine != theirs:
            raise StatisticsError(
                f"shards of different rounds or dtypes do not add: one counted {self.bits}-bit numbers after {self.depth} bits, "
                f"the other {other.bits}-bit numbers after {other.depth}; fit every shard with the same dtype and request"
            )
        self.pattern |= other.pattern
        self.nonfinite += other.nonfinite
        if other.few is not None:
            for found in other.few:
                begins = found >> np.uint64(self.bits - self.depth) if self.depth else np.zeros(len(found), np.uint64)
                self._keep(found, np.searchsorted(self.prefixes, begins))
        else:
            assert other.counts is not None
            self.held += other.held
            counts = self._spread()
            counts += other.counts.astype(counts.dtype)

    def to_json(self) -> dict[str, Any]:
        """JSON values; of the counts those above zero."""
        said: dict[str, Any] = {k: getattr(self, k) for k in ("bits", "depth", "held", "pattern", "nonfinite", "digit")}
        said["prefixes"] = self.prefixes.tolist()
        if self.few is not None:
            kept, times = np.unique(np.concatenate([np.empty(0, np.uint64), *self.few]), return_counts=True)
            return said | {"few": kept.tolist(), "times": times.tolist()}
        assert self.counts is not None
        flat = self.counts.reshape(-1)
        at = np.flatnonzero(flat)
        return said | {"at": at.tolist(), "times": flat[at].tolist()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Tally:
        """The reverse of `to_json`."""
        plain: dict[str, Any] = {k: int(content[k]) for k in ("bits", "depth", "held", "pattern", "nonfinite", "digit")}
        tally = Tally(**plain, prefixes=np.asarray(content["prefixes"], np.uint64))
        times = np.asarray(content["times"], np.int64)
        if "few" in content:
            tally.few = [np.repeat(np.asarray(content["few"], np.uint64), times)]
        else:
            counts = tally._spread()
            counts.reshape(-1)[np.asarray(content["at"], np.intp)] = times.astype(counts.dtype)
        return tally


def _words(block: Array, nth: int = 0) -> Array:
    """The nth 16 bits of each number from its sign on, as they stand in memory."""
    words = block.itemsize // 2
    return block.view(np.uint16)[words - 1 - nth if LITTLE else nth :: words]


def begin(tally: Tally, ranks: Array) -> Search:
    """The search for order statistics (ranks from 0, int64 of (R,)) in a column whose first round is `tally`."""
    return narrowed(Search(tally.bits, 0, np.zeros(len(ranks), np.uint64), ranks, tally.pattern, tally.held), tally)


def narrowed(search: Search, tally: Tally) -> Search:
    """The search after the round that `tally` counted for it."""
    if search.done:
        return search
    if tally.few is not None:
        kept = np.sort(np.concatenate([np.empty(0, np.uint64), *tally.few]))
        first = np.searchsorted(kept, search.prefixes << np.uint64(search.bits - search.depth)) if search.depth else 0
        return _found(search, kept[first + search.within])
    assert tally.counts is not None
    prefixes, within = np.empty_like(search.prefixes), np.empty_like(search.within)
    slots = np.searchsorted(tally.prefixes, search.prefixes)
    for slot in np.unique(slots):
        mine, up_to = slots == slot, np.cumsum(tally.counts[slot], dtype=np.int64)
        buckets = np.searchsorted(up_to, search.within[mine], side="right")
        within[mine] = search.within[mine] - (up_to[buckets] - tally.counts[slot, buckets].astype(np.int64))
        prefixes[mine] = (search.prefixes[mine] << np.uint64(tally.digit)) | buckets.astype(np.uint64)
    depth = search.depth + tally.digit
    lower = search.bits - depth
    if search.pattern & ((1 << lower) - 1):
        return replace(search, depth=depth, prefixes=prefixes, within=within)
    # the lower bits of all numbers are zero; a negative number's key has them turned
    turned = np.where(prefixes < (1 << (depth - 1)), np.uint64((1 << lower) - 1), np.uint64(0))
    return _found(search, (prefixes << np.uint64(lower)) | turned)


def _found(search: Search, those: Array) -> Search:
    return replace(search, depth=search.bits, prefixes=those, within=np.zeros_like(search.within))


def next_round(search: Search, digit: int = 16) -> Tally:
    """An empty tally of what the search asks next, counting so many bits (8 or 16)."""
    return Tally(search.bits, search.depth, np.unique(search.prefixes), digit=min(digit, search.bits - search.depth))


def estimated(tally: Tally, ranks: Array) -> tuple[Array, Array]:
    """What one round knows without a second: for each rank a value, float64 of (R,), and a bound of how far its rank is from
    the one asked for, int64 of (R,). The bound is no estimate: it counts the bucket that the value lies in."""
    search = begin(tally, ranks)
    if search.done:
        return search.values, np.zeros(len(ranks), np.int64)
    lower = np.uint64(search.bits - search.depth)
    low, high = search.prefixes << lower, ((search.prefixes + np.uint64(1)) << lower) - np.uint64(1)
    assert tally.counts is not None
    inside = tally.counts[0, search.prefixes.astype(np.intp)].astype(np.int64)
    share = (search.within + 0.5) / inside
    ends = numbers(low, search.bits), numbers(high, search.bits)
    return ends[0] + (ends[1] - ends[0]) * share, np.maximum(search.within, inside - 1 - search.within) + 1
