"""CSV: what is in a file, told from its first lines, so that every engine reads it as the same columns of the same types.

Columns are separated by a comma, a semicolon, a tab or a bar. The first line has the names, unless it is all numbers; a column
without one is column_0, column_1, by its place. A column of
numbers is read as float64, whole ones too: it may begin with a thousand of them and go on with a fraction. A decimal comma is told
from cells such as 1,5 between other separators.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxscale.data import blocks, compressed
from onnxscale.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt")
MISSING = ["", "NA", "N/A", "n/a", "<NA>", "#N/A", "null", "NULL", "None"]  # what writers put where there is no value
SAMPLE = 10_000  # rows that types are told from
HEAD = 1 << 22  # bytes of them, at most
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class Layout:
    """How files are written. separator: between cells. header: whether the first line has names. columns: their names. types: of
    each, "number", "bool" or "text". comma: whether numbers have a decimal comma. padded: which have blanks beside their cells.
    lines: whether a cell goes on over several lines."""

    separator: str
    header: bool
    columns: tuple[str, ...]
    types: tuple[str, ...] = ()
    comma: bool = False
    padded: tuple[str, ...] = ()
    lines: bool = False

    def of(self, *types: str) -> list[str]:
        """The names of the columns of these types."""
        return [n for n, t in zip(self.columns, self.types, strict=True) if t in types]


def layouts(paths: Sequence[str], system: Any) -> dict[str, Layout]:
    """The layout of each file that holds anything. Types are those of the first one that has rows, for all files with a column of
    that name. Raises DataError where there is none, or a file is no text in UTF-8."""
    found, typed = {}, None
    for path in paths:
        text = _head(path, system, HEAD if typed is None else 1 << 16)
        if not text.strip():
            continue
        if typed is None:
            found[path], rows = _sampled(text, path)
            typed = found[path] if rows else None
        else:
            found[path] = _sampled(text, path)[0]
    if not found:
        raise DataError(
            f"{paths[0]}: no data: the first line is empty" + (" as in all files" if len(paths) > 1 else "")
        )
    if typed is None:
        return found
    kinds = dict(zip(typed.columns, typed.types, strict=True))
    return {
        p: replace(
            one,
            types=tuple(kinds.get(n, t) for n, t in zip(one.columns, one.types, strict=True)),
            padded=tuple(n for n in one.columns if n in typed.padded or n in one.padded),
            comma=typed.comma,
        )
        for p, one in found.items()
    }


def _head(path: str, system: Any, most: int) -> str:
    """The first whole lines of a file, of `most` bytes, or its first line where that is longer."""
    with compressed.opened(path, system) as file:
        content = file.read(most)
        if len(content) == most:
            content = content[: content.rfind(b"\n") + 1] or content + file.readline(1 << 26)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: text in UTF-16; write it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: no text in UTF-8 (byte {error.start}); write it as UTF-8, as iconv -f WINDOWS-1252 -t UTF-8 does"
        ) from None


def _sampled(text: str, path: str) -> tuple[Layout, int]:
    """The layout of a file, and how many rows it was told from."""
    first = text[: text.find("\n") + 1 or None]
    if not first.strip():
        raise DataError(f"{path}: the first line is empty")
    separator = _separator(first)
    try:
        lines = [
            row for _, row in zip(range(SAMPLE + 1), csv.reader(io.StringIO(text), delimiter=separator), strict=False)
        ]
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as csv ({error})") from None
    lines = [row for row in lines if row]
    header = _names(lines[0])
    columns = _distinct([(header and c.strip()) or f"column_{i}" for i, c in enumerate(lines[0])])
    rows = lines[1:] if header else lines
    cells = [[row[i] if i < len(row) else "" for row in rows] for i in range(len(columns))]
    comma = separator != "," and any(_COMMA.fullmatch(c.strip()) for column in cells for c in column)
    types = tuple(_type(column, comma=comma) for column in cells)
    padded = tuple(n for n, column in zip(columns, cells, strict=True) if any(c != c.strip() for c in column))
    over = any("\n" in cell for row in lines for cell in row)
    return Layout(separator, header, columns, types, comma, padded, over), len(rows)


def _separator(line: str) -> str:
    bare = _QUOTED.sub("", line)
    counted = Counter(c for c in bare if c in ",;\t|")
    if not counted:
        return ","
    best = counted.most_common(1)[0][0]
    others = [c for c in counted if c != ","]
    if best == "," and others and all(_COMMA.fullmatch(c.strip()) or "," not in c for c in bare.split(others[0])):
        return others[0]  # numbers with decimal commas, and no names
    return best


def _names(cells: list[str]) -> bool:
    """Whether a first line has names: words; or 0, 1, 2, ..., as pandas writes where there are none, with or without an index."""
    bare = [c.strip() for c in cells]
    numbered = bare[1:] if not bare[0] else bare
    if len(numbered) > 1 and numbered == [str(i) for i in range(len(numbered))]:
        return True
    known = [c for c in bare if c not in MISSING]
    return not known or not all(_number(c) or _COMMA.fullmatch(c) for c in known)


def _distinct(given: list[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in given:
        again, at = name, 0
        while again in found:
            again, at = f"{name}_duplicated_{at}", at + 1
        found[again] = None
    return tuple(found)


def _type(cells: list[str], *, comma: bool) -> str:
    known = [b for c in cells if (b := c.strip()) not in MISSING]
    if comma and any(_COMMA.fullmatch(c) for c in known):
        return "number" if all("." not in c and _number(c.replace(",", ".")) for c in known) else "text"
    if all(map(_number, known)):
        return "number"
    return "bool" if all(c.lower() in ("true", "false") for c in known) else "text"


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def scan(paths: list[str], layout: Layout) -> Any:
    """A polars LazyFrame of files of one layout, one below the other."""

    def pieces(columns: Sequence[str]) -> Iterator[Any]:
        del columns
        for path in paths:
            head = b""
            for block in blocks.blocks(path, quote=b'"'):
                yield _scanned(head + block, layout)
                if layout.header and not head:
                    head = _line(block)

    return blocks.frame(next(pieces(())).collect_schema(), pieces)


def _line(block: bytes) -> bytes:
    """The first line, which goes on behind a line end inside quotes."""
    end = block.find(b"\n") + 1
    while end and block.count(b'"', 0, end) % 2:
        end = block.find(b"\n", end) + 1
    return block[:end] if end else block + b"\n"


def _scanned(text: bytes, layout: Layout) -> Any:
    """A polars LazyFrame of lines that begin with those of the names, if there are names."""
    import polars as pl

    how: dict[str, Any] = {"separator": layout.separator, "has_header": layout.header, "infer_schema": False}
    raw = pl.scan_csv(_line(text), **how).collect_schema().names()
    types = {"number": pl.Float64, "bool": pl.Boolean, "text": pl.String}
    called = dict(zip(layout.columns, raw, strict=True))
    over = {
        called[n]: pl.String if n in layout.padded else types[t]
        for n, t in zip(layout.columns, layout.types, strict=True)
    }
    frame = pl.scan_csv(
        text, null_values=MISSING, schema_overrides=over, decimal_comma=layout.comma and layout.separator != ",", **how
    )
    frame = frame.rename({old: new for new, old in called.items() if old != new}, strict=True)
    padded = {
        n: types[t] for n, t in zip(layout.columns, layout.types, strict=True) if n in layout.padded and t != "text"
    }
    return (
        frame.with_columns(_bare(pl.col(n), t, comma=layout.comma).alias(n) for n, t in padded.items())
        if padded
        else frame
    )


def _bare(column: Any, dtype: Any, *, comma: bool) -> Any:
    """Text with blanks around as numbers. An expression of polars."""
    import polars as pl

    bare = column.str.strip_chars()
    if dtype == pl.Boolean:
        return bare.str.to_lowercase().replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)
    known = pl.when(bare.is_in(MISSING)).then(None).otherwise(bare)
    return (known.str.replace(",", ".", literal=True) if comma else known).cast(pl.Float64)


def dataset(paths: list[str], system: Any, layout: Layout) -> Any:
    """A pyarrow dataset of files of one layout."""
    import pyarrow as pa
    from pyarrow import csv as arrow
    from pyarrow import dataset as ds

    types = {"number": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    convert = arrow.ConvertOptions(
        null_values=MISSING,
        strings_can_be_null=True,
        column_types={n: types[t] for n, t in zip(layout.columns, layout.types, strict=True)},
        decimal_point="," if layout.comma else ".",
        true_values=["true", "True", "TRUE"],
        false_values=["false", "False", "FALSE"],
    )
    read = arrow.ReadOptions(column_names=list(layout.columns), skip_rows=int(layout.header))
    parse = arrow.ParseOptions(delimiter=layout.separator, newlines_in_values=True)
    form = ds.CsvFileFormat(parse_options=parse, read_options=read, convert_options=convert)
    return ds.dataset(paths, format=form, filesystem=system)
