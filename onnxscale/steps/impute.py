"""Impute: a value for what is missing. sklearn/impute/_base.py, SimpleImputer.transform. It jumps, and hides NaN.

Operands, per feature: value v, what stands for "missing" m (NaN, or a sentinel such as -999), and indicator f (0 or 1).
    f = 0:   y = v where x is m, else x
    f = 1:   y = 1 where x is m, else 0          an indicator column: its feature, taken a second time by Select
With a sentinel NaN stays NaN where f = 0; a comparison with NaN is false, so an indicator is 0 there.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.arithmetic import brief
from onnxscale.steps.functions import equals, is_nan, scalar, where


def _evaluate(x: Array, step: Step, place: Place) -> Array:
    value, missing, indicator = (place(v) for v in step.operands)
    absent = np.where(np.isnan(missing), np.isnan(x), x == missing)
    return np.where(absent, np.where(indicator != 0, 1.0, value), np.where(indicator != 0, 0.0, x)).astype(x.dtype)


def _nodes(build: Builder, x: str, step: Step) -> str:
    value, missing, indicator = step.operands
    nan = np.isnan(missing)
    if nan.all():
        absent = is_nan(build, x)
    else:
        absent = equals(build, x, missing)  # never true where m is NaN
        if nan.any():
            unknown = build.node("And", _flag(build, nan), is_nan(build, x))
            absent = build.node("Or", absent, unknown)
    rest = x
    if indicator.any():
        rest = where(build, _flag(build, indicator != 0), scalar(build, 0.0), x)
    return where(build, absent, build.constant(np.where(indicator != 0, 1.0, value), "fill"), rest)


def _flag(build: Builder, features: Array) -> str:
    return build.node("Greater", build.constant(features.astype(np.float64), "flag"), scalar(build, 0.5))


def _prose(step: Step) -> str:
    value, missing, indicator = step.operands
    said = f"{brief(value)} where the value is {'missing (NaN)' if np.isnan(missing).all() else brief(missing)}"
    return said + (f", and {int(np.sum(indicator != 0))} indicator column(s)" if indicator.any() else "")


IMPUTE = Operator(_evaluate, _nodes, _prose, continuous=False)
