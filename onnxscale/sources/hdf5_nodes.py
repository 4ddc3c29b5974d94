"""The groups and datasets of an HDF5 file, read by h5py.

A link that is not hard, a dataset whose bytes lie in another file, is virtual or was filtered by a plug-in is refused before any value
is read: HDF5 would open what the file names. A damaged file can crash libhdf5, so it runs in a process of its own.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.sources.isolation import isolated
from onnxscale.step import Array

OBJECTS, LARGEST = 20_000, 16 << 20
ATTRIBUTES = ("model_config", "keras_version", "layer_names", "weight_names", "name")
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}


@dataclass(frozen=True)
class Node:
    """A group or dataset. attributes: its own. shape: of a dataset, else None. read: its values, decoded when asked for."""

    attributes: Mapping[str, Any]
    shape: tuple[int, ...] | None = None
    read: Callable[[], Array] = field(default=lambda: np.zeros(0))


def opened(data: bytes, use: Callable[[Mapping[str, Node]], Any]) -> Any:
    """use(nodes by their path, "" for the root), while the file is open. Raises StatisticsError for damage, a missing library and for
    everything that would make HDF5 open another file or run a plug-in."""
    try:
        import h5py
    except ImportError:
        raise StatisticsError("reading Keras and HDF5 files needs h5py: pip install 'onnxscale[keras]'") from None
    _heaps(data)
    return isolated(lambda: _used(h5py, data, use), "the HDF5 library")


def _used(h5py: Any, data: bytes, use: Callable[[Mapping[str, Node]], Any]) -> Any:
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return use(_nodes(file, h5py))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, SystemError, MemoryError) as error:
        raise StatisticsError(f"a damaged HDF5 file, or a type that numpy has not ({str(error)[:120]})") from None


def _heaps(data: bytes) -> None:
    """The collections in which HDF5 keeps text: libhdf5 walks them by the sizes they state, and never ends where one is damaged.

    HDF5 file format specification, III.E: "GCOL", version 1, size; then objects of index, count and size, padded to 8; 0 is the rest.
    """
    start = data.find(b"GCOL\1\0\0\0")
    while start >= 0:
        end, at = start + int.from_bytes(data[start + 8 : start + 16], "little"), start + 16
        if end > len(data) or end < at:
            raise StatisticsError("a damaged HDF5 file (a collection of its texts is longer than the file)")
        while end - at >= 16:
            index, size = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 8 : at + 16], "little")
            wide = size if index == 0 else 16 + (size + 7) // 8 * 8
            if wide < 16 or at + wide > end:
                raise StatisticsError("a damaged HDF5 file (a text is longer than its collection)")
            at += wide
        start = data.find(b"GCOL\1\0\0\0", start + 8)


def _nodes(file: Any, h5py: Any) -> dict[str, Node]:
    found = {"": Node(_attributes(file))}
    left = [("", file)]
    while left:
        prefix, group = left.pop()
        for name in group:
            path = f"{prefix}/{name}" if prefix else str(name)
            if len(found) >= OBJECTS or len(path) > 1000:
                raise StatisticsError(f"an HDF5 file of more than {OBJECTS:,} objects, or nested without an end")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise StatisticsError(
                    f"{path[:80]!r} is a link to somewhere else ({type(link).__name__}), which is not followed"
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                left.append((path, item))
                found[path] = Node(_attributes(item))
            elif isinstance(item, h5py.Dataset):
                _safe(item, path)
                found[path] = Node(_attributes(item), _shape(item), _reader(item, path))
    return found


def _shape(dataset: Any) -> tuple[int, ...]:
    return () if dataset.shape is None else tuple(dataset.shape)


def _attributes(item: Any) -> dict[str, Any]:
    """The attributes that a reader asks for; how many values one has is judged before they are read."""
    found = {}
    for name in ATTRIBUTES:
        if name in item.attrs:
            held = item.attrs.get_id(name)
            if math.prod(held.shape or ()) > OBJECTS or held.dtype.kind not in "OSUiuf":
                raise StatisticsError(
                    f"the attribute {name!r} has {math.prod(held.shape or ()):,} values of {held.dtype}"
                )
            found[name] = item.attrs[name]
    return found


def _safe(dataset: Any, path: str) -> None:
    layout = dataset.id.get_create_plist()
    if dataset.is_virtual or layout.get_external_count():
        raise StatisticsError(f"the values of {path[:80]!r} lie in another file, which is not opened")
    used = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    if any(f not in FILTERS for f in used):
        raise StatisticsError(
            f"{path[:80]!r} needs the plug-in {names(f for f in used if f not in FILTERS)}, which is not run"
        )


def _reader(dataset: Any, path: str) -> Callable[[], Array]:
    def values() -> Array:
        size = math.prod(_shape(dataset)) * dataset.dtype.itemsize
        if dataset.dtype.kind not in "fiu" or size > LARGEST or dataset.shape is None:
            raise StatisticsError(
                f"{path[:80]!r} holds {size:,} bytes of {dataset.dtype}; expected numbers, at most {LARGEST:,}"
            )
        return np.asarray(dataset[()])

    return values
