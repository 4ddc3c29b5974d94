"""pandas' tables inside a pickle (DataFrame and Series, pandas 1.2 to 3), as plain mappings. Nothing of pandas is called.

Sources: pandas/core/internals/managers.py (BlockManager.__reduce__, SingleBlockManager.__getstate__), pandas/core/indexes/base.py
(_new_Index), pandas/core/arrays/string_arrow.py, pyarrow/array.pxi (_restore_array; buffers as in Arrow's columnar format).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.sources.inert import Global, Held, Record

DEPTH, ITEMS, SIZE = 3, 20_000, 1_000_000
_DEFAULT = object()  # labels that nobody gave: 0, 1, 2, ...


def opened(root: Any) -> Any:
    """What a pickle holds, with pandas' tables in it as mappings: {column: {label: value}}, {label: value} of a Series; a list of
    rows, or of values, where the labels are only numbers. Raises StatisticsError for a table that is not written as pandas does."""
    left = [ITEMS]

    def walk(item: Any, depth: int) -> Any:
        left[0] -= 1
        if _table(item):
            return _read(item)
        if depth >= DEPTH or left[0] < 0:
            return item
        if isinstance(item, dict):
            return {k: walk(v, depth + 1) for k, v in item.items()}
        return type(item)([walk(v, depth + 1) for v in item]) if type(item) in (list, tuple) else item

    return walk(root, 0)


def is_frame(source: Any) -> bool:
    """Whether this is a data frame of pandas or Polars at hand in Python."""
    return type(source).__module__.partition(".")[0] in ("pandas", "polars") and type(source).__name__ == "DataFrame"


def live(frame: Any) -> Any:
    """The same mappings of a data frame at hand, or of a mapping of Series: each value stays with its label, in whatever order."""
    if isinstance(frame, Mapping):
        return {k: live(v) if _labelled(v) else v for k, v in frame.items()}
    if hasattr(frame, "to_dicts"):
        return frame.to_dicts()
    if type(frame.index).__name__ != "RangeIndex":
        return frame.to_dict()
    return frame.to_dict("records") if hasattr(frame, "columns") else frame.tolist()


def _labelled(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and type(value).__name__ == "Series"


def _table(item: Any) -> bool:
    return isinstance(item, Record) and item.of.package == "pandas" and item.of.name in ("DataFrame", "Series")


def _read(record: Record) -> Any:
    try:
        return _content(record)
    except (TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise StatisticsError(f"a pickled pandas.{record.of.name} that is damaged ({str(error)[:100]})") from None


def _content(record: Record) -> Any:
    what = f"a pickled pandas.{record.of.name}"
    state = record.state if isinstance(record.state, dict) else {}
    manager = state.get("_mgr", state.get("_data"))
    if not isinstance(manager, Record):
        raise StatisticsError(f"{what} without its values; expected what pandas 1.2 or newer writes")
    axes, blocks = _parts(manager, what)
    labels = [_labels(axis, what) for axis in axes]
    if record.of.name == "Series":
        if len(labels) != 1 or len(blocks) != 1:
            raise StatisticsError(f"{what} of several blocks")
        values = _values(blocks[0][0], what).reshape(-1).tolist()
        return values if labels[0] is _DEFAULT else dict(zip(_told(labels[0], what), values, strict=True))
    if len(labels) != 2:
        raise StatisticsError(f"{what} with {len(labels)} axes")
    columns, index = labels
    found: dict[int, list[Any]] = {}
    for block, places in blocks:
        rows = _values(block, what)
        rows = rows if rows.ndim == 2 else rows.reshape(1, -1)
        for place, row in zip(_places(places, what), rows, strict=True):
            found[place] = row.tolist()
    if sorted(found) != list(range(len(found))) or len({len(v) for v in found.values()}) > 1:
        raise StatisticsError(f"{what} whose blocks do not fit its columns")
    listed = [found[i] for i in range(len(found))]
    if columns is _DEFAULT and index is _DEFAULT:
        raise StatisticsError(
            f"{what} whose rows and columns have no names; expected the names of the statistics on one of them"
        )
    if columns is _DEFAULT:
        return dict(zip(_told(index, what), map(list, zip(*listed, strict=True)), strict=True))
    heads = _told(columns, what)
    if index is _DEFAULT:
        return [dict(zip(heads, row, strict=True)) for row in zip(*listed, strict=True)]
    sides = _told(index, what)
    return {c: dict(zip(sides, v, strict=True)) for c, v in zip(heads, listed, strict=True)}


def _parts(manager: Record, what: str) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """(axes, [(values, places)]) of a block manager, as it is called or as its state says it."""
    if manager.called and len(manager.arguments) >= 2:
        blocks, axes = manager.arguments[:2]
        if isinstance(blocks, tuple) and isinstance(axes, list) and all(isinstance(b, Record) for b in blocks):
            pairs = [b.arguments[:2] for b in blocks if len(b.arguments) >= 2]
            if len(pairs) == len(blocks):
                return axes, pairs
    state = manager.state[-1] if isinstance(manager.state, tuple) and manager.state else None
    held = state.get("0.14.1") if isinstance(state, dict) else None
    if isinstance(held, dict) and isinstance(held.get("axes"), list) and isinstance(held.get("blocks"), list):
        listed = held["blocks"]
        if all(isinstance(b, dict) and {"values", "mgr_locs"} <= set(b) for b in listed):
            return held["axes"], [(b["values"], b["mgr_locs"]) for b in listed]
    raise StatisticsError(
        f"{what} whose values are not kept as pandas 1.2 or newer does; write it with to_json(orient='split')"
    )


def _places(given: Any, what: str) -> list[int]:
    if isinstance(given, Held) and given.value is not None and given.value.dtype.kind in "iu":
        return [int(i) for i in given.value.ravel()]
    if isinstance(given, Record) and given.of.key == ("builtins", "slice") and len(given.arguments) == 3:
        parts = given.arguments
        if all(isinstance(p, int) and 0 <= p <= SIZE for p in parts) and parts[2] > 0:
            return list(range(*parts))
    raise StatisticsError(f"{what} whose blocks say no place")


def _labels(axis: Any, what: str) -> Any:
    """The labels of an axis, or _DEFAULT."""
    if not isinstance(axis, Record) or axis.of.name != "_new_Index" or len(axis.arguments) != 2:
        raise StatisticsError(f"{what} with labels on several levels, or of no kind that is known; flatten them first")
    of, held = axis.arguments
    if not isinstance(of, Global) or not isinstance(held, dict):
        raise StatisticsError(f"{what} with labels that are not written as pandas does")
    if of.name == "RangeIndex":
        return _DEFAULT
    if "data" not in held:
        raise StatisticsError(f"{what} with a {of.name[:40]} for its labels; expected names")
    values = _values(held["data"], what)
    return _DEFAULT if values.dtype.kind in "iu" else values.ravel().tolist()


def _told(labels: Any, what: str) -> list[str]:
    twice = (
        {str(v) for v in labels if labels.count(v) > 1}
        if len(labels) < ITEMS and len(set(map(str, labels))) < len(labels)
        else ()
    )
    if twice:
        raise StatisticsError(f"{what} with the label {names(sorted(twice))} twice")
    return [str(v) for v in labels]


def _values(held: Any, what: str) -> Any:
    """An array of numbers, or of text as objects."""
    if isinstance(held, Held) and held.value is not None:
        return held.value
    if (
        isinstance(held, Held)
        and held.objects is not None
        and all(v is None or isinstance(v, str | int | float) for v in held.objects)
    ):
        return np.array(held.objects, object).reshape(held.shape)
    if isinstance(held, Record):
        state = held.state
        if isinstance(state, tuple):  # StringArray and other arrays on top of numpy's: (dtype, values)
            inside = [v for v in state if isinstance(v, Held)]
            if len(inside) == 1:
                return _values(inside[0], what)
        if isinstance(state, Mapping):
            inner = state.get("_pa_array", state.get("_data", state.get("_ndarray")))
            if inner is not None:
                return np.array(_arrow(inner, what), object) if isinstance(inner, Record) else _values(inner, what)
    raise StatisticsError(f"{what} with values of a kind that is not read; turn it into numbers and plain text first")


def _arrow(record: Record, what: str) -> list[str | None]:
    """The texts of pyarrow's array, from its buffers: validity, offsets, bytes."""
    if record.of.key == ("pyarrow.lib", "chunked_array") and record.arguments and isinstance(record.arguments[0], list):
        return [text for chunk in record.arguments[0] for text in _arrow(chunk, what)]
    told = (
        record.arguments[0]
        if isinstance(record, Record) and record.of.key == ("pyarrow.lib", "_restore_array") and record.arguments
        else None
    )
    kind = told[0] if isinstance(told, tuple) and len(told) >= 5 else None
    alias = kind.arguments[:1] if isinstance(kind, Record) else ()
    wide = {("large_string",): "<i8", ("string",): "<i4"}.get(alias)
    if told is None or wide is None:
        raise StatisticsError(f"{what} with values of pyarrow's that are no text")
    _, count, nulls, offset, buffers = told[:5]
    raw = [b.arguments[0] if isinstance(b, Record) and b.arguments else None for b in buffers]
    if len(raw) != 3 or nulls or not all(isinstance(n, int) and 0 <= n <= SIZE for n in (count, offset)):
        raise StatisticsError(f"{what} with missing labels")
    marks = np.frombuffer(raw[1] or b"", wide, count=-1)[offset : offset + count + 1].tolist()
    text = raw[2] or b""
    if (
        len(marks) != count + 1
        or any(a > b for a, b in itertools.pairwise(marks))
        or not 0 <= marks[0] <= marks[-1] <= len(text)
    ):
        raise StatisticsError(f"{what} with damaged text")
    try:
        return [bytes(text[a:b]).decode("utf-8") for a, b in itertools.pairwise(marks)]
    except UnicodeDecodeError:
        raise StatisticsError(f"{what} with damaged text") from None
