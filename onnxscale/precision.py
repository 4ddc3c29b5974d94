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

from itertools import groupby

import numpy as np
import numpy.typing as npt

from onnxscale.errors import PlanError
from onnxscale.step import Array, Step, align
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

PRECISIONS = ("exact", "split", "single")
FACTORS = ("Mul", "Div")
UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}


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


def bound(transform: Transform, precision: str, x: npt.ArrayLike, axis: int, dtype: str, result: str) -> Array | None:
    """How far the nodes may be from `transform(x)`, element by element; None where a step has no error analysis.

    x: raw values, in the dtype in which they are fed. dtype: of the arithmetic. result: of the tensor after it.
    In exact precision the bound is 0: what is compared is the float64 result rounded to `result`, and it must be equal.
    """
    raw = np.asarray(x).astype(np.float64)
    if dtype == "float64":
        return np.zeros(raw.shape)
    written = lowered(transform, precision)
    unit, tiny = UNIT[dtype], 2.0**-149 if dtype == "float32" else 2.0**-24
    with np.errstate(all="ignore"):
        value, error = raw, (unit * np.abs(raw) if np.asarray(x).dtype == np.float64 else np.zeros(raw.shape))
        for step in written.steps:
            if step.op not in ("Sub", "Add", "Mul", "Div", "Max", "Min"):
                return None
            c = align(step.operands[0], raw.ndim, axis)
            value = OPERATORS[step.op].evaluate(value, step, lambda v: align(v, raw.ndim, axis))
            if step.op in ("Mul", "Div"):
                error = error * np.abs(c) if step.op == "Mul" else error / np.abs(c)
            if step.op not in ("Max", "Min"):
                error = error + unit * (np.abs(value) + error) + tiny
        reference = transform(raw, axis)
        cast = UNIT[result] * np.abs(reference) if result != dtype else 0.0
        # the reference is itself rounded to `result` before it is compared
        slack = UNIT[result] * np.abs(reference) + 2.0**-50 * (np.abs(reference) + np.abs(raw))
        return np.asarray(np.abs(value - reference) + error + cast + slack * (1 + 2.0**-20))
