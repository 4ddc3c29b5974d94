"""What is known of the data that statistics were fitted on, column by column: counts, moments, range and quantiles. `fit`
measures it, a statistics file and the record of a baked model carry it, `check` holds production data against it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.step import Array

PROBABILITIES: Array = np.linspace(0.0, 1.0, 65)
_COUNTS = ("count", "nulls", "nonfinite")
_MOMENTS = ("mean", "std", "min", "max")


@dataclass(frozen=True, eq=False)
class Profile:
    """The columns of a data set, F of them, in the order of the model's features.

    features: their names, or (). rows: how many were read. count: finite values per column, int64 of (F,); nulls,
    nonfinite: what is missing, NaN or infinite. mean, std (ddof 0), min, max: float64 of (F,), of the finite values.
    quantiles: float64 of (F, 65) at PROBABILITIES, inverse of the empirical distribution, or None. integral: whether
    all values of a column are whole numbers, or None. correlation: float64 of (F, F), or None. dtypes, units: per column,
    or (). about: where it was measured (files, sizes, hashes, engine, version), as JSON values.
    """

    rows: int
    count: Array
    nulls: Array
    nonfinite: Array
    mean: Array
    std: Array
    min: Array
    max: Array
    quantiles: Array | None = None
    integral: Array | None = None
    correlation: Array | None = None
    features: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return int(self.count.size)

    def of(self, columns: Array) -> Profile:
        """The same for these columns, by number, in this order."""
        held = {k: getattr(self, k) for k in (*_COUNTS, *_MOMENTS, "quantiles", "integral")}
        changed: dict[str, Any] = {k: None if v is None else v[columns] for k, v in held.items()}
        if self.correlation is not None:
            changed["correlation"] = self.correlation[np.ix_(columns, columns)]
        words = {k: getattr(self, k) for k in ("features", "dtypes", "units")}
        changed |= {k: tuple(v[i] for i in columns) if v else () for k, v in words.items()}
        return replace(self, **changed)

    def to_json(self, *, packed: bool = False) -> dict[str, Any]:
        """JSON values; every float64 reads back bit-equal. A column without a finite value has null for its moments.

        packed: the tables as base64 of their bytes, for the record of a model: 350 bytes of quantiles per float32 column.
        """
        content: dict[str, Any] = {"rows": self.rows}
        content |= {k: getattr(self, k).tolist() for k in _COUNTS}
        content |= {k: _spelled(getattr(self, k)) for k in _MOMENTS}
        for name in ("quantiles", "correlation"):
            if getattr(self, name) is not None:
                table = getattr(self, name)
                content[name] = _packed(table) if packed else [_spelled(row) for row in table]
        if self.integral is not None:
            content["integral"] = self.integral.astype(bool).tolist()
        content |= {k: list(getattr(self, k)) for k in ("features", "dtypes", "units") if getattr(self, k)}
        return content | ({"about": dict(self.about)} if self.about else {})

    @staticmethod
    def from_json(content: object, where: str = "profile") -> Profile:
        """The reverse of `to_json`. Raises StatisticsError naming the place where the content is not that."""
        if not isinstance(content, Mapping):
            raise StatisticsError(f"{where}: expected an object, got {type(content).__name__}")
        missing = [k for k in ("rows", *_COUNTS, *_MOMENTS) if k not in content]
        if missing:
            raise StatisticsError(f"{where}: {', '.join(missing)} missing")
        try:
            counts: dict[str, Any] = {k: np.asarray(content[k], np.int64) for k in _COUNTS}
            moments: dict[str, Any] = {k: np.asarray(content[k], np.float64) for k in _MOMENTS}
            tables: dict[str, Any] = {
                k: None if content.get(k) is None else _table(content[k]) for k in ("quantiles", "correlation")
            }
            integral = None if content.get("integral") is None else np.asarray(content["integral"], np.bool_)
            rows = int(content["rows"])
        except (TypeError, ValueError, OverflowError, KeyError, binascii.Error):
            raise StatisticsError(f"{where}: a value is not a number, or rows have different lengths") from None
        width = counts["count"].size
        wanted = dict.fromkeys((*_COUNTS, *_MOMENTS, "integral"), (width,))
        squares = {"quantiles": (width, PROBABILITIES.size), "correlation": (width, width)}
        for key, found in {**counts, **moments, **tables, "integral": integral}.items():
            if found is not None and found.shape != (shape := (wanted | squares)[key]):
                raise StatisticsError(f"{where}.{key}: expected the shape {shape}, got {found.shape}")
        text: dict[str, Any] = {k: content.get(k, ()) for k in ("features", "dtypes", "units")}
        for key, words in text.items():
            if not isinstance(words, list | tuple) or len(words) not in (0, width):
                raise StatisticsError(f"{where}.{key}: expected a list of {width} words")
            text[key] = tuple(map(str, words))
        about = content.get("about", {})
        if not isinstance(about, Mapping):
            raise StatisticsError(f"{where}.about: expected an object, got {type(about).__name__}")
        return Profile(rows, **counts, **moments, **tables, integral=integral, **text, about=about)


def _packed(table: Array) -> dict[str, Any]:
    """The bytes of a table, little-endian, as float32 where that is exact."""
    with np.errstate(over="ignore"):
        single = table.astype("<f4")
    exact = np.array_equal(single.astype(np.float64), table, equal_nan=True)
    held = single if exact else table.astype("<f8")
    text = base64.b64encode(held.tobytes()).decode("ascii")
    return {"dtype": "float32" if exact else "float64", "shape": list(table.shape), "base64": text}


def _table(content: Any) -> Array:
    """The reverse of `_packed`, or of plain lists of numbers. Raises what numpy and base64 raise."""
    if not isinstance(content, Mapping):
        return np.asarray(content, np.float64)
    kind = {"float32": "<f4", "float64": "<f8"}[content["dtype"]]
    rows, columns = map(int, content["shape"])
    values = np.frombuffer(base64.b64decode(content["base64"], validate=True), kind)
    return values.astype(np.float64).reshape(rows, columns)


def _spelled(values: Array) -> list[float | None]:
    return [v if np.isfinite(v) else None for v in values.tolist()]
