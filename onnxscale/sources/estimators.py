"""Fitted scikit-learn objects at hand in Python: read from their attributes; scikit-learn itself is not imported."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import SKLEARN, Steps
from onnxscale.statistics import Fitted, Source, Statistics
from onnxscale.transform import Transform


def is_estimator(source: object) -> bool:
    """Whether this is an object of scikit-learn's, or a subclass of one."""
    return any(c.__module__.split(".")[0] == "sklearn" for c in type(source).__mro__)


def read(source: object) -> Statistics:
    """The scaler of a fitted estimator, or of a Pipeline of them. Raises StatisticsError for what is not known."""
    version = str(getattr(sys.modules.get("sklearn"), "__version__", ""))
    name = type(source).__name__
    described = Source(
        f"scikit-learn {name}", framework="scikit-learn", version=version, ddof=0 if name == "StandardScaler" else None
    )
    return Statistics({None: fitted(source)}, {}, described)


def fitted(source: Any) -> Fitted:
    name = type(source).__name__
    if name == "Pipeline":
        parts = [fitted(step) for _, step in source.steps if step not in (None, "passthrough")]
        if not parts:
            raise StatisticsError("the Pipeline has no steps")
        total = Transform()
        for part in parts:
            total = total | part.transform()
        return Fitted(Steps(total), features=parts[0].features, data_min=parts[0].data_min, data_max=parts[0].data_max)
    row = SKLEARN.get(name)
    if row is None:
        raise StatisticsError(f"scikit-learn's {name} is not a scaler that is known; known are {names(SKLEARN)}")
    state = vars(source)
    features = tuple(str(f) for f in state.get("feature_names_in_", ()))
    low, high = (None if state.get(k) is None else np.asarray(state[k], np.float64) for k in ("data_min_", "data_max_"))
    return Fitted(row.from_sklearn(state), features=features, data_min=low, data_max=high)
