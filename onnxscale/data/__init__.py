"""Data of any size as columns of numbers: parquet, CSV, Arrow, JSON lines, npy and npz files, folders, patterns and URLs of them;
pictures; in Python also frames that narwhals knows, arrays, dicts of columns and iterators of batches.

A new format of tables is one file and one row of `tables.TABLES`; another one is a row of `KINDS`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from onnxscale import remote
from onnxscale.data import albums, arrays, engines, files, frames, pictures, tables
from onnxscale.data.base import Batch, Data, Part, Selection
from onnxscale.data.files import Kind
from onnxscale.errors import DataError

__all__ = ["KINDS", "Batch", "Data", "Part", "Selection", "opened"]

NUMPY = Kind("numpy", (".npy", ".npz"), (b"\x93NUMPY", b"PK\x03\x04"))
KINDS: tuple[Kind, ...] = (*tables.TABLES, NUMPY)


def opened(
    source: object, selection: Selection | None = None, *, engine: str = "", address: str = "", whole_hash: bool = False
) -> Data:
    """Data from anywhere, as the chosen columns and rows.

    source: a path, a URL, a pattern, a folder or a list of them; or a frame, an array, a dict of columns, an iterator of arrays.
    engine: what reads files: polars (the default where it is installed), duckdb, pyarrow, spark, dask, or "" for the best there is.
    address: the master of Spark or the scheduler of Dask. whole_hash: see files.fingerprint.
    Raises DataError where it cannot be read, has columns that are not numbers, or no such column.
    """
    chosen = selection or Selection()
    i, n = chosen.shard
    if not 1 <= i <= n:
        raise DataError(f"--shard {i}/{n}: expected i/n with i from 1 to n")
    if isinstance(source, str | os.PathLike) or _is_list_of_paths(source):
        return _of_files(source, chosen, engine, address, whole_hash)
    if engine and not (engine == "numpy" and isinstance(source, np.ndarray | Mapping)):
        raise DataError("an engine is chosen for files; a frame brings its own")
    if isinstance(source, np.ma.MaskedArray):
        return arrays.of_array(np.ma.filled(source.astype(np.float64), np.nan), chosen)
    if isinstance(source, np.ndarray):
        named = source.dtype.names  # of a structured array
        return arrays.of_columns({n: source[n] for n in named}, chosen) if named else arrays.of_array(source, chosen)
    if isinstance(source, Mapping):
        return arrays.of_columns(source, chosen)
    with engines.said("the frame cannot be read"):
        table = frames.table(source)
        if frames.is_frame(table):
            return frames.of_frame(table, chosen, {})
    if hasattr(source, "__array__") or isinstance(source, memoryview) or _is_numbers(source):
        return opened(frames.of_series(source) if hasattr(source, "to_frame") else arrays.array(source), chosen)
    if isinstance(source, Iterable):
        return _of_batches(source, chosen)
    raise DataError(f"a {type(source).__name__} is no data; expected files, a frame, an array, columns or batches")


def _of_batches(given: Iterable[Any], chosen: Selection) -> Data:
    """Frames or arrays, one after the other, told by the first one."""
    once = iter(given) is given
    stream = iter(given)
    head = next(stream, None)
    if head is None:
        raise DataError("no data: there are no batches")
    if hasattr(given, "tocsr"):
        raise DataError(
            "a sparse matrix: pass its rows as arrays, such as (m[i:i+1000].toarray() for i in range(0, m.shape[0], 1000))"
        )
    rest: Iterable[Any] = chain([head], stream) if once else given
    with engines.said("the frames cannot be read"):
        if frames.is_frame(frames.table(head)):
            return frames.of_frames(head, rest, chosen, once=once)
    return arrays.of_batches(head, rest, chosen, once=once)


def _is_numbers(source: object) -> bool:
    """Whether this is a list of numbers, or of rows of them; told by the first ones."""
    first = source[0] if isinstance(source, list | tuple) and source else None
    return isinstance(first[0] if isinstance(first, list | tuple) and first else first, int | float)


def _is_list_of_paths(source: object) -> bool:
    return isinstance(source, list | tuple) and bool(source) and all(isinstance(s, str | os.PathLike) for s in source)


def _of_files(source: object, chosen: Selection, engine: str, address: str, whole_hash: bool) -> Data:
    if albums.is_pictures(source):
        pictures.refuse(chosen)
        return pictures.opened(albums.listed(source))
    paths = files.expanded(source, KINDS)
    kind = files.kind_of(paths, KINDS)
    everything = files.sizes(paths)
    i, n = chosen.shard
    if n > 1 and len(paths) >= n:  # whole files, so that nothing is read twice
        paths, rest = paths[i - 1 :: n], replace(chosen, shard=(1, 1))
    else:
        rest = chosen
    about: dict[str, Any] = files.fingerprint(paths, whole=whole_hash)
    if chosen.where:
        about["where"] = chosen.where
    if n > 1:
        about["shard"] = {"of": n, "index": i, "by": "rows" if rest is chosen else "files", "data": everything}
    stamp = files.stamp(paths)

    def unchanged() -> bool:
        return files.stamp(paths) == stamp

    if isinstance(kind, tables.Table):
        return replace(engines.of_files(kind, paths, rest, about, engine, address), unchanged=unchanged)
    if engine not in ("", "numpy"):
        raise DataError(f"{paths[0]}: numpy reads its own files, not {engine}")
    if not any(map(remote.is_url, paths)):
        return replace(arrays.of_files(paths, rest, about), unchanged=unchanged)
    folder = tempfile.TemporaryDirectory(prefix="onnxscale-")
    local = [str(remote.fetch(remote.opened(p), _under(folder.name, at))) for at, p in enumerate(paths)]
    return replace(arrays.of_files(local, rest, about), held=folder)


def _under(folder: str, at: int) -> Path:
    made = Path(folder) / str(at)
    made.mkdir()
    return made
