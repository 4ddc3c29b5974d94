"""Files of named columns, opened by Polars (the embedded engine) or, without it and behind URLs, by pyarrow."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from onnxscale import remote
from onnxscale.data import alike, arrows, csvs, jsonlines, parquets
from onnxscale.data.alike import Files, Layout
from onnxscale.data.base import Batch, Data, Part, Selection, sharded
from onnxscale.data.files import Kind
from onnxscale.errors import DataError, names

ROWS = 1 << 16  # of a batch


@dataclass(frozen=True)
class Table(Kind):
    """A format of tables. layouts: paths, file system -> what is in each file that holds anything. scan: paths of one layout -> a
    polars LazyFrame. dataset: paths of one layout, file system -> a pyarrow dataset."""

    layouts: Callable[[Sequence[str], Any], Mapping[str, Layout]] = parquets.layouts
    scan: Callable[[list[str], Any], Any] = parquets.scan
    dataset: Callable[[list[str], Any, Any], Any] = parquets.dataset

    def files(self, paths: Sequence[str], chosen: Selection) -> tuple[Files, Selection]:
        """These files as one table; see alike.files. Raises DataError."""
        system, inner = _system(list(paths))
        return alike.files(self.layouts(inner, system), chosen)


TABLES = (
    Table("parquet", parquets.SUFFIXES, (parquets.MAGIC,), False, (), parquets.layouts, parquets.scan, parquets.dataset),
    Table(
        "arrow", arrows.SUFFIXES, (arrows.MAGIC, arrows.STREAM, arrows.FEATHER1), False, (),
        arrows.layouts, arrows.scan, arrows.dataset,
    ),
    Table("jsonlines", jsonlines.SUFFIXES, (), True, (jsonlines.PLAIN,), jsonlines.layouts, jsonlines.scan, jsonlines.dataset),
    Table("csv", csvs.SUFFIXES, (), True, (), csvs.layouts, csvs.scan, csvs.dataset),
)  # fmt: skip


def only_pyarrow(table: Table, path: str) -> bool:
    """Whether Polars does not read this file: an Arrow stream, or what bzip2 has compressed."""
    if remote.is_url(path):
        return True
    return path.lower().endswith(".bz2") or (table.name == "arrow" and arrows.is_stream(path, None))


def of_files(table: Table, paths: list[str], files: Files, chosen: Selection, about: Mapping[str, Any]) -> Data:
    """By pyarrow, in batches, without a frame. paths: as they were given. Raises DataError."""
    try:
        import pyarrow as pa
    except ImportError:
        raise DataError(
            f"{paths[0]}: reading {table.name} needs polars or pyarrow: pip install 'onnxscale[fit]' or 'onnxscale[parquet]'"
        ) from None
    system, _ = _system(paths)
    try:
        held = [table.dataset(group, system, layout) for group, layout in files.groups]
        known = _types(held[0].schema, files)
        every = list(known)
        columns = [every[i] for i in chosen.chosen(every, paths[0])]
        _numbers_only({n: known[n] for n in columns}, paths[0])
        types = [known[n] for n in columns]
        dtype = np.float32 if all(t in (pa.float32(), pa.float16(), pa.bool_()) for t in types) else np.float64
        condition = _condition(chosen.where, every) if chosen.where else None
        parts = _parts(table, files.paths, system, held, columns, dtype, condition)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{paths[0]}: cannot be read as {table.name} ({error})") from None
    return Data(
        tuple(columns), tuple(map(str, types)), sharded(parts, chosen.shard), about, None, "pyarrow", group=chosen.group
    )


def _types(schema: Any, files: Files) -> dict[str, Any]:
    """The type of each column that all files have."""
    import pyarrow as pa

    own = {n: pa.float64() if n in files.numbers else pa.string() for n in (*files.numbers, *files.texts)}
    stored = dict(zip(schema.names, schema.types, strict=True))
    return {n: own.get(n, stored[n]) for n in files.columns or schema.names}


def _system(paths: list[str]) -> tuple[Any, list[str]]:
    """The fsspec file system behind URLs, and the paths in it; None for local files."""
    if not remote.is_url(paths[0]):
        return None, paths
    there = [remote.opened(p) for p in paths]
    return there[0].system, [t.path for t in there]


def _numbers_only(types: Mapping[str, Any], what: str) -> None:
    import pyarrow as pa

    is_ = pa.types
    bad = [
        n
        for n, t in types.items()
        if not (is_.is_integer(t) or is_.is_floating(t) or is_.is_boolean(t) or is_.is_decimal(t))
    ]
    if bad:
        raise DataError(not_numbers(what, bad, types[bad[0]]))


def not_numbers(what: str, bad: list[str], dtype: object) -> str:
    """The message for columns that are no numbers."""
    listed = ('"' + n.replace('"', '""') + '"' if set(n) & set(',"\n') or n != n.strip() else n for n in bad[:3])
    some = " ".join(f"--exclude {shlex.quote(n)}" for n in listed)
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"{what}: {names(bad)} are not numbers ({dtype}); leave them out with {some}{more}, or name the columns with --columns"


def _condition(where: str, columns: list[str]) -> tuple[Any, list[str]]:
    """A row condition, and the columns it reads."""
    try:
        import polars  # noqa: F401
    except ImportError:
        raise DataError("a row condition (--where) is read by polars: pip install 'onnxscale[fit]'") from None
    expression = row_condition(where)
    read = expression.meta.root_names()
    missing = [n for n in read if n not in columns]
    if missing:
        raise DataError(f"--where {where}: no column {names(missing)}; there are {names(columns)}")
    return expression, read


def row_condition(where: str) -> Any:
    """A condition in SQL as a polars expression: columns, constants, operators and functions. Raises DataError where it is not
    one, or asks for other tables."""
    import polars as pl

    no_queries(where)
    try:
        return pl.sql_expr(where)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"--where {where}: is no condition on a row ({error})") from None


def no_queries(where: str) -> None:
    """Raises DataError where a condition holds a query: engines let one read any file."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", " ", where)
    query = r"\bselect\b|\(\s*(with|table|values|from|pivot|unpivot|describe|show|summarize)\b|;|--|/\*|\$\$"
    if re.search(query, bare, re.IGNORECASE):
        raise DataError(f"--where {where}: expected a condition on the columns of a row, without a query in it")


