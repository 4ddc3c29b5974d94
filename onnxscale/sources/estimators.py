"""Fitted scikit-learn objects at hand in Python: read from their attributes; scikit-learn itself is not imported."""

from __future__ import annotations

import sys

from onnxscale.errors import StatisticsError
from onnxscale.sources import sklearns
from onnxscale.statistics import Source, Statistics


def is_estimator(source: object) -> bool:
    """Whether this is an object of scikit-learn's, or a subclass of one."""
    return any(c.__module__.split(".")[0] == "sklearn" for c in type(source).__mro__)


def read(source: object) -> Statistics:
    """The scalers of a fitted estimator, or of estimators composed. Raises StatisticsError for what is not known."""
    root = sklearns.look(source)
    if root is None:
        raise StatisticsError(f"{type(source).__name__} has no attributes")
    version = str(getattr(sys.modules.get("sklearn"), "__version__", ""))
    return sklearns.statistics(root, Source(f"scikit-learn {root.name}"), version)
