"""In which arithmetic a transform is written into the graph, and how far the result can be from float64.

exact:  float64 nodes, the steps as written: bit-equal with a float64 pipeline.
split:  float32 nodes; constants as pairs hi + lo, for runtimes without double. A run of affine steps becomes
        ((x - hi) - lo) / d or * s, where hi + lo is the raw value that the run maps to zero: the subtraction is exact
        near it (Sterbenz), so the result keeps float32's relative accuracy.
single: float32 nodes, the steps as written, constants rounded.

`lowered` gives the steps that are really written. The bound is a running error analysis (Higham, Accuracy and Stability
of Numerical Algorithms, 2002, section 3.3) over those steps, plus the difference of the two transforms in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

import numpy as np
import numpy.typing as npt

from onnxscale.errors import PlanError
from onnxscale.step import Array, Laid, Step
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

PRECISIONS = ("exact", "split", "single")
FACTORS = ("Mul", "Div")
UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
TINY = {"float16": 2.0**-25, "bfloat16": 2.0**-134, "float32": 2.0**-150, "float64": 0.0}  # rounding among subnormals


def rounded(values: Array, dtype: str) -> Array:
    """float64 values as a tensor of `dtype` holds them. Runtimes cast to float16 by way of float32, and so does this."""
    with np.errstate(over="ignore", invalid="ignore"):
        through = values.astype(np.float32) if dtype in ("float16", "bfloat16") else values
        return np.asarray(through.astype(np.dtype(dtype)))


def lowered(transform: Transform, precision: str) -> Transform:
    """The steps as they are written in this precision. Raises PlanError where float32 cannot hold a constant."""
    if precision == "exact":
        return transform
    if precision == "single":
        single = (
            Step(s.op, tuple(_single(v, s.op in FACTORS) for v in s.operands), s.options) for s in transform.steps
        )
        return Transform(tuple(single))
    steps: list[Step] = []
    for is_affine, run in groupby(transform.steps, key=lambda s: OPERATORS[s.op].affine(s) is not None):
        part = Transform(tuple(run))
        steps += _pairs(part) if is_affine else lowered(part, "single").steps
    return Transform(tuple(steps))


def _pairs(run: Transform) -> list[Step]:
    affine = run.affine()
    assert affine is not None
    flat = affine.scale == 0
    zero = np.where(flat, 0.0, -affine.shift / np.where(flat, 1.0, affine.scale))
    high = _single(zero)
    low = _single(zero - high)
    if {s.op for s in run.steps} <= {"Sub", "Add", "Div"}:
        divisor = np.broadcast_to(1.0, zero.shape)
        for step in run.steps:
            divisor = divisor * step.operands[0] if step.op == "Div" else divisor
        spread = [Step("Div", (_single(divisor, True),))] if (divisor != 1).any() else []
    else:
        spread = [Step("Mul", (_single(affine.scale, True),))] if (affine.scale != 1).any() else []
    rest = _single(np.where(flat, affine.shift, 0.0))
    shifts = [Step("Sub", (v,)) for v in (high, low) if v.any()]
    return shifts + spread + ([Step("Add", (rest,))] if rest.any() else [])


def _single(values: Array, factor: bool = False) -> Array:
    """Rounded to float32. Too large is refused; so is a factor too small, where a shift may become 0."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    lost = np.isinf(rounded) & np.isfinite(values)
    if factor:
        lost |= (rounded == 0) & (values != 0)
    if lost.any():
        raise PlanError(
            f"a constant of the scaler, {float(np.asarray(values)[lost].ravel()[0]):.3g}, does not fit into float32; "
            f"use --precision exact"
        )
    return rounded


