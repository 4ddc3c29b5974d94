"""Tables of statistics, whatever file they come from: a row per feature, or a row per statistic and a column per feature."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.sources.keys import NAMES, is_statistic, spelled


def of_table(header: Sequence[str], rows: Sequence[Sequence[Any]], label: int | None = None) -> object:
    """{feature: {statistic: value}} in the table's order, or {statistic: [values]} where it names no feature.

    label: the number of the column that names the rows, where that is known. Raises StatisticsError.
    """
    header = [h.strip() for h in header]
    if label is not None:
        header, rows = _first(header, label), [_first(row, label) for row in rows]
    stats = [is_statistic(h) for h in header]
    listed = [str(row[0]).strip() for row in rows]
    if (header[0].lower() in NAMES and any(stats[1:])) or (
        len(header) > 1 and all(stats[1:]) and not stats[0] and not any(map(is_number, listed))
    ):
        return _named(header[1:], [(name, row[1:]) for name, row in zip(listed, rows, strict=True)])
    if len(header) > 1 and all(map(is_statistic, listed)):
        turned = _named(header[1:], [(spelled(n), row[1:]) for n, row in zip(listed, rows, strict=True)])
        return {feature: {s: turned[s][feature] for s in turned} for feature in header[1:]}
    if all(stats):
        return {spelled(h): [number(v) for v in c] for h, c in zip(header, zip(*rows, strict=True), strict=True)}
    raise StatisticsError(
        f"columns {names(header)}: expected feature, mean, std (a row per feature), or a first column that names the "
        f"statistics (mean, std, ...). Of rows of data, onnxscale fit makes statistics"
    )


def _first(row: Sequence[Any], at: int) -> list[Any]:
    return [row[at], *row[:at], *row[at + 1 :]]


def _named(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, dict[str, object]]:
    made: dict[str, dict[str, object]] = {}
    twice = next((n for n, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        raise StatisticsError(f"{twice!r} stands twice; only one can be meant")
    for name, cells in rows:
        if name in made:
            raise StatisticsError(f"{name!r} stands twice; only one can be meant")
        made[name] = {c: number(v) for c, v in zip(columns, cells, strict=True)}
    return made


def is_number(text: str) -> bool:
    return isinstance(number(text), float)


def number(value: object) -> object:
    """The number that a cell's text spells; any other cell as it is."""
    if not isinstance(value, str):
        return value
    if (
        "_" in value or not value.strip().isascii()
    ):  # Python's float reads 1_0 as 10, and digits of any script; nobody else does
        return value.strip()
    try:
        made = float(value)
    except ValueError:
        return value.strip()
    return made if math.isfinite(made) or value.strip().lower().lstrip("+-") in ("nan", "inf", "infinity") else value
