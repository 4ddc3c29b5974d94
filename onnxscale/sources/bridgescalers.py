"""bridgescaler: scalers as it saves them in JSON, its own and scikit-learn's (bridgescaler/distributed.py, deep.py, group.py).

What it computes of its statistics (a root, a range) it computes in their dtype, and so does this.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import SKLEARN, Scaler, Standard, Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.sources import arrays, sklearns
from onnxscale.sources.dialects import ones
from onnxscale.sources.inert import Estimator
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

_DTYPE = re.compile(r"[<>|][fiub][1248]|[<>|]U\d{1,4}")
_OWN = re.compile(r"(D|Deep|Group)(Standard|MinMax|Robust|Quantile)(Scaler|Transformer)(Tensor)?")
State = Mapping[str, Any]


def is_bridge(content: Mapping[Any, Any]) -> bool:
    own = content.get("type")
    if not isinstance(own, str):
        return False
    arrays_held = any(
        isinstance(v, Mapping) and ("__numpy__" in v or v.get("object") == "ndarray") for v in content.values()
    )
    return _OWN.fullmatch(own) is not None or (own in SKLEARN and arrays_held)


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler. Raises StatisticsError naming the class, or the attribute."""
    name = str(content["type"])
    state = {str(k): _decoded(v, str(k)) for k, v in content.items() if k != "type"}
    if name in SKLEARN:
        read = sklearns.statistics(Estimator("sklearn", "sklearn.preprocessing", name, state), source)
        return dataclasses.replace(
            read, source=dataclasses.replace(read.source, framework="bridgescaler (scikit-learn)")
        )
    row = _SCALERS.get(name)
    if row is None:
        raise StatisticsError(
            f"bridgescaler's {name} is not a scaler that is known; known are {names([*_SCALERS, *SKLEARN], 20)}"
        )
    make, ddof = row
    try:
        scaler, low, high = make(state, reading)
    except KeyError as error:
        raise StatisticsError(f"this {name} has no {error}: was it fitted?") from None
    except (TypeError, ValueError, IndexError) as error:
        raise StatisticsError(
            f"the attributes of this {name} are not what bridgescaler writes ({str(error)[:80]})"
        ) from None
    columns = state.get("x_columns_")
    listed = [] if columns is None else list(np.asarray(columns, object).ravel())
    features = tuple(listed) if listed and all(isinstance(n, str) for n in listed) else ()
    first = state.get("channels_last", True) is False
    source = dataclasses.replace(
        source, framework="bridgescaler", ddof=ddof, zero_variance="a constant feature is divided by 0 and becomes NaN"
    )
    return alone(Fitted(scaler, axis=1 if first else None, features=features, data_min=low, data_max=high), source)


def _decoded(value: Any, key: str) -> Any:
    """An attribute: numpy's arrays from their bytes in base64, or, in older files, from lists. Anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    if value.get("object") == "ndarray":
        data = value.get("data")
        if not isinstance(data, list) or any(isinstance(v, list | Mapping) for v in data):
            raise StatisticsError(f"{key}: an array that is no list of values")
        return np.asarray(data, object if value.get("dtype") == "|O" else None)
    if "__numpy__" not in value:
        return value
    code, shape = value.get("dtype"), arrays.shape(value.get("shape"))
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise StatisticsError(f"{key}: an array of the type {str(code)[:40]!r} is not read")
    try:
        flat = np.frombuffer(base64.b64decode(str(value["__numpy__"]), validate=True), code)
        return flat.reshape(shape) if shape else flat[0]
    except (binascii.Error, ValueError, TypeError, IndexError) as error:
        raise StatisticsError(f"{key}: a damaged array ({str(error)[:80]})") from None


Made = tuple[Scaler, Array | None, Array | None]


def _standard(mean: str, spread: str, squared: bool = False) -> Callable[[State, Reading], Made]:
    """(x - mean) / spread, or / sqrt(spread)."""

    def make(state: State, reading: Reading) -> Made:
        wide = numbers(state[spread], spread)
        if (wide < 0).any():
            raise StatisticsError(f"{spread} holds {float(wide.min())!r}, which is not of a fitted scaler")
        own = np.asarray(state[spread])
        return Standard(numbers(state[mean], mean), ones(np.sqrt(own) if squared else own, reading)), None, None

    return make


def _min_max(low: str, high: str) -> Callable[[State, Reading], Made]:
    """(x - min) / (max - min)."""

    def make(state: State, reading: Reading) -> Made:
        first, last = numbers(state[low], low), numbers(state[high], high)
        return Steps(_ranged(first, last, np.asarray(state[high]) - np.asarray(state[low]), reading)), first, last

    return make


def _ranged(first: Array, last: Array, spread: Array, reading: Reading) -> Transform:
    if first.shape != last.shape or (last < first).any():
        raise StatisticsError("the smallest and the largest values do not fit each other")
    return Transform((Step("Sub", (first,)), Step("Div", (divisor(ones(spread, reading), "the range"),))))


def _grouped(state: State, *keys: str) -> list[Array]:
    """The statistics of each column: those of its group, the last that names it."""
    found = []
    for column in list(state["x_columns_"]):
        fits = [i for i, g in enumerate(state["groups_"]) if (column in g if isinstance(g, list) else column == g)]
        if not fits:
            raise StatisticsError(f"the column {str(column)[:40]!r} is in none of the groups")
        found.append(fits[-1])
    values = [numbers(state[k], k) for k in keys]
    if any(v.shape != (len(state["groups_"]),) for v in values):
        raise StatisticsError(f"{names(keys)} do not have one value for each of {len(state['groups_'])} groups")
    return [v[found] for v in values]


def _group_standard(state: State, reading: Reading) -> Made:
    center, scale = _grouped(state, "center_", "scale_")
    return Standard(center, ones(scale, reading)), None, None


def _group_min_max(state: State, reading: Reading) -> Made:
    first, last = _grouped(state, "mins_", "maxes_")
    pair = numbers(state["feature_range"], "feature_range")
    if pair.shape != (2,):
        raise StatisticsError("feature_range: expected two numbers")
    ends = Transform((Step("Mul", (pair[1] - pair[0],)), Step("Add", (pair[0],))))
    return Steps(_ranged(first, last, last - first, reading) | ends), None, None


# class -> how its attributes make a scaler, and ddof
_SCALERS: dict[str, tuple[Callable[[State, Reading], Made], int | None]] = {
    "DStandardScaler": (_standard("mean_x_", "var_x_", squared=True), 0),
    "DMinMaxScaler": (_min_max("min_x_", "max_x_"), None),
    "DeepStandardScaler": (_standard("mean_", "sd_"), 1),
    "DeepMinMaxScaler": (_min_max("min_", "max_"), None),
    "GroupStandardScaler": (_group_standard, 0),
    "GroupRobustScaler": (_group_standard, None),
    "GroupMinMaxScaler": (_group_min_max, None),
}
