"""What a file of Python objects holds, as inert values: names of classes and what was stored in their instances.

Nothing here is imported, called or instantiated from a name that a file gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.step import Array

MOST_BYTES = 128 << 20
KINDS = "fiubUS"


@dataclass(frozen=True)
class Global:
    """The name of a class or a function. module, name: as the file spells them."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """An instance of a class, or what a call would have made. state: its attributes, or None; args: of the call."""

    what: Global
    args: tuple[Any, ...] = ()
    called: bool = False
    state: Any = None
    items: list[Any] = field(default_factory=list)

    @property
    def module(self) -> str:
        return self.what.module

    @property
    def name(self) -> str:
        return self.what.name


@dataclass(frozen=True)
class Opaque:
    """A value that no scaler needs and that is not read. what: in words."""

    what: str


def decoded(data: bytes, dtype: str, shape: tuple[int, ...], order: str = "C") -> Array | Opaque:
    """Raw bytes as an array [*shape]. Raises StatisticsError where the size is not that of the shape."""
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise StatisticsError(f"an array has the unknown data type {dtype[:40]!r}") from None
    if found.kind not in KINDS or found.fields or found.subdtype:
        return Opaque(f"an array of {dtype[:40]}")
    count = 1
    for size in shape:
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise StatisticsError("an array has a shape that is no shape")
        count *= size
    if count * found.itemsize != len(data):
        raise StatisticsError(
            f"an array of shape {shape} and type {found} has {len(data):,} bytes; the file is damaged"
        )
    if count == 0:
        return np.zeros(shape, found)
    array = np.frombuffer(data, found).reshape(shape, order="F" if order == "F" else "C")
    return array.astype(found.newbyteorder("="))
