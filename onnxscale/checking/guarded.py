"""What a guarded model summed up while it served (bake --guard-stats), as one Summary to check, or to add to what `fit` measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onnxscale import modelfile, recognition
from onnxscale.errors import DataError, names
from onnxscale.fitting.summary import Summary, total
from onnxscale.guarding import reading
from onnxscale.profile import Profile

Path = str | os.PathLike[str]


def summary(model: Any, files: Path | Sequence[Path], input: str = "") -> Summary:
    """The sum of all batches in the files, npz or JSON lines (reading.summaries). model: the guarded one. input: which of several.

    Raises DataError where the model has no such guard, or a file does not fit it.
    """
    with modelfile.open_model(model) as opened:
        record = recognition.recorded(opened) or {}
    listed = [files] if isinstance(files, str | os.PathLike) else files
    found = [reading.summaries(record, f) for f in listed]
    if not found:
        raise DataError("no file of a guard's sums is named")
    known = found[0]
    if input not in known and (input or len(known) > 1):
        raise DataError(f"guarded are the inputs {names(known)}; name one with --input")
    name = input or next(iter(known))
    return replace(total([f[name] for f in found]), dtypes=_dtypes(record, name))


def _dtypes(record: Any, name: str) -> tuple[str, ...]:
    """What the columns were stored as in training, so that the sums add to those of the training data."""
    entry = next(s for s in record["scalers"] if s.get("tensor") == name and "guard" in s)
    return Profile.from_json(entry["profile"]).dtypes if "profile" in entry else ()
