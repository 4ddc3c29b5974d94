"""The kinds of scaler there are. A new kind is one file and one row of `KINDS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers.affine import Affine
from onnxscale.scalers.base import Scaler
from onnxscale.scalers.binarizer import Binarizer
from onnxscale.scalers.clip import Clip
from onnxscale.scalers.decibel import Decibel
from onnxscale.scalers.function import Function
from onnxscale.scalers.gray import Gray
from onnxscale.scalers.grouped import Grouped
from onnxscale.scalers.image import Image
from onnxscale.scalers.imputer import Imputer
from onnxscale.scalers.indicator import Indicator
from onnxscale.scalers.instance import Instance
from onnxscale.scalers.kbins import KBins
from onnxscale.scalers.logmel import LogMel
from onnxscale.scalers.maxabs import MaxAbs
from onnxscale.scalers.minmax import MinMax
from onnxscale.scalers.normalizer import Normalizer
from onnxscale.scalers.pcm import Pcm
from onnxscale.scalers.polynomial import Polynomial
from onnxscale.scalers.power import Power
from onnxscale.scalers.projection import Projection
from onnxscale.scalers.quantile import Quantile
from onnxscale.scalers.robust import Robust
from onnxscale.scalers.select import Select
from onnxscale.scalers.spline import Spline
from onnxscale.scalers.standard import Standard
from onnxscale.scalers.steps import Steps

__all__ = [
    "KINDS", "ROWS", "SKLEARN", "Affine", "Binarizer", "Clip", "Decibel", "Function", "Gray", "Grouped", "Image", "Imputer",
    "Indicator", "Instance", "KBins", "LogMel", "MaxAbs", "MinMax", "Normalizer", "Pcm", "Polynomial", "Power",
    "Projection", "Quantile", "Robust", "Scaler", "Select",
    "Spline", "Standard", "Steps", "make",
]  # fmt: skip

ROWS: tuple[type[Scaler], ...] = (
    Standard, MinMax, MaxAbs, Robust, Power, Quantile, Normalizer, Function, Imputer, Indicator, Binarizer, KBins, Image, Gray, Clip,
    Select, Projection, Polynomial, Spline, Instance, Grouped, Decibel, Pcm, LogMel, Affine, Steps,
)  # fmt: skip
KINDS: dict[str, type[Scaler]] = {row.kind: row for row in ROWS}
SKLEARN: dict[str, type[Scaler]] = {name: row for row in ROWS for name in row.sklearn.split()}


def make(kind: str, fields: Mapping[str, object]) -> Scaler:
    """The scaler of this kind from its statistics. Raises StatisticsError for an unknown kind and for missing or
    unknown fields, naming what the kind has."""
    row = KINDS.get(kind)
    if row is None:
        raise StatisticsError(f"unknown kind of scaler {kind!r}; known are {names(KINDS)}")
    known = {f.name: f for f in dataclasses.fields(row)}  # type: ignore[arg-type]
    required = [
        n for n, f in known.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing, unknown = [n for n in required if n not in fields], [n for n in fields if n not in known]
    if missing or unknown:
        said = [f"{label} {names(what)}" for label, what in (("misses", missing), ("has unknown", unknown)) if what]
        raise StatisticsError(f"a {kind!r} scaler has the fields {names(known)}; this one {' and '.join(said)}")
    return row(**fields)
