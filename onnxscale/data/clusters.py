"""Files as frames of Spark and Dask, the same columns of the same types as every other engine reads."""

from __future__ import annotations

from functools import reduce
from importlib import metadata
from typing import Any

from onnxscale.data import compressed
from onnxscale.data.alike import Files
from onnxscale.data.csvs import MISSING, Layout
from onnxscale.data.tables import Table
from onnxscale.errors import DataError


def spark(session: Any, table: Table, files: Files) -> Any:
    """A Spark frame of files. Raises DataError for a format that Spark has no reader of."""
    from pyspark.sql import functions as f

    def read(paths: list[str], layout: Any) -> Any:
        if table.name == "parquet":
            return session.read.parquet(*paths)
        if table.name == "jsonlines":
            return session.read.json(paths)
        if table.name == "csv":
            return _spark_csv(session, paths, layout)
        raise DataError(f"Spark does not read {table.name} files")

    def chosen(frame: Any) -> Any:
        cast = {**dict.fromkeys(files.numbers, "double"), **dict.fromkeys(files.texts, "string")}
        columns = [(n, f.col(f"`{n.replace('`', '``')}`")) for n in files.columns]
        return frame.select(*((c.cast(cast[n]) if n in cast else c).alias(n) for n, c in columns))

    frames = [read(paths, layout) for paths, layout in files.groups]
    return frames[0] if len(frames) == 1 else reduce(lambda a, b: a.unionAll(b), map(chosen, frames))


def _spark_csv(session: Any, paths: list[str], layout: Layout) -> Any:
    """Read as text and then taken for numbers: Spark knows one word only for what is missing."""
    from pyspark.sql import functions as f

    named = [f"c{i}" for i in range(len(layout.columns))]
    schema = ", ".join(f"{n} string" for n in named)
    cells = {"quote": '"', "escape": '"', "multiLine": layout.lines}  # with it a file is read in one piece
    frame = session.read.csv(paths, schema, sep=layout.separator, header=layout.header, **cells)
    wanted = []
    for i, name, kind in zip(named, layout.columns, layout.types, strict=True):
        text = f.when(~f.trim(i).isin(MISSING), f.trim(i))
        if kind == "number":
            text = (f.regexp_replace(text, ",", ".") if layout.comma else text).cast("double")
        wanted.append((text.cast("boolean") if kind == "bool" else text).alias(name))
    return frame.select(*wanted)


def dask(table: Table, files: Files) -> Any:
    """A Dask frame of files. Raises DataError for a format that Dask has no reader of."""
    import dask.dataframe as dd

    def read(paths: list[str], layout: Any) -> Any:
        if table.name == "parquet":
            return dd.read_parquet(paths, columns=list(files.columns))
        if table.name == "jsonlines":
            return dd.read_json(paths, lines=True, precise_float=True, dtype=False, convert_dates=False)
        if table.name == "csv":
            return dd.read_csv(paths, **_pandas(layout, paths))
        raise DataError(f"Dask does not read {table.name} files")

    cast = {**dict.fromkeys(files.numbers, "float64"), **dict.fromkeys(files.texts, "string")}
    frames = [read(paths, layout) for paths, layout in files.groups]
    return frames[0] if len(frames) == 1 else dd.concat([f[list(files.columns)].astype(cast) for f in frames])


def _pandas(layout: Layout, paths: list[str]) -> dict[str, Any]:
    """What pandas.read_csv is told of a layout."""
    types = {"number": "float64", "bool": "boolean", "text": "string"}
    whole = layout.lines or any(compressed.bare(p) != p.lower() for p in paths)  # cannot be cut into blocks
    none = {
        "number": [*MISSING, "nan", "NaN", "NAN"],
        "bool": MISSING,
        "text": MISSING,
    }  # pandas knows NaN and missing as one
    return {
        "sep": layout.separator,
        "header": 0 if layout.header else None,
        "names": list(layout.columns),
        "dtype": {n: types[t] for n, t in zip(layout.columns, layout.types, strict=True)},
        "na_values": {n: none[t] for n, t in zip(layout.columns, layout.types, strict=True)},
        "keep_default_na": False,
        "decimal": "," if layout.comma else ".",
        **({} if metadata.version("pandas") >= "3.1" else {"float_precision": "round_trip"}),  # later it always is
        "skipinitialspace": True,
        **({"blocksize": None} if whole else {}),
    }
