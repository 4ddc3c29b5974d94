"""IterativeImputer over linear predictors inside an export by skl2onnx, as nodes of our own.

sklearn/impute/_iterative.py, transform: missing values are filled by the initial imputer; then, feature by feature and round by round,
those of one feature are predicted from the others and clipped to its limits. What was not missing stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.converting.nodes import Container
from onnxscale.errors import StatisticsError
from onnxscale.sources import sklearns
from onnxscale.steps import OPERATORS

MOST = 5000  # rounds times features


def refused(estimator: Any) -> str:
    """Why an IterativeImputer cannot be written, "" where it can."""
    missing = estimator.missing_values
    filled = np.asarray(estimator.initial_imputer_.statistics_, np.float64)
    if not isinstance(missing, float) or missing == missing or np.isnan(filled).any():  # noqa: PLR0124
        return "IterativeImputer with another mark than NaN, or with a feature that was always missing"
    if estimator.add_indicator or estimator.sample_posterior:
        return "IterativeImputer with add_indicator or sample_posterior"
    if len(estimator.imputation_sequence_) > MOST:
        return f"IterativeImputer of {len(estimator.imputation_sequence_):,} rounds; at most {MOST:,} are written"
    linear = all(
        np.shape(getattr(t.estimator, "coef_", ())) == np.shape(t.neighbor_feat_idx)
        for t in estimator.imputation_sequence_
    )
    return "" if linear else "IterativeImputer over a predictor that is not linear"


def convert(scope: Any, operator: Any, container: Any) -> None:
    build = Container(scope, container)
    estimator = operator.raw_operator
    reason = refused(estimator)
    if reason:
        raise StatisticsError(reason)
    cast = [build.node("Cast", v.full_name, to=np.float64) for v in operator.inputs]
    raw = cast[0] if len(cast) == 1 else build.node("Concat", *cast, axis=1)
    missing = build.node("Not", build.node("Equal", raw, raw))
    held = sklearns.look(estimator.initial_imputer_)
    assert held is not None
    x = raw
    for step in sklearns.fitted(held).transform().steps:
        x = OPERATORS[step.op].nodes(build, x, step)
    width = int(estimator.n_features_in_)
    for feature, neighbours, model in estimator.imputation_sequence_:
        weights = np.zeros((width, 1))
        weights[np.asarray(neighbours), 0] = model.coef_
        told = build.node("MatMul", x, build.tensor(weights, "coefficients"))
        told = build.node("Add", told, build.tensor(np.array([[float(model.intercept_)]]), "intercept"))
        for op, limits in (("Max", estimator._min_value), ("Min", estimator._max_value)):
            told = build.node(op, told, build.tensor(np.array([[float(limits[feature])]]), "limit"))
        here = build.node("And", missing, build.tensor((np.arange(width) == feature)[None], "feature"))
        x = build.node("Where", here, told, x)
    container.add_node(
        "Identity", [x], [operator.outputs[0].full_name], op_version=1, name=scope.get_unique_operator_name("Identity")
    )


def shape(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    operator.outputs[0].type = DoubleTensorType([None, int(operator.raw_operator.n_features_in_)])


def tables() -> tuple[Mapping[type, Any], Mapping[type, Any]]:
    """As encoders.tables, for the class of its own module, which scikit-learn calls experimental."""
    from sklearn.impute import _iterative

    return {_iterative.IterativeImputer: convert}, {_iterative.IterativeImputer: shape}
