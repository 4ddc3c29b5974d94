"""A guard as ONNX nodes: few operators, one clip for count, clamp and score, reductions once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxscale import graph
from onnxscale.graph import InputSpec, Writer
from onnxscale.guarding.values import FAR, FILL, Guard
from onnxscale.step import Array, align
from onnxscale.steps.reducing import unsqueezed

EQUAL_FLOATS = 11  # the opset from which Equal takes floats
NORMALIZES = 9  # from which BatchNormalization is per channel whatever else it says


@dataclass(frozen=True)
class Written:
    """clamped: the tensor that the model is to read, or "". outputs: those of the guard, in order. wrong: one truth value for each
    row that cannot be right, or ""."""

    clamped: str
    outputs: tuple[InputSpec, ...]
    wrong: str


def write(writer: Writer, x: str, guard: Guard) -> Written:
    """The nodes of a guard after the raw input x; the outputs have their final names."""
    build = _Build(writer, guard)
    found: dict[str, str] = {}
    values = x if guard.dtype == guard.working else writer.node("Cast", x, to=guard.working)
    cut = clamped = ""
    if guard.low is not None:
        low, high = guard.bounds(guard.working)
        if guard.mode == "clamp" or writer.opset >= EQUAL_FLOATS:
            cut = build.clip(values, low, high)
        if guard.mode == "clamp":
            clamped = build.clamped(x, cut)
        found["outside"] = build.outside(values, cut, low, high)
    if guard.std is not None:
        found["distance"] = build.distance(x, values)
    if guard.telling is not None:
        if guard.low is None or not cut:
            cut = build.clip(values, build.laid(guard.telling.low), build.laid(guard.telling.high))
        found["looks_scaled"] = build.looks_scaled(cut)
    wrong = build.wrong(found) if guard.mode == "nan" else ""
    if guard.shift is not None:
        found |= build.sums(x)
    kept = {k: found[k] for k in guard.outputs}
    graph.rename(writer, {v: guard.outputs[k] for k, v in kept.items()})
    return Written(clamped, tuple(_spec(guard, k) for k in kept), wrong)


def poison(writer: Writer, wrong: str, inner: str, dtype: str, whole: bool) -> str:
    """The values of an output, of the writer's rank, without its rows that cannot be right. whole: `wrong` is one value for all."""
    assert writer.rank is not None
    mask = wrong if whole or writer.rank == 1 else unsqueezed(writer, wrong, range(1, writer.rank))
    return writer.node("Where", mask, writer.tensor(np.array(FILL[dtype], dtype), "fill"), inner)


def _spec(guard: Guard, kind: str) -> InputSpec:
    row: tuple[int | str | None, ...] = () if guard.over == tuple(range(guard.rank)) else (None,)
    shape = {"looks_scaled": (), "outside": row, "distance": row}.get(kind, guard.shape)
    dtype = {"looks_scaled": "bool", "outside": "float32", "distance": distance_type(guard)}.get(kind, "float64")
    return InputSpec(guard.outputs[kind], dtype, shape)


def distance_type(guard: Guard) -> str:
    """The type of the distance."""
    return "float64" if guard.precise() else "float32"