def _parts(
    table: Table, paths: list[str], system: Any, held: Sequence[Any], columns: list[str], dtype: Any, condition: Any
) -> list[Part]:
    def batches(stream: Callable[[list[str]], Iterator[Any]], asked: Sequence[int]) -> Iterator[Batch]:
        wanted = [columns[i] for i in asked]
        for batch in stream(list(dict.fromkeys([*wanted, *(condition[1] if condition else [])]))):
            rows = _filtered(batch, condition[0]) if condition else batch
            if len(rows):
                yield as_batch([rows[n] for n in wanted], dtype)

    def group(path: str, number: int) -> Callable[[list[str]], Iterator[Any]]:
        return lambda wanted: parquets.read_group(path, system, number, wanted)

    def fragment(held: Any) -> Callable[[list[str]], Iterator[Any]]:
        return lambda wanted: held.to_batches(columns=wanted, batch_size=ROWS, batch_readahead=1)

    if table.name != "parquet":
        return [Part(partial(batches, fragment(f))) for one in held for f in one.get_fragments()]
    counts = [(p, i, rows) for p in paths for i, rows in enumerate(parquets.groups(p, system))]
    return [Part(partial(batches, group(p, i)), None if condition else rows) for p, i, rows in counts]


def _filtered(batch: Any, expression: Any) -> Any:
    import polars as pl

    return pl.DataFrame(batch).filter(expression).to_arrow()


def as_batch(columns: list[Any], dtype: Any) -> Batch:
    """pyarrow columns as a batch of this dtype, (n, F) with each column in one piece."""
    values = np.empty((len(columns), len(columns[0])), dtype)
    missing = None
    for i, column in enumerate(columns):
        plain = column.cast("float64") if str(column.type).startswith(("decimal", "bool")) else column
        if column.null_count:
            missing = np.zeros(values.shape, np.bool_) if missing is None else missing
            missing[i] = column.is_null().to_numpy(zero_copy_only=False)
            plain = plain.cast("float64", safe=False) if not str(column.type).startswith("float") else plain
        values[i] = plain.to_numpy(zero_copy_only=False)
    return Batch(values.T, None if missing is None else missing.T)
