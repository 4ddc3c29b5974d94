"""scikit-learn's scalers written out as plain values, `json.dump(vars(scaler))`: the class is told by its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers.values import numbers
from onnxscale.sources import sklearns, wrappers
from onnxscale.sources.inert import Estimator
from onnxscale.statistics import Reading, Source, Statistics

# class -> the attributes that tell it; what else it has
_OWN = {
    "StandardScaler": ({"with_mean", "with_std", "scale_"}, {"mean_", "var_"}),
    "RobustScaler": ({"with_centering", "with_scaling", "scale_"}, {"center_", "quantile_range", "unit_variance"}),
    "MinMaxScaler": ({"feature_range", "copy", "min_", "scale_"}, {"clip", "data_min_", "data_max_", "data_range_"}),
    "MaxAbsScaler": ({"copy", "max_abs_", "scale_"}, {"clip"}),
}
_ANY = {"copy", "n_features_in_", "n_samples_seen_", "feature_names_in_", "_sklearn_version", "_sklearn_output_config"}


def _class(content: Mapping[Any, Any]) -> str:
    return next((name for name, (tell, _) in _OWN.items() if tell <= set(content)), "")


def is_written_out(content: Mapping[Any, Any]) -> bool:
    return bool(_class(content))


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler. Raises StatisticsError naming an attribute that its class does not have."""
    del reading
    name = _class(content)
    tell, more = _OWN[name]
    unknown = [k for k in content if k not in tell | more | _ANY]
    if unknown:
        raise StatisticsError(f"looks like the attributes of a {name}, which has no {names(unknown)}")
    state = {str(k): _value(str(k), v) for k, v in content.items()}
    return sklearns.statistics(Estimator("sklearn", "sklearn.preprocessing._data", name, wrappers.Taken(state)), source)


def _value(key: str, given: Any) -> Any:
    if not isinstance(given, list):
        return given
    if key in ("feature_range", "quantile_range"):
        return tuple(given)
    return np.asarray(given, object) if key == "feature_names_in_" else numbers(given, key)
