"""Statistics from data of any size: what `onnxscale fit` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from onnxscale import data
from onnxscale.data import Selection
from onnxscale.errors import DataError
from onnxscale.fitting import kinds
from onnxscale.fitting.kinds import Settings
from onnxscale.fitting.measuring import measured
from onnxscale.fitting.merging import merge, next_round, shard
from onnxscale.fitting.scaling import Tell, fitted, settings_of
from onnxscale.fitting.summary import Summary
from onnxscale.statistics import Fitted, Source, Statistics

__all__ = ["Settings", "Summary", "fit", "merge", "next_round", "shard", "summarize"]


def fit(
    source: object,
    kind: str = "standard",
    *,
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    where: str = "",
    target: str | Sequence[str] = (),
    engine: str = "",
    address: str = "",
    correlation: bool = False,
    exact: bool = True,
    units: Mapping[str, str] | None = None,
    whole_hash: bool = False,
    tell: Tell = lambda rows: None,
    **settings: Any,
) -> Statistics:
    """Fit a scaler to data of any size: files, frames, arrays, dicts of columns or batches (see data.opened).

    kind: a row of kinds.KINDS. columns, exclude, where, target: which of the data; a target's scaler is among the outputs.
    engine, address, whole_hash: see data.opened. correlation: measure it too. exact: read the data again for 65 exact quantiles of
    each column. units: by column. tell: called with what was done since the last call. settings: see kinds.Settings.
    Raises DataError (StatisticsError where the scaler cannot be).
    """
    asked = settings_of(settings)
    row = kinds.kind(kind, asked)
    aims = (target,) if isinstance(target, str) else tuple(target)
    chosen = Selection(tuple(columns), tuple(exclude), where, tuple(t for t in aims if t))

    def one(selection: Selection, own: Mapping[str, str]) -> Fitted:
        opened = data.opened(source, selection, engine=engine, address=address, whole_hash=whole_hash)
        if opened.once and (exact or chosen.target or row.asks(asked)):
            raise DataError(
                "an iterator is read once: no quantiles and no target; pass exact=False, or data that can be read again"
            )
        summary = measured(opened, correlation=correlation, units=own, tell=tell)
        return fitted(summary, row, asked, opened, exact=exact, tell=tell)

    split = {n: u for n, u in (units or {}).items() if n in chosen.target}
    features = one(chosen, {n: u for n, u in (units or {}).items() if n not in split})
    outputs: dict[str | None, Fitted] = {None: one(chosen.of_target(), split)} if chosen.target else {}
    said = ", ".join(map(str, source)) if isinstance(source, list | tuple) and len(source) < 4 else str(source)
    version = metadata.version("onnxscale")
    ddof = asked.ddof if "ddof" in row.settings else None
    origin = Source(
        "fit",
        said[:200] if isinstance(source, str | list | tuple) else "",
        "",
        "onnxscale",
        version,
        ddof,
        row.zero_variance,
    )
    return Statistics({None: features}, outputs, origin)


def summarize(source: object, selection: Selection | None = None, *, correlation: bool = False) -> Summary:
    """The summary alone, of data from anywhere: it adds to others, and has a profile. Raises DataError."""
    return measured(data.opened(source, selection), correlation=correlation)
