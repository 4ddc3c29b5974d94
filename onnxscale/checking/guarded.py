"""What guarded models summed up while they served (bake --guard-stats) -> one Summary, as `fit` measures of rows.

The app keeps the outputs of each batch as they are: npz files with an array per output, a batch or a stack of batches each, or JSON
lines, an object per batch. K, about which the sums are, stands in the model's record.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxscale import modelfile, recognition
from onnxscale.errors import DataError, ModelError, names
from onnxscale.fitting.doubled import pair
from onnxscale.fitting.summary import Summary, total
from onnxscale.profile import Profile
from onnxscale.step import Array
from onnxscale.transform import decode

SUMS = ("n", "missing", "sum", "square", "min", "max")
Given = str | os.PathLike[str] | Mapping[str, Any]


def summary(model: Any, given: Given | Sequence[Given], input: str = "") -> Summary:
    """The sum of all batches. model: the guarded model. given: files, or mappings of output names to arrays (F,) or (B, F) of B
    batches. input: which of several. Raises ModelError where the model has no such guard, DataError where the files do not fit."""
    entry = _entry(model, input)
    outputs = {k: str(entry["guard"]["outputs"][k]) for k in SUMS}
    shift = np.atleast_1d(decode(entry["guard"]["shift"], "guard.shift")).ravel()
    known = Profile.from_json(entry["profile"]) if "profile" in entry else None
    features = tuple(map(str, entry.get("features", ())))
    alike = {"features": features, "units": tuple(map(str, entry.get("units", ())))}
    parts: list[Summary] = []
    listed: Sequence[Given] = [given] if isinstance(given, str | os.PathLike | Mapping) else given
    for item in listed:
        for where, arrays in _batches(item):
            missing = [n for n in outputs.values() if n not in arrays]
            if missing:
                raise DataError(
                    f"{where}: no {names(missing)} among {names(arrays)}; keep the guard's outputs under their own names"
                )
            parts.append(_summed(where, {k: arrays[n] for k, n in outputs.items()}, shift, alike, known))
    if not parts:
        raise DataError("no batch of a guard's sums is there")
    return total(parts)


def _entry(model: Any, input: str) -> Mapping[str, Any]:
    with modelfile.open_model(model) as opened:
        record = recognition.recorded(opened) or {}
        guarded = {
            str(s.get("tensor")): s
            for s in record.get("scalers", [])
            if isinstance(s, Mapping) and set(SUMS) <= set(s.get("guard", {}).get("outputs", {}))
        }
        if not guarded:
            raise ModelError(f"{opened.name}: sums up no batches; bake it with --guard-stats")
        if input not in guarded and (input or len(guarded) > 1):
            raise ModelError(f"{opened.name}: guards {names(guarded)}; name one with --input")
        return guarded[input] if input else next(iter(guarded.values()))


def _batches(given: Given) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(given, Mapping):
        yield "the sums", given
        return
    path = Path(given)
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as held:
                yield path.name, {k: held[k] for k in held.files}
            return
        with path.open(encoding="utf-8") as lines:
            for at, line in enumerate(lines, 1):
                if line.strip():
                    found = json.loads(line)
                    if not isinstance(found, Mapping):
                        raise DataError(f"{path.name}:{at}: expected an object of outputs, got {type(found).__name__}")
                    yield f"{path.name}:{at}", found
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read as the sums of a guard, npz or JSON lines ({str(error)[:120]})"
        ) from None


def _summed(
    where: str, held: Mapping[str, Any], shift: Array, alike: Mapping[str, tuple[str, ...]], known: Profile | None
) -> Summary:
    """One batch or a stack of them. A feature without a value in a batch has no ends there."""
    try:
        rows = {k: np.asarray(v, np.float64).reshape(-1, shift.size) for k, v in held.items()}
    except (TypeError, ValueError):
        raise DataError(f"{where}: expected {shift.size} numbers for each batch, one per feature") from None
    if len({len(v) for v in rows.values()}) != 1:
        raise DataError(f"{where}: the outputs are of different numbers of batches")
    count, there = rows["n"], rows["n"] > 0
    if not (np.isfinite(count) & (count >= 0) & (count == np.round(count))).all():
        raise DataError(f"{where}: n holds what is no count")
    low, high = np.where(there, rows["min"], np.inf), np.where(there, rows["max"], -np.inf)
    if not np.isfinite(np.where(there, [rows[k] for k in ("sum", "square", "min", "max")], 0.0)).all():
        raise DataError(f"{where}: sums that are no numbers; were they kept in float32?")
    sums, squares = (np.where(there, rows[k], 0.0).sum(axis=0) for k in ("sum", "square"))
    return Summary(
        rows=int((count + rows["missing"]).max(axis=1).sum()),
        count=count.sum(axis=0).astype(np.int64),
        nulls=np.zeros(shift.size, np.int64),
        shift=shift,
        sum=pair(sums),
        square=pair(squares),
        min=low.min(axis=0),
        max=high.max(axis=0),
        whole=np.zeros(shift.size, np.bool_) if known is None or known.integral is None else known.integral,
        features=alike["features"],
        units=alike["units"],
        dtypes=() if known is None else known.dtypes,
        about={"engine": "guard"},
    )
