"""The user's own raw rows: npy, npz, csv or parquet, as arrays by input name."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxscale.data.arrays import loaded
from onnxscale.errors import PlanError, StatisticsError, names
from onnxscale.graph import InputSpec
from onnxscale.plans import Placement
from onnxscale.sources.isolation import isolated
from onnxscale.step import Array

Table = tuple[list[str], Array]


@dataclass(frozen=True)
class Slot:
    """An input that rows are for: what they are cast to, and the names of its features, or ()."""

    spec: InputSpec
    dtype: str
    features: tuple[str, ...] = ()


def read(path: str | os.PathLike[str], placements: Sequence[Placement]) -> dict[str, Array]:
    """Raw rows for the scaled inputs. A table's columns are matched to the feature names where both are known.

    Raises PlanError where the file cannot be read, or does not fit the inputs.
    """
    scaled = [Slot(p.spec, p.graph_dtype, p.fitted.features) for p in placements if p.role == "input"]
    return read_slots(path, scaled)


def read_slots(path: str | os.PathLike[str], slots: Sequence[Slot]) -> dict[str, Array]:
    """The same for these inputs."""
    file = Path(path)
    if not file.is_file():
        raise PlanError(f"{file}: no such file; expected rows as npy, npz, csv or parquet")
    placed = {s.spec.name: s for s in slots}
    try:
        with file.open("rb") as opened:
            head = opened.read(6)
        if zipfile.is_zipfile(file) or file.suffix == ".npy" or head == b"\x93NUMPY":
            held = loaded(file)
            arrays = held if isinstance(held, dict) else {"": held}
        else:
            columns, table = _parquet(file) if head[:4] == b"PAR1" else _csv(file)
            arrays = {"": _ordered(columns, table, placed, file)}
    except (ValueError, OSError, csv.Error, StatisticsError) as error:
        raise PlanError(f"{file}: cannot be read as rows ({str(error)[:300]})") from None
    if len(arrays) == 1 and len(placed) == 1:
        arrays = {next(iter(placed)): next(iter(arrays.values()))} if set(arrays) != set(placed) else arrays
    missing = [n for n in placed if n not in arrays]
    if missing:
        raise PlanError(f"{file}: holds {names(arrays)}, but the inputs are {names(placed)}; name the arrays so")
    return {n: _cast(v, placed[n], file) if n in placed else v for n, v in arrays.items()}


def _cast(values: Array, p: Slot, file: Path) -> Array:
    if values.dtype.kind not in "fiub":
        raise PlanError(f"{file}: the rows for {p.spec.name!r} are {values.dtype}, not numbers")
    rank = None if p.spec.shape is None else len(p.spec.shape)
    if rank is not None and values.ndim != rank:
        raise PlanError(f"{file}: the rows have {values.ndim} dimensions, input {p.spec.prose()} has {rank}")
    inner = zip((p.spec.shape or ())[1:], values.shape[1:], strict=False)
    if any(isinstance(n, int) and n != m for n, m in inner):
        raise PlanError(f"{file}: the rows have the shape {values.shape}, which does not fit input {p.spec.prose()}")
    return values.astype(np.dtype(p.dtype))


def _csv(file: Path) -> Table:
    with file.open(newline="", encoding="utf-8") as text:
        lines = list(csv.reader(text))
    if not lines:
        raise PlanError(f"{file}: the file is empty")
    try:
        [float(v) for v in lines[0]]
        columns, body = [], lines
    except ValueError:
        columns, body = lines[0], lines[1:]
    return columns, np.array([[float(v) for v in line] for line in body if line])


def _parquet(file: Path) -> Table:
    try:
        from pyarrow import parquet
    except ImportError:
        raise PlanError(f"{file}: reading parquet needs pyarrow (pip install 'onnxscale[parquet]')") from None

    def read() -> Table:
        try:
            table = parquet.read_table(file, use_threads=False)
            return table.column_names, np.column_stack([c.to_numpy() for c in table.columns])
        except (ValueError, OSError) as error:  # pyarrow's own errors are these too
            raise StatisticsError(str(error).partition("\n")[0]) from None

    return isolated(read, "the parquet library")


def _ordered(columns: list[str], table: Array, placed: dict[str, Slot], file: Path) -> Array:
    features = next(iter(placed.values())).features if len(placed) == 1 else ()
    if not columns or not features:
        return table
    missing = [f for f in features if f not in columns]
    if missing:
        raise PlanError(f"{file}: has no column {names(missing)}; the scaler's features are {names(features)}")
    return np.asarray(table[:, [columns.index(f) for f in features]])
