"""Quantiles of data in shards, in rounds: each shard counts, the counts add, and what they say is the question of the next round.

The first round goes with the summary of a shard. Where it does not settle all (a column of more than 65,536 values that differ), what
it gives is approximate, with a known error in rank; a second one settles float32, at most four settle float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxscale.data import Data
from onnxscale.errors import DataError
from onnxscale.fitting.quantiles import Asked, advanced, answers, approximate, counted, pending, wanted
from onnxscale.fitting.radix import Search, Tally
from onnxscale.fitting.summary import Summary
from onnxscale.step import Array

FORMAT = "onnxscale round 1"


@dataclass(frozen=True, eq=False)
class Round:
    """What the next round counts. asks: the quantiles that are wanted. searches: how far each column is known."""

    asks: tuple[Asked, ...]
    searches: tuple[Search, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"format": FORMAT, "asks": _spelled(self.asks), "searches": [s.to_json() for s in self.searches]}

    @staticmethod
    def from_json(content: Any, where: str = "round") -> Round:
        """The reverse of `to_json`. Raises DataError where the content is not that."""
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise DataError(f"{where}: no round of counts; expected what `onnxscale stats merge --next FILE` writes")
        try:
            asks = tuple(Asked(np.asarray(p, np.float64), str(m)) for m, p in content["asks"])
            return Round(asks, tuple(Search.from_json(s) for s in content["searches"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{where}: damaged ({type(error).__name__}: {error})") from None


def _spelled(asks: Sequence[Asked]) -> list[Any]:
    return [[a.method, a.probabilities.tolist()] for a in asks]


def read(path: Path) -> Round:
    """A round from its file. Raises DataError."""
    try:
        return Round.from_json(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as a round of counts ({error})") from None


def counts(data: Data, after: Round | None, tell: Callable[[int], None]) -> dict[str, Any]:
    """What one shard counts in a round, the first one by default, as JSON values. Raises DataError where the data has not the
    columns that the round asks for."""
    if data.once:
        raise DataError("an iterator is read once: no quantiles")
    if after is not None and len(after.searches) != data.width:
        raise DataError(f"--next asks for {len(after.searches)} columns, the data has {data.width}")
    searches = [None] * data.width if after is None else list(after.searches)
    tallies = {str(i): t.to_json() for i, t in counted(data.arrays, searches, tell)}
    return {"after": None if after is None else after.to_json(), "tallies": tallies}


@dataclass(frozen=True, eq=False)
class Counts:
    """What all shards have counted in a round. after: the round, None for the first one. tallies: by the number of the column."""

    after: Round | None
    tallies: Mapping[int, Tally]

    def _searches(self, asks: Sequence[Asked]) -> list[Search]:
        if self.after is None:
            return wanted([self.tallies[i] for i in range(len(self.tallies))], asks)
        if _spelled(asks) != _spelled(self.after.asks):
            raise DataError(
                "the parts have counted for a scaler of another kind or with other settings; merge them as that one"
            )
        return advanced(self.after.searches, self.tallies)

    def next(self, asks: Sequence[Asked]) -> Round | None:
        """The round that is still needed for exact quantiles, or None. Raises DataError where the parts counted for others."""
        searches = self._searches(asks)
        return Round(tuple(asks), tuple(searches)) if pending(searches) else None

    def quantiles(self, asks: Sequence[Asked]) -> tuple[list[Array], float]:
        """Float64 of (F, Q) for each ask, and the largest error of their ranks as a share of the values; 0 is exact.

        Raises DataError where a later round than the first leaves a question open.
        """
        searches = self._searches(asks)
        if not pending(searches):
            return answers(asks, searches), 0.0
        if self.after is not None:
            raise DataError(
                "the quantiles need another round of counts: write it with --next FILE, and fit the shards with it"
            )
        first = [self.tallies[i] for i in range(len(self.tallies))]
        found = [approximate(first, ask) for ask in asks]
        return [f for f, _ in found], max(float(np.nanmax(e)) for _, e in found)


def together(parts: Sequence[Summary]) -> Counts | None:
    """The counts of all parts, or None where one has none. Raises DataError where they are of different rounds, or damaged."""
    if any(p.counts is None for p in parts):
        return None
    try:
        after = parts[0].counts["after"]
        if any(p.counts["after"] != after for p in parts):
            raise DataError("the parts have counted in different rounds; give those of the last one")
        whole: dict[int, Tally] = {}
        for part in parts:
            for key, content in part.counts["tallies"].items():
                tally = Tally.from_json(content)
                if int(key) in whole:
                    whole[int(key)].add(tally)
                else:
                    whole[int(key)] = tally
        return Counts(None if after is None else Round.from_json(after), whole)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"the counts of a part are damaged ({type(error).__name__}: {error})") from None
