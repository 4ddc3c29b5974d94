"""LeRobot: meta/stats.json of a dataset, with mean, std, min, max and quantiles of each observation and of the action.

lerobot/processor/normalize_processor.py: mean-std: (x - mean) / (std + 1e-8), and back y * std + mean; min-max, quantiles (q01 and
q99) and quantile10 (q10 and q90): 2 (x - low) / (high - low) - 1. Which one a policy takes stands in the policy: --dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Scaler, Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform

EPS = 1e-8
ACTION = "action"
_STATISTICS = {"mean", "std", "min", "max"}
_ENDS = {"min-max": ("min", "max"), "quantiles": ("q01", "q99"), "quantile10": ("q10", "q90")}
DIALECTS = {
    "mean-std": "(x - mean) / (std + 1e-8)",
    "min-max": "2 (x - min) / (max - min) - 1",
    "quantiles": "2 (x - q01) / (q99 - q01) - 1",
    "quantile10": "2 (x - q10) / (q90 - q10) - 1",
}


def is_lerobot(content: Mapping[Any, Any]) -> bool:
    ours = [v for k, v in content.items() if _named(k)]
    return bool(ours) and all(isinstance(v, Mapping) and set(v) >= _STATISTICS for v in ours)


def _named(key: object) -> bool:
    return key == ACTION or str(key).startswith("observation.")


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scalers of the observations as inputs and of the action as output, by their names; with reading.pick the one of that
    name. Raises StatisticsError without reading.dialect, and for statistics that the dialect needs and the file lacks."""
    if reading.dialect not in DIALECTS:
        listed = "; ".join(f"--dialect {name}: {formula}" for name, formula in DIALECTS.items())
        raise StatisticsError(f"a LeRobot dataset can be scaled in several ways, and the policy says which: {listed}")
    found = {str(k): v for k, v in content.items() if _named(k)}
    source = replace(source, eps=EPS)
    if reading.pick:
        name, one = picked(found, reading, "observations and actions")
        return alone(_fitted(name, one, reading.dialect, back=False), source)
    inputs: dict[str | None, Fitted] = {
        k: _fitted(k, v, reading.dialect, back=False) for k, v in found.items() if k != ACTION
    }
    outputs: dict[str | None, Fitted] = {
        k: _fitted(k, v, reading.dialect, back=True) for k, v in found.items() if k == ACTION
    }
    return Statistics(inputs, outputs, source)


def _fitted(name: str, row: Mapping[str, Any], dialect: str, *, back: bool) -> Fitted:
    wanted = _ENDS.get(dialect, ("mean", "std"))
    missing = [k for k in wanted if k not in row]
    if missing:
        raise StatisticsError(f"{name}: has no {names(missing)}, which --dialect {dialect} needs")
    image = name.startswith("observation.image")

    def held(key: str, check: Callable[[object, str], Array] = numbers) -> Array:
        values = check(row[key], f"{name}.{key}")
        return values.reshape(-1) if image else values

    scaler: Scaler
    if dialect == "mean-std":
        spread = held("std", divisor) if back else held("std") + EPS
        scaler = Steps(Transform((Step("Sub", (held("mean"),)), Step("Div", (spread,)))))
    else:
        low, high = held(wanted[0]), held(wanted[1])
        width = np.where(high == low, EPS, high - low)
        steps = (("Sub", low), ("Mul", constant(2)), ("Div", width), ("Sub", constant(1)))
        scaler = Steps(Transform(tuple(Step(op, (v,)) for op, v in steps)))
    note = f"{name}: {DIALECTS[dialect]}" + (", of pixels from 0 to 1" if image else "")
    return Fitted(scaler, -3 if image else None, data_min=held("min"), data_max=held("max"), notes=(note,))
