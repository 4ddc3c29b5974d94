"""The statistics of each row over axes of its own: c and d of (x - c) / d, in numpy and as ONNX nodes. See instance.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxscale.step import Array, Builder, Place, Step, given
from onnxscale.steps.functions import is_nan, require, scalar
from onnxscale.steps.reducing import counted, reduced, unsqueezed

CENTERS = ("mean", "min", "none")
SPREADS = ("std", "abs", "range", "none")
EPS_AT = ("none", "var", "std", "var-floor", "floor", "size", "zero")


def over_of(step: Step) -> tuple[int, ...]:
    return tuple(int(a) for a in str(step.options["over"]).split(","))


@dataclass(frozen=True, eq=False)
class Moments:
    """c and d, and how many values they are of, each as it broadcasts over the rows."""

    center: Array
    spread: Array
    count: Array
    size: Array


def weights_of(x: Array, step: Step, place: Place) -> Array | None:
    """1 where a value counts, 0 where not, of the shape of x; None where all do."""
    name = str(step.options.get("mask", ""))
    found = None
    if name:
        values, axis = given(place, name), over_of(step)[-1] % x.ndim
        if step.options.get("mask_kind") == "length":
            lengths = np.asarray(values, np.float64).reshape(-1, 1)
            values = np.arange(x.shape[axis]) < lengths
        shape = [1] * x.ndim
        shape[0], shape[axis] = len(x), x.shape[axis]
        found = np.broadcast_to(np.asarray(values, np.float64).reshape(shape), x.shape)
    if step.options.get("skip_nan"):
        here = ~np.isnan(x)
        found = here.astype(np.float64) if found is None else found * here
    return found


def moments(x: Array, step: Step, place: Place) -> Moments:
    axes = tuple(a % x.ndim for a in over_of(step))
    weights = weights_of(x, step, place)
    kind, spread = str(step.options["center"]), str(step.options["spread"])
    if weights is None:
        n: Array = np.asarray(float(np.prod([x.shape[a] for a in axes])))
        values = x

        def mean(v: Array) -> Array:
            return np.asarray(v.mean(axis=axes, keepdims=True))
    else:
        n = weights.sum(axis=axes, keepdims=True)
        values = np.where(weights > 0, x, 0.0)

        def mean(v: Array) -> Array:
            return np.asarray((v * weights).sum(axis=axes, keepdims=True) / n)

    inside = True if weights is None else weights > 0
    low = np.asarray(x.min(axis=axes, keepdims=True, where=inside, initial=np.inf))
    high = np.asarray(x.max(axis=axes, keepdims=True, where=inside, initial=-np.inf))
    c: Array = mean(values) if kind == "mean" else low if kind == "min" else np.zeros(())
    eps, at, ddof = float(step.options.get("eps", 0.0)), str(step.options["eps_at"]), int(step.options.get("ddof", 0))
    if spread == "std":
        middle = c if kind == "mean" else mean(values)
        var = mean(np.square(values - middle)) * (n / (n - ddof) if ddof else 1.0)
        var = var + eps if at == "var" else np.maximum(var, eps) if at == "var-floor" else var
        d: Array = np.sqrt(var)
    else:
        d = mean(np.abs(values)) if spread == "abs" else high - low if spread == "range" else np.ones(())
    if at == "std":
        d = d + eps
    elif at in ("floor", "size"):
        d = np.maximum(d, eps if at == "floor" else 1 / np.sqrt(n))
    elif at == "zero":
        d = np.where(d == 0, 1.0, d)
    return Moments(c, d, n, mean(np.abs(values)))


def _mask_node(build: Builder, x: str, step: Step, axis: int, rank: int) -> str | None:
    name = str(step.options.get("mask", ""))
    if not name:
        return None
    require(build, 11, "a mask of the values that count")
    if step.options.get("mask_kind") == "length":
        size = build.node("Gather", build.node("Shape", x), build.tensor(np.array(axis), "axis"), axis=0)
        zero, one = (build.tensor(np.array(v), "step") for v in (0, 1))
        places = build.node("Cast", build.node("Range", zero, size, one), to=build.dtype)
        lengths = build.node(
            "Reshape", build.node("Cast", name, to=build.dtype), build.tensor(np.array([-1, 1]), "shape")
        )
        mask = build.node("Cast", build.node("Less", places, lengths), to=build.dtype)
    else:
        mask = build.node("Cast", name, to=build.dtype)
    between = [a for a in range(rank) if a not in (0, axis)]
    return unsqueezed(build, mask, between) if between else mask


def moment_nodes(
    build: Builder, x: str, step: Step, axes: list[int], rank: int
) -> tuple[str | None, str | None, str | None]:
    """The names of c, d and of the mask (without NaN's part); None for what does nothing."""
    mask = _mask_node(build, x, step, axes[-1], rank)
    weights = mask
    values = x
    if step.options.get("skip_nan"):
        bad = is_nan(build, x)
        here = build.node("Cast", build.node("Not", bad), to=build.dtype)
        weights = here if mask is None else build.node("Mul", mask, here)
    if weights is not None:
        require(build, 9, "a mask of the values that count")
        counts = build.node("Greater", weights, scalar(build, 0.0))
        values = build.node("Where", counts, x, scalar(build, 0.0))
        ones = build.node("Add", build.node("Mul", values, scalar(build, 0.0)), weights)
        weights = build.node("Where", counts, weights, build.node("Mul", ones, scalar(build, 0.0)))
        n = reduced(build, "ReduceSum", weights, axes)

    def mean(v: str) -> str:
        if weights is None:
            return reduced(build, "ReduceMean", v, axes)
        return build.node("Div", reduced(build, "ReduceSum", build.node("Mul", v, weights), axes), n)

    def end(op: str) -> str:
        if weights is None:
            return reduced(build, op, x, axes)
        far = np.finfo(build.dtype).max if op == "ReduceMin" else np.finfo(build.dtype).min
        return reduced(build, op, build.node("Where", counts, x, scalar(build, float(far))), axes)

    kind, spread = str(step.options["center"]), str(step.options["spread"])
    eps, at, ddof = float(step.options.get("eps", 0.0)), str(step.options["eps_at"]), int(step.options.get("ddof", 0))
    c = mean(values) if kind == "mean" else end("ReduceMin") if kind == "min" else None
    if spread == "std":
        away = build.node("Sub", values, c if kind == "mean" and c is not None else mean(values))
        d = mean(build.node("Mul", away, away))
        if ddof or at == "size":
            total = n if weights is not None else counted(build, x, axes)
        if ddof:
            d = build.node("Mul", d, build.node("Div", total, build.node("Sub", total, scalar(build, float(ddof)))))
        if at == "var":
            d = build.node("Add", d, scalar(build, eps))
        if at == "var-floor":
            d = build.node("Max", d, scalar(build, eps))
        d = build.node("Sqrt", d)
    elif spread == "none":
        return c, None, mask
    else:
        d = (
            mean(build.node("Abs", values))
            if spread == "abs"
            else build.node("Sub", end("ReduceMax"), end("ReduceMin"))
        )
        total = (n if weights is not None else counted(build, x, axes)) if at == "size" else ""
    if at == "std":
        d = build.node("Add", d, scalar(build, eps))
    elif at == "floor":
        d = build.node("Max", d, scalar(build, eps))
    elif at == "size":
        d = build.node("Max", d, build.node("Div", scalar(build, 1.0), build.node("Sqrt", total)))
    elif at == "zero":
        tiny = build.node("Less", build.node("Abs", d), scalar(build, float(np.finfo(build.dtype).smallest_subnormal)))
        d = build.node("Add", d, build.node("Cast", tiny, to=build.dtype))
    return c, d, mask
