"""Kinds of scaler that are fitted, each from a profile of the data and what more it asks for. A new kind is one file and one row."""

from __future__ import annotations

from onnxscale.errors import DataError, names
from onnxscale.fitting.kinds.base import Kind, Measured, Settings
from onnxscale.fitting.kinds.clip import CLIP
from onnxscale.fitting.kinds.grouped import GROUPED
from onnxscale.fitting.kinds.imputer import IMPUTER
from onnxscale.fitting.kinds.minmax import MAXABS, MINMAX
from onnxscale.fitting.kinds.power import POWER
from onnxscale.fitting.kinds.quantile import QUANTILE
from onnxscale.fitting.kinds.robust import ROBUST
from onnxscale.fitting.kinds.standard import STANDARD

__all__ = ["KINDS", "Kind", "Measured", "Settings", "kind"]

KINDS: dict[str, Kind] = {
    "standard": STANDARD,
    "minmax": MINMAX,
    "maxabs": MAXABS,
    "robust": ROBUST,
    "quantile": QUANTILE,
    "power": POWER,
    "grouped": GROUPED,
    "imputer": IMPUTER,
    "clip": CLIP,
}


def kind(name: str, settings: Settings) -> Kind:
    """The row of this name; min-max is minmax. Raises DataError for an unknown one, and for settings that it does not take."""
    row = KINDS.get(name.replace("-", "").replace("_", ""))
    if row is None:
        raise DataError(f"unknown kind {name!r}; fit knows {names(KINDS)}")
    extra = [s for s in settings.said() if s not in row.settings]
    if extra:
        flags = ", ".join(f"--{s.replace('_', '-')}" for s in extra)
        raise DataError(f"{flags}: a {name} scaler has no such setting")
    return row
