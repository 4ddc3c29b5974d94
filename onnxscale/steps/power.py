"""Power transforms: Yeo-Johnson and Box-Cox, each with one lambda per feature, and what undoes them.

Box-Cox (scipy/special/_boxcox.pxd), for x > 0, with L = log x:
    y = (x^lambda - 1) / lambda = expm1(lambda L) / lambda;     y = L where |lambda| < 1e-19
    past exp's range (lambda L >= 709.78): y = sign(lambda) exp(lambda L - log|lambda|) - 1 / lambda
Yeo-Johnson (scipy/stats/_morestats.py, _yeojohnson_transform), with L = log1p |x|:
    x >= 0:  y =  expm1(lambda L) / lambda;                 y =  L where |lambda| < eps
    x < 0:   y = -expm1((2 - lambda) L) / (2 - lambda);     y = -L where |2 - lambda| <= eps
Inverse (sklearn/preprocessing/_data.py, PowerTransformer.inverse_transform, and scipy's inv_boxcox):
    Box-Cox      exp(log1p(lambda y) / lambda);  exp(y) for lambda = 0
    Yeo-Johnson  (lambda y + 1)^(1/lambda) - 1;  exp(y) - 1 for lambda = 0; below zero the same, mirrored, with 2 - lambda

All rise strictly. As nodes, both signs of x share one log1p and one expm1: lambda is chosen by the sign of x.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.arithmetic import brief
from onnxscale.steps.functions import expm1, log1p, scalar, where

EPS = float(np.finfo(np.float64).eps)
BOX_COX_ZERO = 1e-19
EXP_TOP = 709.78


def _inner(x: Array) -> float:
    return EPS if x.dtype == np.float64 else float(np.finfo(x.dtype).eps)


def _yeo_johnson(x: Array, step: Step, place: Place) -> Array:
    power = place(step.operands[0])
    mirrored = 2 - power
    positive = x >= 0
    log = np.log1p(np.abs(x))
    eps = _inner(x)
    up = np.where(np.abs(power) < eps, log, np.expm1(power * log) / power)
    down = np.where(np.abs(power - 2) > eps, -np.expm1(mirrored * log) / mirrored, -log)
    return np.where(positive, up, down)


def _yeo_johnson_nodes(build: Builder, x: str, step: Step) -> str:
    power = step.operands[0].astype(build.dtype).astype(np.float64)
    eps = float(np.finfo(build.dtype).eps)
    power = np.where(np.abs(power) < eps, 0.0, np.where(np.abs(power - 2) <= eps, 2.0, power))
    below = build.node("Less", x, scalar(build, 0.0))
    lam = where(build, below, build.constant(2 - power, "mirrored"), build.constant(power, "lambda"))
    log = log1p(build, build.node("Abs", x))
    y = build.node("Div", expm1(build, build.node("Mul", lam, log)), lam)
    if ((power == 0) | (power == 2)).any():
        flat = build.node("Less", build.node("Abs", lam), scalar(build, eps))
        y = where(build, flat, log, y)
    return where(build, below, build.node("Neg", y), y)


def _yeo_johnson_inverse(x: Array, step: Step, place: Place) -> Array:
    power = place(step.operands[0])
    mirrored = 2 - power
    eps = _inner(x)
    up = np.where(np.abs(power) < eps, np.exp(x) - 1, np.power(x * power + 1, 1 / power) - 1)
    down = np.where(np.abs(power - 2) > eps, 1 - np.power(-mirrored * x + 1, 1 / mirrored), 1 - np.exp(-x))
    return np.where(x >= 0, up, down)


def _yeo_johnson_inverse_nodes(build: Builder, x: str, step: Step) -> str:
    power = step.operands[0].astype(build.dtype).astype(np.float64)
    eps = float(np.finfo(build.dtype).eps)
    zero, two = np.abs(power) < eps, np.abs(power - 2) <= eps
    below = build.node("Less", x, scalar(build, 0.0))
    lam = where(build, below, build.constant(2 - power, "mirrored"), build.constant(power, "lambda"))
    with np.errstate(divide="ignore"):
        roots = [build.constant(np.where(none, 1.0, 1 / v), "root") for v, none in ((2 - power, two), (power, zero))]
    root = where(build, below, *roots)
    size = build.node("Abs", x)
    one = scalar(build, 1.0)
    y = build.node("Pow", build.node("Add", build.node("Mul", lam, size), one), root)
    if (zero | two).any():
        flat = build.node("Less", build.node("Abs", lam), scalar(build, eps))
        y = where(build, flat, build.node("Exp", size), y)
    return where(build, below, build.node("Sub", one, y), build.node("Sub", y, one))


def _box_cox(x: Array, step: Step, place: Place) -> Array:
    power = place(step.operands[0])
    log = np.log(x)
    far = np.copysign(1.0, power) * np.exp(power * log - np.log(np.abs(power))) - 1 / power
    # as scipy writes it, the comparison is false for NaN, whose far branch is NaN as well
    y = np.where(power * log < EXP_TOP, np.expm1(power * log) / power, far)
    return np.where(np.abs(power) < BOX_COX_ZERO, log, y)


def _box_cox_nodes(build: Builder, x: str, step: Step) -> str:
    power = step.operands[0].astype(build.dtype).astype(np.float64)
    zero = np.abs(power) < BOX_COX_ZERO
    log = build.node("Log", x)
    if zero.all():
        return log
    lam = build.constant(np.where(zero, 1.0, power), "lambda")
    y = build.node("Div", expm1(build, build.node("Mul", log, lam)), lam)
    return _chosen(build, zero, log, y)


def _box_cox_inverse(x: Array, step: Step, place: Place) -> Array:
    power = place(step.operands[0])
    near = np.exp(np.log1p(power * x) / power)
    far = np.exp((np.log(np.copysign(1.0, power) * (x + 1 / power)) + np.log(np.abs(power))) / power)
    return np.where(power == 0, np.exp(x), np.where(power * x < 1.79e308, near, far))


def _box_cox_inverse_nodes(build: Builder, x: str, step: Step) -> str:
    power = step.operands[0].astype(build.dtype).astype(np.float64)
    zero = power == 0
    if zero.all():
        return build.node("Exp", x)
    lam = build.constant(np.where(zero, 1.0, power), "lambda")
    y = build.node("Exp", build.node("Div", log1p(build, build.node("Mul", x, lam)), lam))
    return _chosen(build, zero, build.node("Exp", x), y) if zero.any() else y


def _chosen(build: Builder, features: Array, yes: str, no: str) -> str:
    """`yes` for these features, `no` for the others."""
    if not features.any():
        return no
    mask = build.node("Greater", build.constant(features.astype(np.float64), "lambda_is_zero"), scalar(build, 0.5))
    return where(build, mask, yes, no)


def _rising(step: Step) -> Array:
    return np.ones_like(step.operands[0])


POWER = {
    "YeoJohnson": Operator(
        _yeo_johnson,
        _yeo_johnson_nodes,
        lambda step: f"Yeo-Johnson with lambda {brief(step.operands[0])}",
        inverse=lambda step: (Step("YeoJohnsonInverse", step.operands),),
        slope=_rising,
        ulps=16.0,
    ),
    "YeoJohnsonInverse": Operator(
        _yeo_johnson_inverse,
        _yeo_johnson_inverse_nodes,
        lambda step: f"undo Yeo-Johnson with lambda {brief(step.operands[0])}",
        inverse=lambda step: (Step("YeoJohnson", step.operands),),
        slope=_rising,
        ulps=16.0,
    ),
    "BoxCox": Operator(
        _box_cox,
        _box_cox_nodes,
        lambda step: f"Box-Cox with lambda {brief(step.operands[0])}",
        inverse=lambda step: (Step("BoxCoxInverse", step.operands),),
        slope=_rising,
        ulps=16.0,
    ),
    "BoxCoxInverse": Operator(
        _box_cox_inverse,
        _box_cox_inverse_nodes,
        lambda step: f"undo Box-Cox with lambda {brief(step.operands[0])}",
        inverse=lambda step: (Step("BoxCox", step.operands),),
        slope=_rising,
        ulps=16.0,
    ),
}
