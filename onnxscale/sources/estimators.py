"""Fitted objects at hand in Python, of scikit-learn and of `records.OBJECTS`: read from their attributes; nothing is imported."""

from __future__ import annotations

import sys

from onnxscale.errors import StatisticsError, Unread
from onnxscale.sources import sklearns, visions
from onnxscale.sources.inert import Estimator
from onnxscale.statistics import Reading, Source, Statistics


def is_estimator(source: object) -> bool:
    """Whether this is an object of scikit-learn's, or a subclass of one; or a transform of torchvision's."""
    known = any(c.__module__.split(".")[0] == "sklearn" for c in type(source).__mro__)
    return known or sklearns.look(source) is not None or _transform(source) is not None


def _transform(source: object) -> Estimator | None:
    found = None if isinstance(source, type) else visions.look(source)
    return found if found is not None and visions.sniff(found) else None


def read(source: object, reading: Reading) -> Statistics:
    """The scalers of a fitted estimator, or of estimators composed. Raises StatisticsError for what is not known."""
    transform = _transform(source)
    if transform is not None:
        return visions.read(transform, reading, Source(f"torchvision {transform.name}"))
    root = sklearns.look(source)
    if root is None:
        raise StatisticsError(f"{type(source).__name__} has no attributes")
    version = str(getattr(sys.modules.get("sklearn"), "__version__", ""))
    try:
        return sklearns.statistics(root, Source(f"scikit-learn {root.name}"), version)
    except Unread as unread:
        raise Unread(str(unread), source, unread.source) from None
