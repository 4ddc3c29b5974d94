"""What the attributes of an estimator must say before a scaler is made of them: complete, of one width, of a known version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.sources.inert import Estimator

KNOWN = ((1, 2), (1, 9))  # the versions of scikit-learn whose attributes are known here, first and last
# what a class must have; (attribute, flag): it may be None where the flag, an attribute too, is false
NEEDS: dict[str, tuple[str | tuple[str, str], ...]] = {
    "StandardScaler": (("mean_", "with_mean"), ("scale_", "with_std")),
    "MinMaxScaler": ("scale_", "min_", "data_min_", "data_max_", "feature_range"),
    "MaxAbsScaler": ("scale_",),
    "RobustScaler": (("center_", "with_centering"), ("scale_", "with_scaling")),
    "PowerTransformer": ("lambdas_", "method", ("_scaler", "standardize")),
    "QuantileTransformer": ("quantiles_", "references_", "output_distribution"),
    "Normalizer": ("norm",),
    "Binarizer": ("threshold",),
    "KBinsDiscretizer": ("bin_edges_", "encode"),
    "MissingIndicator": ("features_", "missing_values"),
    "SimpleImputer": ("statistics_", "missing_values", "add_indicator"),
}
FLAGS = ("with_mean", "with_std", "with_centering", "with_scaling", "standardize", "clip", "add_indicator")
PREDICTORS = {
    "linear_model", "ensemble", "svm", "neural_network", "tree", "neighbors", "naive_bayes", "gaussian_process", "dummy", "cluster",
    "calibration", "multiclass", "multioutput", "isotonic", "kernel_ridge", "mixture", "semi_supervised", "cross_decomposition",
    "discriminant_analysis", "model_selection", "covariance",
}  # fmt: skip


def complete(name: str, state: Mapping[str, Any]) -> None:
    """Raises StatisticsError where an attribute is missing, or is None though its flag is set."""
    needs = [(n, "") if isinstance(n, str) else n for n in NEEDS.get(name, ())]
    missing = [n for n, flag in needs if n not in state and state.get(flag, True)]
    if missing:
        trained = any(k.endswith("_") and not k.startswith("_") for k in state)
        reason = "was it changed after it was fitted?" if trained else "it is not fitted"
        raise StatisticsError(f"this {name} has no {' and no '.join(missing)}: {reason}")
    for flag in FLAGS:
        if flag in state and not isinstance(state[flag], bool | np.bool_ | int):
            raise StatisticsError(
                f"the attribute {flag} of this {name} is {str(state[flag])[:40]!r}; expected True or False"
            )
    for attribute, flag in needs:
        if flag and state.get(flag, True) and state.get(attribute) is None:
            raise StatisticsError(f"this {name} has {flag} set, but its {attribute} is None")


def feature_names(state: Mapping[str, Any]) -> tuple[str, ...]:
    """feature_names_in_, or () where the estimator was fitted on an array."""
    given = state.get("feature_names_in_")
    listed = [] if given is None else list(np.asarray(given, object).ravel())
    if not all(isinstance(n, str) for n in listed):
        raise StatisticsError(f"feature_names_in_ holds {str(listed)[:60]}; expected names")
    return tuple(listed)


def check_width(estimator: Estimator, shape: tuple[int, ...]) -> None:
    """n_features_in_, feature_names_in_ and the statistics have one width."""
    said, listed = estimator.state.get("n_features_in_"), feature_names(estimator.state)
    widths = {int(n) for n in (said, len(listed) or None, shape[-1] if shape else None) if n is not None}
    if len(widths) > 1:
        raise StatisticsError(
            f"this {estimator.name} was fitted on {said} features, has {len(listed)} names, and statistics of {shape[-1:] or 'any'}"
        )


def predicts(part: Estimator) -> bool:
    """Whether this class is a predictor, by its module and name: there is no object to ask."""
    module = part.module.split(".")
    return (part.package == "sklearn" and len(module) > 1 and module[1] in PREDICTORS) or part.name.endswith(
        ("Classifier", "Regressor", "Ranker")
    )


def version_note(version: str) -> tuple[str, ...]:
    """A note where the estimator comes from a scikit-learn that is older or newer than what is known here."""
    try:
        major, minor = (int(n) for n in version.split(".")[:2])
    except ValueError:
        return ()
    if KNOWN[0] <= (major, minor) <= KNOWN[1]:
        return ()
    first, last = (".".join(map(str, v)) for v in KNOWN)
    return (f"written by scikit-learn {version}; its attributes are known here from {first} to {last}",)
