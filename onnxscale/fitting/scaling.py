"""Summary -> Fitted: the scaler of a kind, its quantiles, and the profile that goes with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from math import prod
from typing import Any

import numpy as np

from onnxscale.data import Data
from onnxscale.data.engines import said
from onnxscale.errors import DataError, names
from onnxscale.fitting import afar, noticing
from onnxscale.fitting.kinds import Kind, Measured, Settings
from onnxscale.fitting.quantiles import Asked, quantiles
from onnxscale.fitting.rounds import Counts
from onnxscale.fitting.summary import Summary
from onnxscale.profile import PROBABILITIES, Profile
from onnxscale.scalers import Scaler, make
from onnxscale.statistics import Fitted
from onnxscale.step import Array

Tell = Callable[[int], None]
GRID = Asked(PROBABILITIES)


def fitted(
    summary: Summary,
    row: Kind,
    settings: Settings,
    source: Data | None,
    *,
    exact: bool = True,
    counts: Counts | None = None,
    tell: Tell = lambda rows: None,
) -> Fitted:
    """The scaler of a summary, with its profile. source: the data, which are read again for quantiles, or None; then
    counts, of all shards, may stand for them. exact: whether to take 65 quantiles of each column.

    Raises DataError where a column has no finite value, or quantiles are needed and there is nothing to take them from.
    """
    plain = summary.profile()
    noticing.refuse_useless(plain)
    asks = row.asks(settings, summary.rows)
    about: dict[str, Any] = {"confidence": noticing.confidence(plain)}
    listed = (GRID, *asks) if exact and (source is not None or counts is not None) else asks
    found: list[Array] = []
    if listed and source is not None:
        far = source.engine in afar.ENGINES
        with said(f"{source.engine} did not get through"):
            found = (
                afar.quantiles(source, *listed) if far else quantiles(source.arrays, source.width, *listed, tell=tell)
            )
        source.settled()
    elif listed:
        if counts is None:
            raise DataError("quantiles need the data, or parts that were measured with them (fit --shard --quantiles)")
        found, error = counts.quantiles(listed)
        found = [np.clip(f, summary.min[:, None], summary.max[:, None]) for f in found]
        about |= {"quantile_rank_error": error} if error else {}
    grid = found.pop(0) if len(found) > len(asks) else None
    about |= {"shape": list(source.shape)} if source is not None and source.shape else {}
    profile = summary.profile(grid, about)
    known = Measured(profile, tuple(found), source, tell=tell)
    scaler = row.make(known, settings)
    shape = source.shape if source is not None else ()
    return made(_shaped(scaler, shape) if shape else scaler, profile, known.said, shape or (profile.width,))


def made(scaler: Scaler, profile: Profile, said: Sequence[str], shape: tuple[int, ...]) -> Fitted:
    """A scaler with what is known of the data it was fitted on."""
    return Fitted(
        scaler,
        features=profile.features,
        units=profile.units,
        data_min=profile.min.reshape(shape),
        data_max=profile.max.reshape(shape),
        warnings=(*noticing.warnings(profile), *said),
        profile=profile,
    )


def _shaped(scaler: Scaler, shape: tuple[int, ...]) -> Scaler:
    """The same scaler with its statistics laid out as the rows are, such as (time, F)."""
    given = {f.name: getattr(scaler, f.name) for f in fields(scaler)}  # type: ignore[arg-type]
    arrays = {n: v for n, v in given.items() if isinstance(v, np.ndarray) and v.ndim}
    if any(v.size != prod(shape) for v in arrays.values()):
        raise DataError(f"a {scaler.kind} scaler has no statistics by step; fit it per feature, without --per-step")
    return make(scaler.kind, {**given, **{n: v.reshape(shape) for n, v in arrays.items()}})


def settings_of(given: Mapping[str, Any]) -> Settings:
    unknown = [n for n in given if n not in Settings.__dataclass_fields__]
    if unknown:
        raise DataError(f"unknown settings {names(unknown)}; known are {names(Settings.__dataclass_fields__)}")
    return Settings(**given)
