"""CSV: a row per feature (feature, mean, std), or pandas' layout with a row per statistic and a column per feature."""

from __future__ import annotations

import csv
import io

from onnxscale.errors import StatisticsError
from onnxscale.sources.tables import of_table


def sniff(data: bytes, name: str) -> bool:
    if name.lower().endswith((".csv", ".tsv")):
        return True
    lines = [line for line in data[:4096].split(b"\n") if line.strip()][:2]  # one alone may be a sentence, or code
    first = lines[0] if lines else b""
    parted = any(all(c in line for line in lines) for c in (b",", b";", b"\t"))
    return parted and b":" not in first and b"\0" not in first and not name.lower().endswith(".py")


def read(data: bytes) -> object:
    """{feature: {statistic: number}}, in the file's order."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatisticsError(f"not UTF-8 at byte {error.start}") from None
    separator = "\t" if text.split("\n", 1)[0].count("\t") else ";" if ";" in text.split("\n", 1)[0] else ","
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if line]
    except csv.Error as error:
        raise StatisticsError(f"broken CSV: {error}") from None
    if len(lines) < 2:
        raise StatisticsError("has no rows under its header")
    header, body = [h.strip() for h in lines[0]], lines[1:]
    wrong = next((i for i, line in enumerate(body, 2) if len(line) != len(header)), None)
    if wrong:
        raise StatisticsError(f"line {wrong} has {len(body[wrong - 2])} fields, the header {len(header)}")
    return of_table(header, body)
