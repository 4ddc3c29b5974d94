"""What a pickle holds, as values that do nothing: names, records of objects that were never made, arrays.

Nothing here imports, calls or looks up what a file names. A record says "an object of this class, with this state";
`plain` turns it into values for the readers, under limits of depth and size.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.step import Array

DEPTH, VALUES = 32, 500_000
# packages whose own objects may lie in the state of a fitted scaler; what is called elsewhere is named and refused
SCIENTIFIC = ("sklearn", "numpy", "scipy")


@dataclass(frozen=True)
class Global:
    """A name such as `sklearn.preprocessing._data.StandardScaler`. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:120]

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def key(self) -> tuple[str, str]:
        """Module and name, whichever Python and numpy wrote them."""
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(self.module, self.module)
        module = module.removeprefix("sklearn.externals.") if module.startswith("sklearn.externals.joblib") else module
        return module.replace("numpy._core", "numpy.core", 1), self.name

    @property
    def standard(self) -> bool:
        """Whether Python itself, numpy or joblib brings it: packages whose few functions in a scaler are all known."""
        return self.key[0].partition(".")[0] in sys.stdlib_module_names | {"numpy", "joblib"}


@dataclass(eq=False)
class Record:
    """An object that was never made: what made it, from which arguments, and its state. called: by a function, not a class."""

    of: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None
    called: bool = False
    items: list[Any] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.of}>"


@dataclass(eq=False)
class Held:
    """An array whose values come later in the file. value: an ndarray, or a list of objects with the shape, or None."""

    value: Array | None = None
    objects: list[Any] | None = None
    shape: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return "<array>"


@dataclass(frozen=True, eq=False)
class Odd:
    """Something that is no plain value and that nothing here reads: an array of records, an unhashable key."""

    what: str

    def __repr__(self) -> str:
        return f"<{self.what}>"


@dataclass(frozen=True, eq=False)
class Estimator:
    """An object of scikit-learn's: package and name of its class, and its attributes as plain values."""

    package: str
    module: str
    name: str
    raw: Any

    @cached_property
    def state(self) -> Mapping[str, Any]:
        if not isinstance(self.raw, Mapping):
            raise StatisticsError(
                f"{self.module}.{self.name} has no attributes: it was never fitted, or is something else"
            )
        made = plain(self.raw) if type(self.raw) is dict else self.raw
        assert isinstance(made, Mapping)
        return made

    def __repr__(self) -> str:
        return f"<{self.name}>"


@dataclass(frozen=True, eq=False)
class Document:
    """What a pickle or skops file holds, inert."""

    root: Any


def plain(value: Any) -> Any:
    """`value` with arrays in place and records as Estimators, whose own state stays closed until it is asked for.

    Raises StatisticsError for a call that has no place in a scaler, and past the limits of depth and size.
    """
    left = [VALUES]

    def turned(item: Any, depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > DEPTH:
            raise StatisticsError(f"nested more than {DEPTH} levels deep, or more than {VALUES:,} values")
        if isinstance(item, dict):
            return {k: turned(v, depth + 1) for k, v in item.items()}
        if isinstance(item, list | tuple):
            return type(item)([turned(v, depth + 1) for v in item])
        if isinstance(item, Held):
            return _array(item, depth)
        if isinstance(item, Record):
            return _record(item, depth)
        return item

    def _array(held: Held, depth: int) -> Any:
        if held.objects is None:
            return Odd("an array without values") if held.value is None else held.value
        array = np.empty(len(held.objects), object)
        for i, item in enumerate(held.objects):
            array[i] = turned(item, depth + 1)
        return array.reshape(held.shape)

    def _record(record: Record, depth: int) -> Any:
        key = record.of.key
        if key == ("builtins", "slice") and len(record.arguments) == 3:
            parts = record.arguments
            return slice(*parts) if all(p is None or isinstance(p, int | str) for p in parts) else Odd("slice")
        if key[1] == "_RemainderColsList" and isinstance(
            record.state, dict
        ):  # a list with a warning, by scikit-learn 1.5 on
            return turned(record.state.get("data"), depth + 1)
        if record.of.package not in SCIENTIFIC and not record.of.standard and record.called:
            raise StatisticsError(refused(record.of))
        return Estimator(record.of.package, record.of.module, record.of.name, record.state)

    return turned(value, 0)


def refused(of: Global) -> str:
    return (
        f"calls {of}, which no fitted scaler does. Nothing was run. Do not unpickle this file unless you know who wrote it; "
        f"if you do, take the scaler out in Python and bake it from there"
    )
