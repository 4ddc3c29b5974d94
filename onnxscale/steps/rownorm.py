"""RowNorm: each row divided by its norm along the feature axis. Not elementwise: a value depends on its whole row.

scikit-learn's normalize (sklearn/preprocessing/_data.py), with _handle_zeros_in_scale:
    l1: n = sum |x|;    l2: n = sqrt(sum x^2);    max: n = max |x|;    n below 10 eps counts as 1;    y = x / n
In float32 the squares would overflow from 1.8e19 on and vanish below 1e-23, so there the row is first divided by its
largest value m (0 counts as 1): n = m norm(x / m), and y = (x / m) / norm(x / m) where n is not small. A NaN makes its row NaN;
an infinity makes itself NaN and the others 0.

ai.onnx.ml.Normalizer computes in float32 and overflows; these are core operators.
torch.nn.functional.normalize has no such limit, but a least divisor: y = x / max(n, floor).
options: norm; floor, or absent; features, the number of features it was fitted on, or 0 where any number will do.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.functions import clamp, scalar

NORMS = ("l1", "l2", "max")
SMALL = 10 * float(np.finfo(np.float64).eps)


def axis_of(place: Place) -> int:
    """The feature axis, counted from the end: where `place` puts a list of one."""
    return -place(np.ones(1)).ndim


def _norms(x: Array, norm: str, axis: int) -> Array:
    if norm == "l1":
        return np.asarray(np.sum(np.abs(x), axis=axis, keepdims=True))
    if norm == "l2":
        return np.asarray(np.sqrt(np.sum(x * x, axis=axis, keepdims=True)))
    return np.asarray(np.max(np.abs(x), axis=axis, keepdims=True))


def _evaluate(x: Array, step: Step, place: Place) -> Array:
    norm, axis = str(step.options["norm"]), axis_of(place)
    if "floor" in step.options:
        return np.asarray(x / np.maximum(_norms(x, norm, axis), x.dtype.type(step.options["floor"])))
    if x.dtype == np.float64:
        norms = _norms(x, norm, axis)
        return np.asarray(x / np.where(norms < SMALL, 1.0, norms))
    largest = np.minimum(_norms(x, "max", axis), np.finfo(x.dtype).max)
    shrunk = x / np.where(largest == 0, x.dtype.type(1), largest)
    norms = _norms(shrunk, norm, axis)
    return np.where(largest * norms < x.dtype.type(SMALL), x, shrunk / np.where(norms == 0, x.dtype.type(1), norms))


def _nodes(build: Builder, x: str, step: Step) -> str:
    norm = str(step.options["norm"])
    if norm not in NORMS:
        raise build.refuse(f"unknown row norm {norm!r}; known are {', '.join(NORMS)}")
    axis = build.axis + build.rank if build.axis < 0 and build.rank is not None else build.axis
    if axis < 0 and build.opset < 11:
        raise build.refuse("the rank of the tensor is unknown, and counting axes from the end needs opset 11")
    if "floor" in step.options:
        least = float(step.options["floor"])
        return build.node("Div", x, clamp(build, _reduced(build, x, norm, axis), least, None, "a least row norm"))
    if build.dtype == np.float64:
        norms = _reduced(build, x, norm, axis)
        return build.node("Div", x, _or_one(build, norms, build.node("Less", norms, scalar(build, SMALL))))
    largest = _reduced(build, x, "max", axis)
    largest = clamp(build, largest, None, float(np.finfo(build.dtype).max), "a row norm in float32")
    tiny = scalar(build, float(np.finfo(build.dtype).smallest_subnormal))
    shrunk = build.node("Div", x, _or_one(build, largest, build.node("Less", largest, tiny)))
    norms = _reduced(build, shrunk, norm, axis)
    # a row below the limit stays x = shrunk * largest; in every other row the factor is 1
    small = build.node("Less", build.node("Mul", largest, norms), scalar(build, SMALL))
    divisor = _or_one(build, norms, small)
    factor = _or_one(build, largest, build.node("Not", small))
    return build.node("Mul", build.node("Div", shrunk, divisor), factor)


def _not(build: Builder, flag: str) -> str:
    return build.node("Sub", scalar(build, 1.0), flag)


def _or_one(build: Builder, norms: str, small: str) -> str:
    """1 where small, else the norm, without Where: n (1 - s) + s, exact for a finite norm."""
    flag = build.node("Cast", small, to=build.dtype)
    return build.node("Add", build.node("Mul", norms, _not(build, flag)), flag)


def _reduced(build: Builder, x: str, norm: str, axis: int) -> str:
    """The norms, with the axis kept. ReduceMax leaves NaN out in some runtimes; NaN of the sum brings it back."""
    if norm == "l2":
        return build.node("Sqrt", _reduce(build, "ReduceSum", build.node("Mul", x, x), axis))
    size = build.node("Abs", x)
    if norm == "l1":
        return _reduce(build, "ReduceSum", size, axis)
    largest = _reduce(build, "ReduceMax", size, axis)
    sums = _reduce(build, "ReduceSum", build.node("Tanh", size), axis)
    return build.node("Add", largest, build.node("Mul", sums, scalar(build, 0.0)))


def _reduce(build: Builder, op: str, x: str, axis: int) -> str:
    """Axes are an attribute, then an input: from opset 13 for ReduceSum, from 18 for the others."""
    if build.opset >= (13 if op == "ReduceSum" else 18):
        return build.node(op, x, build.tensor(np.array([axis]), "axes"), keepdims=1)
    return build.node(op, x, axes=[axis], keepdims=1)


def _shape(step: Step) -> tuple[int, ...]:
    features = int(step.options.get("features", 0))
    return (features,) if features else ()


ROWNORM = {
    "RowNorm": Operator(
        _evaluate,
        _nodes,
        lambda step: f"divide each row by its {step.options['norm']} norm",
        shape=_shape,
        elementwise=False,
        continuous=False,
        ulps=64.0,
    ),
}
