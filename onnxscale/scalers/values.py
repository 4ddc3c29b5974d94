"""Checks of statistics on their way in: what a mean and a divisor may be. Nothing is repaired here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.step import Array, constant


def numbers(values: object, name: str) -> Array:
    """`values` as finite float64, any shape. Booleans, strings, ragged rows, NaN and infinity are refused by name."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise StatisticsError(f"{name}: expected numbers, got rows of different lengths") from None
    if isinstance(values, list | tuple) and _says_true(values):  # numpy makes 1 of it, beside numbers
        raise StatisticsError(f"{name}: expected numbers, got true or false among them")
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise StatisticsError(f"{name}: expected numbers, got {_sort(array)}")
    array = array.astype(np.float64)
    if array.size == 0:
        raise StatisticsError(f"{name}: expected numbers, got an empty list")
    _each(np.isfinite(array), array, name, "a finite number")
    return constant(array)


def _says_true(values: list[object] | tuple[object, ...]) -> bool:
    return any(_says_true(v) if isinstance(v, list | tuple) else isinstance(v, bool | np.bool_) for v in values)


def divisor(values: object, name: str) -> Array:
    """As `numbers`, and above zero: a zero, negative or subnormal divisor makes no scaler."""
    array = numbers(values, name)
    if (array == 0).any():
        raise StatisticsError(
            f"{name} is 0 at {_where(array == 0)}: a constant feature cannot be divided by its spread. "
            f"Pass --zero-std one to divide it by 1, as scikit-learn does, or drop the feature"
        )
    _each(array >= np.finfo(np.float64).tiny, array, name, "a number above zero")
    return array


def places(columns: object, width: object, name: str = "columns") -> tuple[Array, int]:
    """Numbers of features and how many features there are. Raises StatisticsError for a number that is none of theirs."""
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width < 2**31:
        raise StatisticsError(f"width: expected a whole number from 1 on, got {str(width)[:40]!r}")
    array = numbers(columns, name)
    if array.ndim != 1 or ((array < 0) | (array >= width) | (array != np.floor(array))).any():
        raise StatisticsError(f"{name}: expected a list of whole numbers from 0 to {width - 1}")
    return array, width


def same_shape(**named: Array | None) -> None:
    """Statistics of one scaler have one width; a rank-0 value goes with any."""
    shapes = {name: values.shape for name, values in named.items() if values is not None and values.ndim}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} has {'x'.join(map(str, shape))}" for name, shape in shapes.items())
        raise StatisticsError(f"the statistics have different widths: {listed} values")


def optional(check: Callable[[object, str], Array], values: object, name: str) -> Array | None:
    """None stays None: scikit-learn writes it where centering or scaling is off."""
    return None if values is None else check(values, name)


def _sort(array: Array) -> str:
    item = array.ravel()[0] if array.size else None
    return {"b": "booleans", "U": f"text ({str(item)[:40]!r})", "S": "bytes", "c": "complex numbers"}.get(
        array.dtype.kind, f"{str(item)[:60]!r}"
    )


def _where(bad: Array, most: int = 5) -> str:
    if bad.ndim == 0:
        return "its only value"
    found = [i[0] if len(i) == 1 else tuple(map(int, i)) for i in np.argwhere(bad)[:most].tolist()]
    more = int(bad.sum()) - len(found)
    return f"feature {', '.join(map(str, found))}" + (f" and {more} more" if more > 0 else "")


def _each(good: Array, array: Array, name: str, expected: str) -> None:
    if not np.all(good):
        bad = np.asarray(~good)
        raise StatisticsError(f"{name} is {float(array[bad].ravel()[0])!r} at {_where(bad)}: expected {expected}")
