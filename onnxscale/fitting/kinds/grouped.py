"""Grouped: mean and std of each group of rows (grouping.py). A group that has no value of a column takes those of all rows."""

from __future__ import annotations

import numpy as np

from onnxscale.errors import DataError, names
from onnxscale.fitting.grouping import Groups, grouped
from onnxscale.fitting.kinds.base import Kind, Measured, Settings
from onnxscale.scalers import Grouped, Scaler
from onnxscale.step import Array


def _grouped(found: Measured, settings: Settings) -> Scaler:
    data = found.again("a scaler by groups")
    if not data.group:
        raise DataError("a grouped scaler needs the column of the groups: --group COLUMN")
    all_rows = found.profile
    groups = grouped(data, all_rows.mean)
    empty = groups.count == 0
    std = _ddof(groups.std, groups.count, settings.ddof)
    flat = ~empty & (std == 0)
    mean, std = np.where(empty, all_rows.mean, groups.mean), np.where(empty, all_rows.std, std)
    found.said.extend(_said(groups, empty, flat, data.group))
    return Grouped(data.group, groups.keys, mean, np.where(std == 0, 1.0, std))


def _ddof(std: Array, count: Array, ddof: int) -> Array:
    found: Array = std * np.sqrt(count / np.maximum(count - ddof, 1))
    return found


def _said(groups: Groups, empty: Array, flat: Array, by: str) -> list[str]:
    said = []
    for bad, what in (
        (empty, "have no value of a column and take the mean and std of all rows there"),
        (flat, "have one value only of a column, which is divided by 1"),
    ):
        there = [groups.keys[i] for i in np.flatnonzero(bad.any(axis=1))]
        if there:
            said.append(f"{len(there)} of {len(groups.keys)} groups {what}: {names(there)}")
    if groups.unkeyed:
        said.append(f"{groups.unkeyed:,} rows have no {by}: in no group")
    return said


GROUPED = Kind(_grouped, frozenset({"ddof"}), zero_variance="one value only in a group is divided by 1", rereads=True)
