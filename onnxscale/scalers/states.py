"""What the attributes of a fitted estimator may hold beside numbers: another estimator, a function, a dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError


def inner(estimator: object) -> Mapping[str, Any]:
    """The attributes of an estimator inside another: a live object, a record with a `state`, or the mapping itself."""
    state = estimator if isinstance(estimator, Mapping) else getattr(estimator, "state", None)
    if state is None and hasattr(estimator, "__dict__"):
        state = vars(estimator)
    if not isinstance(state, Mapping):
        raise StatisticsError(f"expected a fitted estimator with attributes, got {str(estimator)[:80]!r}")
    return state


def function_name(function: object) -> str:
    """`numpy.log1p`, whether the function itself, a record of its name, or the name is at hand; "" for None."""
    if function is None:
        return ""
    if isinstance(function, str):
        return function
    if isinstance(function, np.ufunc):
        return f"numpy.{function.__name__}"
    module = getattr(function, "__module__", None) if callable(function) else getattr(function, "module", None)
    name = getattr(function, "__qualname__", None) if callable(function) else getattr(function, "name", None)
    return f"{module}.{name}" if module and name else str(name or function)