def bound(
    transform: Transform, precision: str, x: npt.ArrayLike, axis: int, dtype: str, result: str,
    beside: Mapping[str, Array] | None = None,
) -> Array:  # fmt: skip
    """How far the nodes may be from `transform(x)` rounded to `result`, element by element.

    x: raw values, in the dtype in which they are fed. dtype: of the arithmetic. result: of the tensor after it. beside:
    values of other inputs that steps read.
    0 where float64 nodes do what the reference does, operation by operation: there, equal means bit-equal.
    Proven for arithmetic; for a composite step its row's `ulps` stands in for the proof.
    """
    raw = np.asarray(x).astype(np.float64)
    if dtype == "float64" and is_exact(transform.steps):
        same = transform.result == transform.shape and transform.order is None
        return np.zeros((raw if same else transform(raw, axis, beside=beside)).shape)
    written = transform if dtype == "float64" else lowered(transform, precision)
    with np.errstate(all="ignore"):
        start = (
            UNIT[dtype] * np.abs(raw)
            if np.asarray(x).dtype == np.float64 and dtype != "float64"
            else np.zeros(raw.shape)
        )
        value, error = _running(written, raw, start, axis, dtype, beside)
        reference = transform(raw, axis, beside=beside)
        away = np.abs(value - reference) + error
        cast = UNIT[result] * (np.abs(reference) + away) + TINY[result] if result != dtype else 0.0
        # the reference is itself rounded to `result` before it is compared
        slack = (
            UNIT[result] * np.abs(reference)
            + TINY[result]
            + 2.0**-50 * (np.abs(reference) + _sizes(transform, raw, reference, axis))
        )
        return np.asarray(away + cast + slack * (1 + 2.0**-20))


def is_exact(steps: Iterable[Step]) -> bool:
    """Whether the nodes do what the reference does, operation by operation."""
    rows = [(OPERATORS[s.op], s) for s in steps]
    return all(r.ulps == 0 and r.noise is None and all(map(is_exact, r.parts(s))) for r, s in rows)


def _sizes(transform: Transform, raw: Array, reference: Array, axis: int) -> Array:
    """Beside each result the size of the value it is made of; of its largest feature where it is made of several."""
    moved = np.abs(_moved(transform, raw, axis))
    return moved if moved.shape == reference.shape else np.asarray(np.max(moved, axis=axis, keepdims=True, initial=0.0))


def _moved(transform: Transform, raw: Array, axis: int) -> Array:
    """The raw values where the transform takes them, unchanged: beside each result, the value it is made of."""
    return Transform(tuple(s for s in transform.steps if OPERATORS[s.op].moves))(raw, axis)


def rounding(
    transform: Transform, x: npt.ArrayLike, axis: int, dtype: str, beside: Mapping[str, Array] | None = None
) -> Array:
    """How far the steps, computed in `dtype` as they are written, may be from float64: what a fold's own rounding of the
    scaler amounts to, seen at its input."""
    raw = np.asarray(x).astype(np.float64)
    with np.errstate(all="ignore"):
        return _running(transform, raw, np.zeros(raw.shape), axis, dtype, beside)[1]


def _running(
    written: Transform, raw: Array, error: Array, axis: int, dtype: str, beside: Mapping[str, Array] | None = None
) -> tuple[Array, Array]:
    """The value of the steps in float64, and the error that each rounding in `dtype` may add, carried along."""
    unit, tiny = UNIT[dtype], 2 * TINY[dtype]
    value = raw
    place = Laid(raw.ndim, axis, beside=beside or {})
    for step in written.steps:
        row = OPERATORS[step.op]
        parts = row.parts(step)
        if parts:
            done = [_running(Transform(tuple(p)), value, error, axis, dtype, beside) for p in parts]
            value, error = (np.concatenate([d[i] for d in done], axis=axis) for i in (0, 1))
            continue
        after = row.evaluate(value, step, place)
        if row.moves:
            value, error = after, row.evaluate(error, step, place)
            continue
        if step.op in FACTORS:
            c = np.abs(place(step.operands[0]))
            error = error * c if step.op == "Mul" else error / c
        elif row.slope(step) is not None:  # monotone: the ends of an interval bound what lies between
            ends = [np.abs(row.evaluate(value + side, step, place) - after) for side in (error, -error)]
            error = np.maximum(*ends)
        elif not row.elementwise:
            if error.any():
                error = np.maximum(
                    *(np.abs(row.evaluate(value + side, step, place) - after) for side in (error, -error))
                )
            else:
                error = np.zeros(after.shape)
            error = error + 8 * unit * np.max(np.abs(after), initial=0.0, where=np.isfinite(after))
        if row.noise is not None:
            error = error + row.noise(value, step, place, unit)
        value = after
        if step.op not in ("Max", "Min"):
            error = error + unit * (np.abs(value) + error) + tiny
        if row.ulps:
            error = error + 2 * row.ulps * unit * np.maximum(np.abs(value), 1.0)
    return value, error
