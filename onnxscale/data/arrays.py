"""Arrays: npy and npz files (memory-mapped where they are not compressed), numpy arrays, dicts of columns, iterators of batches."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxscale.data.base import Batch, Data, Part, Selection, sharded
from onnxscale.errors import DataError, names
from onnxscale.step import Array

ROWS = 1 << 16  # of a batch
NUMBERS = "fiub"  # kinds of dtype
RATIO, FREE = 200, 64 << 20  # how many times its size an array may unpack to, where it is larger than so many bytes
# what zipfile and numpy raise for a damaged file: numpy reads the header of an array as Python's syntax
_DAMAGE = (
    ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, tokenize.TokenError, MemoryError, OverflowError,
    RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_LOCAL_HEADER = 30  # bytes of a zip entry before its name and extra field (PKWARE APPNOTE 4.3.7)


def of_files(paths: list[str], chosen: Selection, about: Mapping[str, Any]) -> Data:
    """npy and npz files one below the other. An npz with one array is that array; one of several is a column each, by name."""
    tables = [_named(loaded(Path(p)), p, chosen) for p in paths]
    columns, first = tables[0][0], tables[0][1]
    for path, (own, arrays) in zip(paths, tables, strict=True):
        if own != columns or _width(arrays) != _width(first):
            raise DataError(
                f"{path}: has {_width(arrays)} columns {names(own)}, {paths[0]} {_width(first)} {names(columns)}"
            )
    return _data([(a, p) for (_, a), p in zip(tables, paths, strict=True)], columns, chosen, about)


def of_array(values: Array, chosen: Selection) -> Data:
    """A numpy array of (n, F), or of (n,) for one column; of more dimensions, see Selection.axis and steps."""
    return _data([([_columns(values, "the array", chosen)], "the array")], (), chosen, {})


def of_columns(given: Mapping[Any, Any], chosen: Selection) -> Data:
    """A dict of columns, each an array or a list of numbers."""
    arrays = [np.asarray(v) for v in given.values()]
    return _data([(arrays, "the columns")], tuple(map(str, given)), chosen, {})


def array(given: object) -> Array:
    """Something that numpy takes for an array. Raises DataError for rows of different lengths."""
    try:
        return np.asarray(given)
    except ValueError as error:
        raise DataError(f"no array of numbers ({error})") from None


def of_batches(head: Any, rest: Iterable[Any], chosen: Selection, *, once: bool) -> Data:
    """Arrays of (n, F), one after the other; head: the first of them. An iterator (once) can be read once, so that what needs a
    second pass is refused; a list can be read again."""
    whole = _columns(array(head), "the first batch", chosen)
    first = _flat(whole, chosen)
    if not first.size:
        raise DataError("the batches hold no rows")
    if chosen.where or chosen.shard != (1, 1):
        raise DataError("a row condition or a shard of batches: choose the rows before they are passed")
    columns = chosen.chosen([str(i) for i in range(first.shape[1])], "the batches")
    # what comes later may be wider than the first one, and only a list says so now
    held = [array(b).dtype for b in rest] if isinstance(rest, list | tuple) else [first.dtype]
    stored = _common(held)
    dtype = _floating([stored]) if isinstance(rest, list | tuple) else np.float64

    def read(asked: Sequence[int]) -> Iterator[Batch]:
        wanted = [columns[i] for i in asked]
        for at, values in enumerate(rest, 1):
            found = _flat(_columns(array(values), f"batch {at}", chosen), chosen)
            if found.shape[1] != first.shape[1]:
                raise DataError(f"batch {at} has {found.shape[1]} columns, the first one {first.shape[1]}")
            if found.dtype.kind not in NUMBERS:
                raise DataError(f"batch {at} is {found.dtype}, no numbers")
            yield Batch(found[:, wanted].astype(_floating([found.dtype]) if once else dtype))

    dtypes = (stored.name,) * len(columns)
    return Data((), dtypes, (Part(read),), once=once, shape=_shape(whole, len(dtypes), chosen))


def loaded(path: Path) -> Array | dict[str, Array]:
    """The array of a npy file, or those of an npz by name; nothing is unpickled. Raises DataError for a damaged file, and for one
    that unpacks to far more than it has."""
    try:
        if not zipfile.is_zipfile(path):
            whole: Array = np.load(path, mmap_mode="r", allow_pickle=False)
            return whole
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        for e in entries:
            if e.file_size > max(FREE, RATIO * e.compress_size):
                raise DataError(
                    f"{path}: {e.filename[:80]!r} unpacks to {e.file_size:,} bytes from {e.compress_size:,}, as a bomb does; "
                    f"if it is honest, save it uncompressed (numpy.savez)"
                )
        with np.load(path, allow_pickle=False) as held:
            found: dict[str, Array] = {e.filename.removesuffix(".npy"): _entry(path, e, held) for e in entries}
    except _DAMAGE as error:
        raise DataError(f"{path}: cannot be read as numpy arrays ({str(error)[:200]})") from None
    if not found:
        raise DataError(f"{path}: no array in it")
    return found


def _entry(path: Path, entry: zipfile.ZipInfo, held: Any) -> Array:
    """One array of an npz: a view of the file where numpy.savez stored it as it is, else in memory."""
    if entry.compress_type != zipfile.ZIP_STORED:
        return np.asarray(held[entry.filename.removesuffix(".npy")])
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(_LOCAL_HEADER)
        start = entry.header_offset + _LOCAL_HEADER
        start += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(start)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject or not np.prod(shape):
            return np.asarray(held[entry.filename.removesuffix(".npy")])
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _named(loaded: Array | dict[str, Array], path: str, chosen: Selection) -> tuple[tuple[str, ...], list[Array]]:
    """Names of columns and their arrays; a matrix is one array without names."""
    if isinstance(loaded, np.ndarray):
        if loaded.dtype.names:
            return loaded.dtype.names, [loaded[n] for n in loaded.dtype.names]
        return (), [_columns(loaded, path, chosen)]
    if len(loaded) == 1:
        return (), [_columns(next(iter(loaded.values())), path, chosen)]
    wide = [n for n, a in loaded.items() if a.ndim != 1]
    if wide:
        raise DataError(
            f"{path}: several arrays, of which {names(wide)} are no columns; save one matrix, or a column each"
        )
    return tuple(loaded), list(loaded.values())


def _columns(values: Array, what: str, chosen: Selection) -> Array:
    """An array whose first axis has the rows, and whose last one the features."""
    if values.ndim == 0:
        raise DataError(f"{what}: one value; expected rows of features")
    if chosen.steps and values.ndim < 3:
        raise DataError(f"{what}: has the shape {values.shape}; there are no steps between rows and features")
    if chosen.axis is None:
        return values[:, None] if values.ndim == 1 else values
    if not (0 < chosen.axis < values.ndim or 1 - values.ndim <= chosen.axis < 0):
        raise DataError(f"{what}: has the shape {values.shape}; axis {chosen.axis} is none that features can lie on")
    return np.moveaxis(values, chosen.axis, -1)


def _flat(values: Array, chosen: Selection) -> Array:
    """(n, F) of it: a row a step, or all steps of a row as its columns."""
    return values.reshape(len(values), -1) if chosen.steps else values.reshape(-1, values.shape[-1])


def _shape(values: Array, width: int, chosen: Selection) -> tuple[int, ...]:
    """What columns that are steps times features are laid out as. Raises DataError where some are left out."""
    if not chosen.steps:
        return ()
    if int(np.prod(values.shape[1:])) != width:
        raise DataError("columns of an array by steps cannot be left out; cut the array before")
    return values.shape[1:]


def _width(arrays: list[Array]) -> int:
    return arrays[0].shape[-1] if _is_matrix(arrays) else len(arrays)


def _data(
    tables: list[tuple[list[Array], str]], columns: tuple[str, ...], chosen: Selection, about: Mapping[str, Any]
) -> Data:
    if chosen.where:
        raise DataError("a row condition needs columns with names: parquet, CSV, Arrow, JSON lines or a frame")
    what = tables[0][1]
    whole = tables[0][0][0]
    if chosen.steps and not columns:
        tables = [([_flat(arrays[0], chosen)], where) for arrays, where in tables]
    known = columns or tuple(str(i) for i in range(_width(tables[0][0])))
    index = chosen.chosen(known, what)
    each = [_dtypes(arrays) for arrays, _ in tables]
    dtypes = {i: _common([own[i] for own in each]) for i in index}
    bad = [i for i in index if dtypes[i].kind not in NUMBERS]
    if bad:
        raise DataError(
            f"{what}: {names(known[i] for i in bad)} are not numbers ({dtypes[bad[0]]}); leave them out with --exclude"
        )
    dtype = _floating(dtypes.values())
    parts = [part for arrays, where in tables for part in _parts(arrays, index, dtype, where)]
    return Data(
        tuple(known[i] for i in index) if columns else (),
        tuple(dtypes[i].name for i in index),
        sharded(parts, chosen.shard),
        about,
        shape=() if columns else _shape(whole, len(index), chosen),
        array=() if columns else whole.shape,
    )


def _dtypes(arrays: list[Array]) -> list[np.dtype[Any]]:
    return [arrays[0].dtype] * arrays[0].shape[-1] if _is_matrix(arrays) else [a.dtype for a in arrays]


def _common(dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype that holds the values of all these, or the first one that is no number."""
    bad = [d for d in dtypes if d.kind not in NUMBERS]
    return bad[0] if bad else np.result_type(*dtypes)


