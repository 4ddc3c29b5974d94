"""CSV: columns separated by a comma, a semicolon, a tab or a bar; the first line has the names, unless it is all numbers.

Whole numbers are read as float64 too: a column may begin with a thousand of them and go on with a fraction.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from onnxscale.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt")
MISSING = ["", "NA", "N/A", "n/a", "<NA>", "#N/A", "null", "NULL", "None"]  # what writers put where there is no value
SAMPLE = 10_000  # rows that types are told from


def scan(paths: list[str]) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    separator, header = dialect(paths[0])
    how: dict[str, Any] = {"separator": separator, "has_header": header, "null_values": MISSING}
    head = pl.scan_csv(paths, infer_schema_length=SAMPLE, **how).head(SAMPLE).collect()
    wide = {c.name: pl.Float64 for c in head.iter_columns() if c.dtype.is_integer() or _are_numbers(c)}
    return pl.scan_csv(paths, infer_schema_length=SAMPLE, schema_overrides=wide, **how)


def _are_numbers(column: Any) -> bool:
    """Whether a column of text is numbers, among them ones that only look like words: nan, inf."""
    import polars as pl

    if column.dtype != pl.String or column.null_count() == len(column):
        return False
    return bool(column.cast(pl.Float64, strict=False).null_count() == column.null_count())


def dataset(paths: list[str], filesystem: Any) -> Any:
    """A pyarrow dataset of the files; behind a URL the separator is a comma and there is a header."""
    import pyarrow as pa
    from pyarrow import csv
    from pyarrow import dataset as ds

    separator, header = (",", True) if filesystem is not None else dialect(paths[0])
    with_types = csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True)

    def opened(convert: Any) -> Any:
        parse, read = csv.ParseOptions(delimiter=separator), csv.ReadOptions(autogenerate_column_names=not header)
        form = ds.CsvFileFormat(parse_options=parse, read_options=read, convert_options=convert)
        return ds.dataset(paths, format=form, filesystem=filesystem)

    schema = opened(with_types).schema
    wide = {f.name: pa.float64() for f in schema if pa.types.is_integer(f.type)}
    return opened(csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True, column_types=wide))


def dialect(path: str) -> tuple[str, bool]:
    """(separator, whether the first line has names). Raises DataError for a file without a line."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            line = file.readline(1 << 20).rstrip("\r\n")
    except UnicodeDecodeError:
        return ",", True  # compressed: the readers know how
    if not line:
        raise DataError(f"{path}: the first line is empty")
    counted = Counter(c for c in line if c in ",;\t|")
    separator = counted.most_common(1)[0][0] if counted else ","
    return separator, not all(_is_number(cell) for cell in line.split(separator))


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().strip('"'))
    except ValueError:
        return False
    return True
