"""Grouped: (x - mean) / std with the statistics of the group a row belongs to, whose key is an input of its own (a store, a
sensor, a ticker)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers.values import divisor, numbers
from onnxscale.step import Array, Option, Step
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Grouped:
    """by: the input with the key of each row, added to the model where it has none. groups: the keys, all whole numbers or all
    text. mean, std: float64 of (groups, features), or (groups,) for one value each. default: the group of keys that are not
    known; without it they make their row NaN."""

    by: str
    groups: tuple[int | str, ...]
    mean: Array
    std: Array
    default: int | str | None = None
    kind: ClassVar[str] = "grouped"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.by, str) or not self.by:
            raise StatisticsError(f"by: expected the name of the input with the keys, got {self.by!r}")
        keys = list(self.groups) if isinstance(self.groups, list | tuple) else []
        kinds = {type(k) for k in keys}
        if kinds not in ({int}, {str}) or len(set(keys)) != len(keys):
            raise StatisticsError("groups: expected the keys, all whole numbers or all text, none twice")
        if any(isinstance(k, int) and not -(2**63) <= k < 2**63 for k in keys):
            raise StatisticsError("groups: a key does not fit into an int64")
        mean, std = numbers(self.mean, "mean"), divisor(self.std, "std")
        for name, table in (("mean", mean), ("std", std)):
            if table.ndim == 0 or len(table) != len(keys):
                raise StatisticsError(
                    f"{name}: expected a row for each of the {len(keys)} groups, got the shape {table.shape}"
                )
        if mean.shape != std.shape:
            raise StatisticsError(f"mean and std have different shapes: {mean.shape} and {std.shape}")
        if self.default is not None and self.default not in keys:
            raise StatisticsError(f"default: {self.default!r} is none of the groups {names(map(str, keys))}")
        object.__setattr__(self, "groups", tuple(keys))
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    def transform(self) -> Transform:
        options: dict[str, Option] = {"reads": self.by, "ops": "Sub,Div", "keys": json.dumps(list(self.groups))}
        options |= {} if self.default is None else {"default": json.dumps(self.default)}
        return Transform((Step("Grouped", (self.mean, self.std), options),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Grouped:
        raise StatisticsError("no scikit-learn class scales by groups")
