"""Data held against what a model expects: as expected, or what is wrong, in words.

`check` reads the expectation (expecting.py), a bounded sample of the data (sample.py), and judges (judging.py). All that decides is
numpy: the law of each column (laws.py), hypotheses as known functions (hypotheses.py, units.py), and the order of columns (order.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxscale import data as datas
from onnxscale.checking import judging, sample
from onnxscale.checking.candidates import better
from onnxscale.checking.expecting import Expectation, expected
from onnxscale.checking.result import VERDICTS, Check, Column, Warned
from onnxscale.data import Selection
from onnxscale.errors import DataError, names
from onnxscale.fitting.summary import Summary
from onnxscale.statistics import Reading
from onnxscale.step import Array

__all__ = ["VERDICTS", "Check", "Column", "Warned", "check", "check_summary"]


def check(
    source: object, data: object, *, stats: object = None, input: str = "", columns: Sequence[str] = (), where: str = "",
    candidates: Sequence[object] = (), reading: Reading | None = None, engine: str = "", seed: int = 0,
    tell: Callable[[int], None] | None = None,
) -> Check:  # fmt: skip
    """Whether data is what a model expects, or what is wrong with it.

    source: a model, a statistics file or what `read` takes, or a Profile. data: files, a folder, a pattern, a URL, a frame, an array
    (n, F), columns, or batches; read once, in bounded memory. stats: the expectation, for a model that carries none. input:
    which of several. columns: those of the data, in the model's order; by default matched by name where both have names. where: which
    rows, in SQL. candidates: other statistics that the data may belong to. seed: of the sample of rows.
    Raises StatisticsError where nothing is known of the values, DataError where the data cannot be read or has other columns.
    """
    pictures = isinstance(data, np.ndarray) and data.ndim >= 4
    what = expected(source if stats is None else stats, input, reading, channels=pictures)
    blocks, width = _opened(what, data, tuple(columns), where, engine)
    if width != what.reference.width:
        raise DataError(
            f"the data has {width} columns and {what.said} expects {what.reference.width}"
            + (f" ({names(what.reference.features)})" if what.reference.features else "")
        )
    drawn = sample.drawn(blocks, width, seed, tell)
    found = judging.judged(what.reference, drawn)
    if candidates:
        found = better(found, drawn, what, candidates, reading)
    return replace(found, input=what.input, source=what.said)


def check_summary(
    source: object, summary: Summary, *, stats: object = None, input: str = "", reading: Reading | None = None
) -> Check:
    """The same from sums alone, such as a guarded model gives (guarded.summary).

    Only mistakes that move all columns, and shifts of means, can be told.
    """
    what = expected(source if stats is None else stats, input, reading)
    if summary.width != what.reference.width:
        raise DataError(f"the summary has {summary.width} features and {what.said} expects {what.reference.width}")
    found = judging.judged(what.reference, sample.summarized(summary))
    return replace(found, input=what.input, source=what.said)


def _opened(
    what: Expectation, data: object, columns: tuple[str, ...], where: str, engine: str
) -> tuple[Iterator[Array], int]:
    """Blocks of rows in the order of the model's features, and how many columns."""
    if isinstance(data, np.ndarray) and data.ndim > 2:
        axis = what.axis if what.axis is not None else -1
        flat = np.moveaxis(data, axis, -1).reshape(-1, data.shape[axis])
        return iter([flat]), flat.shape[1]
    features = what.reference.features
    if columns or not features or isinstance(data, np.ndarray):
        opened = datas.opened(data, Selection(columns=columns, where=where), engine=engine)
        return opened.arrays(), opened.width
    if isinstance(data, Mapping) and not set(features) <= set(map(str, data)):
        _other(features, tuple(map(str, data)))
    try:
        opened = datas.opened(data, Selection(columns=features, where=where), engine=engine)
    except DataError as error:
        if "no column" not in str(error):
            raise
        plain = datas.opened(data, Selection(where=where), engine=engine)
        if plain.names:
            _other(features, plain.names, str(error))
        return plain.arrays(), plain.width
    return opened.arrays(), opened.width


def _other(features: tuple[str, ...], known: tuple[str, ...], first: str = "the data") -> None:
    missing = [f for f in features if f not in known]
    extra = [k for k in known if k not in features]
    if not missing:
        return
    raise DataError(
        f"the data lacks {names(missing)} and has {names(extra)} besides; the model expects {names(features)}. "
        f"Rename the columns, or say which ones are meant, in this order, with --columns"
    )
