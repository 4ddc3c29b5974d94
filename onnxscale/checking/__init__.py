"""Data held against what a model expects: as expected, or what is wrong, in words.

`check` reads the expectation (expecting.py), a bounded sample of the data (sample.py), and judges (judging.py). All that decides is
numpy: the law of each column (laws.py), hypotheses as known functions (hypotheses.py, units.py), and the order of columns (order.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from onnxscale import data as datas
from onnxscale.checking import judging, sample
from onnxscale.checking.candidates import better
from onnxscale.checking.expecting import Expectation, expected
from onnxscale.checking.result import VERDICTS, Check, Column, Warned
from onnxscale.data import Data, Selection
from onnxscale.errors import DataError, names
from onnxscale.fitting.summary import Summary
from onnxscale.statistics import Reading

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
    what = expected(source if stats is None else stats, input, reading)
    opened = _opened(what, data, tuple(columns), where, engine)
    if opened.width != what.reference.width:
        raise DataError(
            f"the data has {opened.width} columns and {what.said} expects {what.reference.width}"
            + (f" ({names(what.reference.features)})" if what.reference.features else "")
        )
    if len(opened.array) >= 4:
        what = replace(what, reference=replace(what.reference, channels=True))
    drawn = sample.drawn(opened.arrays(), opened.width, seed, tell)
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


def _opened(what: Expectation, data: object, columns: tuple[str, ...], where: str, engine: str) -> Data:
    """The data as columns in the order of the model's features."""
    features = what.reference.features
    again, shape = _again(data)
    if columns or not features or len(shape) > 1:
        return _laid(what, again, shape, Selection(columns=columns, where=where), engine)
    if isinstance(data, Mapping) and not set(features) <= set(map(str, data)):
        _other(features, tuple(map(str, data)))
    try:
        return datas.opened(again(), Selection(columns=features, where=where), engine=engine)
    except DataError as error:
        if "no column" not in str(error):
            raise
        plain = _laid(what, again, shape, Selection(where=where), engine)
        if plain.names:
            _other(features, plain.names, str(error))
        return plain


def _again(data: object) -> tuple[Callable[[], object], tuple[int, ...]]:
    """What gives the data once more, from its first batch on, until it is read; and the shape of an array, or of the first batch."""
    if not isinstance(data, Iterator):
        return lambda: data, data.shape if isinstance(data, np.ndarray) else ()
    head = list(islice(data, 1))
    return lambda: chain(head, data), head[0].shape if head and isinstance(head[0], np.ndarray) else ()


def _laid(
    what: Expectation, again: Callable[[], object], shape: tuple[int, ...], chosen: Selection, engine: str
) -> Data:
    """Data without the names of features. The features of an array of more than two dimensions lie where the model says, or else on
    the axis that is as long; with its steps they are columns too."""
    plain = datas.opened(again(), chosen, engine=engine)
    shape, width = shape or plain.array, what.reference.width
    if len(shape) < 3:
        return plain
    if what.steps and int(np.prod(shape[1:])) == width:
        return replace(datas.opened(again(), replace(chosen, steps=True), engine=engine), array=shape)
    axes = [a for a in (what.axis, -1, 1) if a is not None and -len(shape) < a < len(shape) and a and shape[a] == width]
    if not axes and not chosen.columns:
        raise DataError(f"the data has the shape {shape}, and on no axis the {width} features that {what.said} expects")
    axis = axes[0] if axes else what.axis
    return replace(datas.opened(again(), replace(chosen, axis=axis), engine=engine), array=shape)


def _other(features: tuple[str, ...], known: tuple[str, ...], first: str = "the data") -> None:
    missing = [f for f in features if f not in known]
    extra = [k for k in known if k not in features]
    if not missing:
        return
    raise DataError(
        f"the data lacks {names(missing)} and has {names(extra)} besides; the model expects {names(features)}. "
        f"Rename the columns, or say which ones are meant, in this order, with --columns"
    )