@dataclass(frozen=True)
class _Build:
    writer: Writer
    guard: Guard

    def laid(self, values: Array) -> Array:
        return align(values, self.guard.rank, self.guard.axis)

    def constant(self, values: Array, dtype: str, name: str) -> str:
        return self.writer.tensor(values.astype(np.dtype(dtype)), name)

    def reduce(self, op: str, x: str, axes: Sequence[int]) -> str:
        if not axes:
            return x if op != "ReduceSumSquare" else self.writer.node("Mul", x, x)
        if self.writer.opset >= (13 if op == "ReduceSum" else 18):
            return self.writer.node(op, x, self.writer.tensor(np.array(axes), "axes"), keepdims=0)
        return self.writer.node(op, x, axes=list(axes), keepdims=0)

    def clip(self, x: str, low: Array, high: Array) -> str:
        t = self.guard.working
        return self.writer.node(
            "Min", self.writer.node("Max", x, self.constant(low, t, "low")), self.constant(high, t, "high")
        )

    def clamped(self, x: str, cut: str) -> str:
        """The clip in the input's own type: bounds of a narrower type are rounded to it."""
        g = self.guard
        if g.dtype == g.working:
            return cut
        wide = self.writer.node("Cast", x, to=g.working)
        low, high = g.bounds(g.dtype)
        return self.writer.node("Cast", self.clip(wide, low, high), to=graph.ELEMENTS[g.dtype])

    def outside(self, x: str, cut: str, low: Array, high: Array) -> str:
        if self.writer.opset >= EQUAL_FLOATS:
            inside = self.writer.node("Equal", cut, x)
        else:  # strictly between the neighbours of the bounds; comparisons with NaN are false
            t = np.dtype(self.guard.working).type
            below, above = np.nextafter(low.astype(t), t(-np.inf)), np.nextafter(high.astype(t), t(np.inf))
            ends = (("Greater", below), ("Less", above))
            inside = self.writer.node(
                "And", *(self.writer.node(op, x, self.constant(v, self.guard.working, "bound")) for op, v in ends)
            )
        counted = self.writer.node("Cast", self.writer.node("Not", inside), to="float32")
        return self.reduce("ReduceSum", counted, self.guard.over)

    def distance(self, x: str, values: str) -> str:
        """The Euclidean norm of z over the row, its mean being in the scale; BatchNormalization does the z in one node."""
        g, writer = self.guard, self.writer
        assert g.mean is not None
        dtype = distance_type(g)
        wide = values if dtype == g.working else writer.node("Cast", x, to=dtype)
        inverse = g.inverse_std()
        if g.rank == 2 and g.axis == 1 and g.shape and writer.opset >= NORMALIZES and dtype == "float32":
            parts = (inverse / np.sqrt(max(g.shape[0], 1)), np.zeros(g.shape), g.mean, np.ones(g.shape))
            z = writer.node("BatchNormalization", wide, *(self.constant(v, dtype, "z") for v in parts), epsilon=0.0)
            return self.reduce("ReduceL2", z, g.over)
        z = writer.node("Sub", wide, self.constant(self.laid(g.mean), dtype, "mean"))
        z = writer.node("Mul", z, self.constant(self.laid(inverse), dtype, "inverse"))
        squares = writer.node("Mul", z, z)
        mean = self.reduce("ReduceMean", squares, g.over) if g.over else squares
        return writer.node("Sqrt", mean)

    def looks_scaled(self, cut: str) -> str:
        g, writer = self.guard, self.writer
        assert g.telling is not None
        w, t = g.telling.weights, g.working
        if g.rank == 2 and g.shape and g.axis == 1:
            score = writer.node("MatMul", cut, self.constant(w[:, None], t, "weights"))  # a vector is ten times slower
        else:
            each = writer.node("Mul", cut, self.constant(self.laid(w * max(int(np.prod(g.shape)), 1)), t, "weights"))
            score = self.reduce("ReduceMean", each, g.over)
        below = writer.node("Less", score, self.constant(np.array(g.telling.threshold), t, "threshold"))
        share = writer.node("ReduceMean", writer.node("Cast", below, to="float32"), keepdims=0)
        return writer.node("Greater", share, self.constant(np.array(0.5), "float32", "half"))

    def wrong(self, found: Mapping[str, str]) -> str:
        writer = self.writer
        far = writer.node("Greater", found["distance"], self.constant(np.array(FAR), distance_type(self.guard), "far"))
        if "outside" in found:
            some = writer.node("Greater", found["outside"], self.constant(np.array(0.0), "float32", "none"))
            far = writer.node("And", far, some)
        return writer.node("Or", far, found["looks_scaled"]) if "looks_scaled" in found else far

    def sums(self, x: str) -> dict[str, str]:
        g, writer = self.guard, self.writer
        assert g.shift is not None
        t = "float64"
        wide = x if g.dtype == t else writer.node("Cast", x, to=t)
        number = {
            k: self.constant(np.array(v), t, k) for k, v in (("zero", 0.0), ("above", np.inf), ("below", -np.inf))
        }
        finite = writer.node("Less", writer.node("Abs", wide), number["above"])
        shifted = writer.node("Sub", wide, self.constant(self.laid(g.shift), t, "shift"))
        kept = writer.node("Where", finite, shifted, number["zero"])
        known = {
            "n": ("ReduceSum", writer.node("Cast", finite, to=t)),
            "missing": ("ReduceSum", writer.node("Cast", writer.node("Not", finite), to=t)),
            "sum": ("ReduceSum", kept),
            "square": ("ReduceSumSquare", kept),
            "min": ("ReduceMin", writer.node("Where", finite, wide, number["above"])),
            "max": ("ReduceMax", writer.node("Where", finite, wide, number["below"])),
        }
        return {k: self.reduce(op, tensor, g.rows) for k, (op, tensor) in known.items()}
