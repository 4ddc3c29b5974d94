"""Statistics from data of any size: what `onnxscale fit` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from typing import Any

from onnxscale import data
from onnxscale.data import Selection, albums, pictures
from onnxscale.errors import DataError
from onnxscale.fitting import images, kinds
from onnxscale.fitting.kinds import Settings
from onnxscale.fitting.measuring import measured
from onnxscale.fitting.merging import merge, next_round, shard
from onnxscale.fitting.scaling import Tell, fitted, settings_of
from onnxscale.fitting.summary import Summary
from onnxscale.statistics import Fitted, Source, Statistics

__all__ = ["Settings", "Summary", "fit", "merge", "next_round", "shard", "summarize"]


ONCE = "no quantiles: an iterator is read once, so that check will know mean, std and range alone; a list of batches has them"


def fit(
    source: object,
    kind: str = "standard",
    *,
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    where: str = "",
    target: str | Sequence[str] = (),
    group: str = "",
    axis: int | None = None,
    steps: bool = False,
    engine: str = "",
    address: str = "",
    correlation: bool = False,
    exact: bool | None = None,
    units: Mapping[str, str] | None = None,
    whole_hash: bool = False,
    tell: Tell = lambda rows: None,
    **settings: Any,
) -> Statistics:
    """Fit a scaler to data of any size: files, frames, arrays, dicts of columns or batches (see data.opened).

    kind: a row of kinds.KINDS. columns, exclude, where, target: which of the data; a target's scaler is among the outputs.
    group: the column whose value says which group a row belongs to; each gets a mean and std of its own. axis: of arrays, where the
    features lie, by default last. steps: statistics for each place of an array's other axes, as of (time, F), not over them.
    engine, address, whole_hash: see data.opened. correlation: measure it too. exact: read the data again for 65 exact quantiles of
    each column; None: where it can be read again, which an iterator cannot (a warning of the result says so). units: by column.
    tell: called with what was done since the last call. settings: see kinds.Settings.
    Raises DataError (StatisticsError where the scaler cannot be).
    """
    asked = settings_of(settings)
    if group and kind in ("standard", "grouped"):
        kind = "grouped"
    elif group:
        raise DataError(f"a {kind} scaler by groups: only mean and std are fitted by group")
    aims = (target,) if isinstance(target, str) else tuple(target)
    chosen = Selection(tuple(columns), tuple(exclude), where, tuple(t for t in aims if t), (1, 1), group, axis, steps)
    if albums.is_pictures(source):
        return _of_pictures(source, kind, chosen, tell)
    row = kinds.kind(kind, asked)
    plain = kinds.kind("standard", Settings()) if group else row  # of a target

    def one(selection: Selection, own: Mapping[str, str]) -> Fitted:
        with closing(data.opened(source, selection, engine=engine, address=address, whole_hash=whole_hash)) as opened:
            if opened.once and (exact or chosen.target or (row.rereads or row.asks(asked, 1))):
                raise DataError(
                    "an iterator is read once: no quantiles, no target, no kind that needs them; pass data that can be read again, "
                    "as a list of batches can"
                )
            summary = measured(opened, correlation=correlation, units=own, tell=tell)
            used = row if selection is chosen else plain
            again = not opened.once if exact is None else exact
            found = fitted(summary, used, asked, opened, exact=again, tell=tell)
            said = (ONCE,) if exact is None and not again else ()
            return replace(found, axis=axis, warnings=(*found.warnings, *said))

    split = {n: u for n, u in (units or {}).items() if n in chosen.target}
    features = one(chosen, {n: u for n, u in (units or {}).items() if n not in split})
    outputs: dict[str | None, Fitted] = {None: one(chosen.of_target(), split)} if chosen.target else {}
    ddof = asked.ddof if "ddof" in row.settings else None
    return Statistics({None: features}, outputs, _origin(source, ddof, row.zero_variance))


def _origin(source: object, ddof: int | None, zero_variance: str) -> Source:
    several = isinstance(source, list | tuple)
    said = ", ".join(map(str, source)) if isinstance(source, list | tuple) and len(source) < 4 else str(source)
    named = said[:200] if several or isinstance(source, str) else ""
    return Source("fit", named, "", "onnxscale", metadata.version("onnxscale"), ddof, zero_variance)


def _of_pictures(source: object, kind: str, chosen: Selection, tell: Tell) -> Statistics:
    if kind not in ("standard", "image"):
        raise DataError(f"a {kind} scaler of pictures: they are fitted as kind image, a mean and std for each channel")
    pictures.refuse(chosen)
    return Statistics({None: images.fitted(pictures.counted(albums.listed(source), tell))}, {}, _origin(source, 0, ""))


def summarize(source: object, selection: Selection | None = None, *, correlation: bool = False) -> Summary:
    """The summary alone, of data from anywhere: it adds to others, and has a profile. Raises DataError."""
    with closing(data.opened(source, selection)) as opened:
        return measured(opened, correlation=correlation)
