"""CSV: a row per feature (feature, mean, std), or pandas' layout with a row per statistic and a column per feature."""

from __future__ import annotations

import csv
import io

from onnxscale.errors import StatisticsError
from onnxscale.sources.keys import STATISTICS

_NAMES = ("feature", "name", "column", "feature_name", "features", "")


def sniff(data: bytes, name: str) -> bool:
    if name.lower().endswith((".csv", ".tsv")):
        return True
    first = data[:4096].split(b"\n", 1)[0]
    return first.count(b",") >= 1 and b":" not in first and b"\0" not in first


def read(data: bytes) -> object:
    """{feature: {statistic: number}}, in the file's order."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatisticsError(f"not UTF-8 at byte {error.start}") from None
    separator = "\t" if text.split("\n", 1)[0].count("\t") else ";" if ";" in text.split("\n", 1)[0] else ","
    lines = [line for line in csv.reader(io.StringIO(text), delimiter=separator) if line]
    if len(lines) < 2:
        raise StatisticsError("has no rows under its header")
    header, body = [h.strip() for h in lines[0]], lines[1:]
    wrong = next((i for i, line in enumerate(body, 2) if len(line) != len(header)), None)
    if wrong:
        raise StatisticsError(f"line {wrong} has {len(body[wrong - 2])} fields, the header {len(header)}")
    if header[0].lower() in _NAMES and any(h.lower() in STATISTICS for h in header[1:]):
        return _table(header[1:], [(line[0].strip(), line[1:]) for line in body])
    if all(line[0].strip().lower() in STATISTICS for line in body):
        turned = _table(header[1:], [(line[0].strip().lower(), line[1:]) for line in body])
        return {feature: {s: turned[s][feature] for s in turned} for feature in header[1:]}
    if all(h.lower() in STATISTICS for h in header):
        columns = list(zip(*body, strict=True))
        return {h.lower(): [_number(v, h, i) for i, v in enumerate(c)] for h, c in zip(header, columns, strict=True)}
    raise StatisticsError(
        f"columns {', '.join(header[:8])}: expected feature, mean, std (a row per feature), or a first column that names "
        f"the statistics (mean, std, ...)"
    )


def _table(columns: list[str], rows: list[tuple[str, list[str]]]) -> dict[str, dict[str, object]]:
    made: dict[str, dict[str, object]] = {}
    for name, cells in rows:
        if name in made:
            raise StatisticsError(f"{name!r} stands twice; only one can be meant")
        made[name] = {c: _number(v, name, c) for c, v in zip(columns, cells, strict=True)}
    return made


def _number(text: str, *where: object) -> object:
    try:
        return float(text)
    except ValueError:
        return text.strip()