def _is_matrix(arrays: list[Array]) -> bool:
    return len(arrays) == 1 and arrays[0].ndim > 1


def _floating(dtypes: Iterable[np.dtype[Any]]) -> type[np.floating[Any]]:
    """float32 where that holds every value of these exactly, else float64."""
    return np.float32 if all(np.can_cast(d, np.float32) for d in dtypes) else np.float64


def _parts(arrays: list[Array], index: list[int], dtype: Any, what: str) -> Iterator[Part]:
    lengths = {len(a) for a in arrays}
    if len(lengths) > 1:
        raise DataError(f"{what}: the columns have different lengths ({', '.join(map(str, sorted(lengths)))})")
    total = lengths.pop()
    inner = int(np.prod(arrays[0].shape[1:-1])) if _is_matrix(arrays) else 1  # rows that one of the first axis has
    length = max(ROWS // max(inner, 1), 1)

    def reader(first: int, last: int) -> Part:
        def read(asked: Sequence[int]) -> Iterator[Batch]:
            columns = [index[i] for i in asked]
            every = columns == list(range(_width(arrays)))
            for at in range(first, last, length):
                rows = slice(at, min(at + length, last))
                if not _is_matrix(arrays):
                    yield Batch(np.stack([arrays[i][rows] for i in columns], axis=1).astype(dtype, copy=False))
                else:
                    cut = arrays[0][rows] if every else arrays[0][rows][..., columns]
                    yield Batch(np.asarray(cut).reshape(-1, len(columns)).astype(dtype, copy=False))

        return Part(read, (last - first) * inner)

    step = 16 * length
    for at in range(0, total, step):
        yield reader(at, min(at + step, total))
