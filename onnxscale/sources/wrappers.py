"""Objects around an estimator that stand for it when the model is served: the best of a search over parameters, a pipeline of
imbalanced-learn (whose samplers act on training data only), a scaler of Darts around one of scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources.inert import Estimator

SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
DEPTH = 8


class Taken(dict[str, Any]):
    """Attributes that are plain values already."""


def unwrapped(estimator: Estimator, look: Callable[[Any], Estimator | None]) -> Estimator:
    """What serves in its place, or the estimator itself. look: an estimator's record of a value, live or read.

    Raises StatisticsError for a search that was not fitted, or kept no estimator, and a scaler of Darts of several series.
    """
    for _ in range(DEPTH):
        inside = _inside(estimator)
        if inside is None:
            return estimator
        found = look(inside[0])
        if found is None:
            raise StatisticsError(f"this {estimator.name} holds no fitted estimator (refit=False?)")
        estimator = found
    return estimator


def _inside(estimator: Estimator) -> tuple[Any] | None:
    """What serves in its place, alone in a tuple; None where that is the estimator itself."""
    if estimator.package == "sklearn" and estimator.name in SEARCHES:
        return (estimator.state.get("best_estimator_"),)
    if estimator.package == "imblearn" and estimator.name == "Pipeline":
        steps = estimator.state.get("steps")
        if not isinstance(steps, list) or not all(isinstance(s, tuple | list) and len(s) == 2 for s in steps):
            raise StatisticsError("this Pipeline of imbalanced-learn has no steps")
        kept = [s for s in steps if not _samples(s[1])]
        return (Estimator("sklearn", "sklearn.pipeline", "Pipeline", Taken({**estimator.state, "steps": kept})),)
    if estimator.package == "darts" and estimator.name == "Scaler":
        held = estimator.state.get("_fitted_params")
        if not isinstance(held, list | tuple) or len(held) != 1:
            raise StatisticsError(
                f"this Scaler of Darts has {len(held) if isinstance(held, list | tuple) else 'no'} fitted scalers, one for each "
                f"series; save the one that is meant"
            )
        return (held[0],)
    return None


def _samples(step: Any) -> bool:
    if isinstance(step, Estimator):
        return step.package == "imblearn" and step.name != "Pipeline"
    return hasattr(step, "fit_resample")
