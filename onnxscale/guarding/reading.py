"""What serving kept of the sums that a guard gives (--guard-stats), as summaries that merge with those of `fit`."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxscale.errors import DataError, names
from onnxscale.fitting.doubled import pair
from onnxscale.fitting.summary import Summary, total
from onnxscale.guarding.values import SUMS
from onnxscale.step import Array
from onnxscale.transform import decode


def summaries(record: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Summary]:
    """One Summary for each input whose guard has sums. record: of the baked model (recognition.recorded). path: an npz file of the
    guard's outputs by their names, each of one batch (the features' shape) or of B batches stacked, (B, *features); or JSON lines,
    one object of the same names for each batch. Whether values are whole numbers no sum tells, so `whole` is False.

    Raises DataError where the model has no such guard, or the file is damaged or not of this model.
    """
    found = {}
    for entry in record.get("scalers", []):
        guard = entry.get("guard") if isinstance(entry, Mapping) else None
        outputs = guard.get("outputs", {}) if isinstance(guard, Mapping) else {}
        if isinstance(guard, Mapping) and "shift" in guard and set(SUMS) <= set(outputs):
            found[str(entry.get("tensor"))] = (entry, guard, outputs)
    if not found:
        raise DataError("the model has no guard with sums; bake it with --guard-stats")
    wanted = {str(outputs[k]) for _, _, outputs in found.values() for k in SUMS}
    held = _read(Path(path), wanted)
    made = {}
    for name, (entry, guard, outputs) in found.items():
        missing = [outputs[k] for k in SUMS if outputs[k] not in held]
        if missing:
            raise DataError(f"{path}: {names(missing)} missing; expected the outputs of the guard of input {name!r}")
        shift = np.ravel(decode(guard["shift"], "guard.shift"))
        sums = {k: _batches(held[outputs[k]], shift.size, f"{path}: {outputs[k]}") for k in SUMS}
        features, units = (tuple(map(str, entry.get(k, ()))) for k in ("features", "units"))
        words = {k: v for k, v in (("features", features), ("units", units)) if len(v) == shift.size}
        made[name] = _summed(sums, shift, f"{path}: the guard of input {name!r}", words)
    return made


def _read(path: Path, wanted: Collection[str]) -> dict[str, Any]:
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as file:
                return {k: file[k] for k in file.files}
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        keys = {k for row in rows for k in row if k in wanted}  # outputs of each row are as long as their batch
        return {k: np.stack([np.asarray(row[k], np.float64) for row in rows]) for k in keys}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: expected an npz file or JSON lines of a guard's outputs ({error})") from None


def _batches(values: Any, width: int, where: str) -> Array:
    """float64 of (B, F)."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or not array.size or array.size % width:
        raise DataError(
            f"{where}: expected numbers for {width} features in each batch, got {array.dtype} {array.shape}"
        )
    return array.astype(np.float64).reshape(-1, width)


def _summed(sums: Mapping[str, Array], shift: Array, where: str, words: Mapping[str, Any]) -> Summary:
    if len({v.shape for v in sums.values()}) != 1:
        raise DataError(f"{where}: its outputs are not of the same batches")
    counts = np.stack([sums["n"], sums["missing"]])
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.round(counts)).all()):
        raise DataError(f"{where}: n and missing are counts, and one of them is not a whole number")
    empty = sums["n"] == 0
    if not (empty | ((sums["square"] >= 0) & (sums["min"] <= sums["max"]))).all():
        raise DataError(f"{where}: a sum of squares is below zero, or a minimum above its maximum")
    parts = []
    for i in range(len(empty)):
        n, missing, s, q, low, high = (sums[k][i] for k in SUMS)
        low, high = np.where(n > 0, low, np.inf), np.where(n > 0, high, -np.inf)
        rows, none = int((n + missing).max()), np.zeros(shift.size, np.int64)
        whole = np.zeros(shift.size, np.bool_)
        parts.append(Summary(rows, n.astype(np.int64), none, shift, pair(s), pair(q), low, high, whole, **words))
    return total(parts)
