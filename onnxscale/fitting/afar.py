"""Exact quantiles where the data is: each partition is counted by the worker that has it, and only the counts travel.

The workers need onnxscale and numpy; Spark's also pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from onnxscale.data import Data
from onnxscale.errors import DataError
from onnxscale.fitting.quantiles import Asked, advanced, answers, counted, pending, wanted
from onnxscale.fitting.radix import Search, Tally
from onnxscale.step import Array

TOGETHER = 64  # partitions whose counts are held at a time
Searches = Sequence[Search | None]
Round = Callable[[Any, Sequence[str], Searches], Iterator[dict[int, Tally]]]


def quantiles(data: Data, *asks: Asked) -> list[Array]:
    """As quantiles.quantiles, of a frame of Dask or Spark. Raises DataError where the workers cannot count."""
    native, ahead = data.frame.to_native(), ENGINES[data.engine]

    def round_(searches: Searches) -> dict[int, Tally]:
        whole: dict[int, Tally] = {}
        for found in ahead(native, data.names, searches):
            for i, tally in found.items():
                if i in whole:
                    whole[i].add(tally)
                else:
                    whole[i] = tally
        return whole

    try:
        first = round_([None] * data.width)
        if not first:
            raise DataError("no data: there are no rows")
        searches = wanted([first[i] for i in range(data.width)], asks)
        while pending(searches):
            searches = advanced(searches, round_(searches))
    except ModuleNotFoundError as error:
        raise DataError(
            f"quantiles are counted by the workers of {data.engine}, which have no {error.name}: install onnxscale there, or do "
            f"without (--no-quantiles)"
        ) from None
    return answers(asks, searches)


def of_batches(batches: Iterable[Array], searches: Searches) -> dict[int, Tally]:
    """One round over arrays of (n, F), which can be read once; runs on a worker."""
    held = list(batches)
    return dict(counted(lambda columns: (b[:, list(columns)] for b in held), searches))


def _of_pandas(part: Any, columns: Sequence[str], searches: Searches) -> dict[int, Tally]:
    return of_batches([part[list(columns)].to_numpy(np.float64, na_value=np.nan)], searches)


def _dask(native: Any, columns: Sequence[str], searches: Searches) -> Iterator[dict[int, Tally]]:
    from dask.base import compute
    from dask.delayed import delayed

    parts = native.to_delayed()
    for at in range(0, len(parts), TOGETHER):
        tasks = [delayed(_of_pandas)(p, list(columns), list(searches)) for p in parts[at : at + TOGETHER]]
        yield from compute(*tasks)


def _spark(native: Any, columns: Sequence[str], searches: Searches) -> Iterator[dict[int, Tally]]:
    asked = [None if s is None else s.to_json() for s in searches]
    wide = native.select(*(native[_quoted(c)].cast("double").alias(f"c{i}") for i, c in enumerate(columns)))

    def count(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        known = [None if s is None else Search.from_json(s) for s in asked]
        arrays = [
            np.stack([c.to_numpy(zero_copy_only=False).astype(np.float64) for c in b.columns], axis=1)
            for b in batches
            if b.num_rows
        ]
        if arrays:
            found = of_batches(arrays, known)
            texts = [json.dumps(t.to_json()) for t in found.values()]
            yield pa.RecordBatch.from_pydict(
                {"i": pa.array(list(found), pa.int64()), "tally": pa.array(texts, pa.string())}
            )

    try:
        for row in wide.mapInArrow(count, "i long, tally string").toLocalIterator():
            yield {row["i"]: Tally.from_json(json.loads(row["tally"]))}
    except Exception as error:
        if "ModuleNotFoundError: No module named 'onnxscale'" in str(error):
            raise ModuleNotFoundError(name="onnxscale") from None
        raise


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


ENGINES: dict[str, Round] = {"dask": _dask, "pyspark": _spark}
