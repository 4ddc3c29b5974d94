"""The canonical form of a transform: one function, one list of steps, whatever it was written as.

Every run of affine steps and clips collapses into one: clip in the units of what goes in, then one affine, in float64.
What is neither (a logarithm, a quantile, a norm) stays a step between two runs. Roundings between steps (Cast) are left
out: they are below every tolerance that a comparison has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnxscale.step import Array, Step, constant
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

DIGITS = 9
_INF = float("inf")


@dataclass(frozen=True)
class _Run:
    """clip to [low, high], then scale * x + shift: what affine steps and clips in a row come to."""

    low: Array
    high: Array
    scale: Array
    shift: Array

    def affine(self, scale: Array, shift: Array) -> _Run:
        with np.errstate(all="ignore"):
            return replace(self, scale=self.scale * scale, shift=self.shift * scale + shift)

    def bounded(self, op: str, bound: Array) -> _Run:
        """After max(y, bound) or min(y, bound) of the result, the same said of what goes in."""
        rising, falling = self.scale > 0, self.scale < 0
        with np.errstate(all="ignore"):
            at = (bound - self.shift) / self.scale
        lower = rising if op == "Max" else falling
        upper = falling if op == "Max" else rising
        cut = np.maximum if op == "Max" else np.minimum
        flat = ~(rising | falling)
        low = np.where(lower, np.maximum(self.low, at), self.low)
        high = np.where(upper, np.minimum(self.high, at), self.high)
        crossed = low > high  # nothing is left between: the later bound is the answer
        shift = np.where(crossed, bound, np.where(flat, cut(self.shift, bound), self.shift))
        scale = np.where(crossed, 0.0, self.scale)
        return _Run(np.where(crossed, -_INF, low), np.where(crossed, _INF, high), scale, shift)

    def steps(self) -> Iterator[Step]:
        """The run as steps, without those that do nothing; a clip keeps its finite bounds only. Where one value is all that
        comes out, nothing is clipped."""
        point = self.low == self.high
        with np.errstate(all="ignore"):
            shift = np.where(point, self.scale * self.low + self.shift, self.shift)
        scale = np.where(point, 0.0, self.scale)
        low, high = np.where(scale == 0, -_INF, self.low), np.where(scale == 0, _INF, self.high)
        if np.isfinite(low).any():
            yield Step("Max", (low,))
        if np.isfinite(high).any():
            yield Step("Min", (high,))
        if (scale != 1).any():
            yield Step("Mul", (scale,))
        if (shift != 0).any():
            yield Step("Add", (shift,))


_NOTHING = _Run(constant(-_INF), constant(_INF), constant(1.0), constant(0.0))


def canonical(transform: Transform) -> Transform:
    """The same function in its canonical form: runs of [Max], [Min], [Mul], [Add], and other steps between them."""
    steps: list[Step] = []
    run = _NOTHING
    for step in transform.steps:
        row = OPERATORS[step.op]
        one = row.affine(step) if row.elementwise else None
        if step.op == "Cast" and str(step.options.get("to", "")).startswith("float"):
            continue
        if one is not None:
            run = run.affine(one.scale, one.shift)
        elif step.op in ("Max", "Min"):
            run = run.bounded(step.op, step.operands[0])
        else:
            steps += [*run.steps(), step]
            run = _NOTHING
    return Transform((*steps, *run.steps()))


def simplified(transform: Transform) -> Transform:
    """The canonical form without what only rounding left of it: factors within 1e-12 of 1, shifts within 1e-12 of 0."""
    kept = []
    for step in canonical(transform).steps:
        neutral = {"Mul": 1.0, "Add": 0.0}.get(step.op)
        if neutral is None or not np.allclose(step.operands[0], neutral, rtol=0, atol=1e-12):
            kept.append(step)
    return Transform(tuple(kept))


def digest(transform: Transform) -> str:
    """32 hex digits of the canonical function. Equal functions have equal ones: numbers count to 9 significant digits, a
    mean far from zero to as many more as its std needs; one value for all features is the same as that value for each."""
    parts = [_spelled(s) for s in _described(canonical(transform))]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()[:32]


def _described(form: Transform) -> Iterator[tuple[str, tuple[Array, ...], dict[str, object]]]:
    """The canonical steps with each affine as (zero, unit), the raw value that becomes 0 and the raw distance that
    becomes 1: round numbers in most files, where scale and shift are not."""
    steps = list(form.steps)
    while steps:
        step = steps.pop(0)
        if step.op not in ("Mul", "Add"):
            yield step.op, step.operands, dict(step.options)
            continue
        scale = step.operands[0] if step.op == "Mul" else constant(1.0)
        shift = step.operands[0] if step.op == "Add" else constant(0.0)
        if step.op == "Mul" and steps and steps[0].op == "Add":
            shift = steps.pop(0).operands[0]
        scale, shift = np.broadcast_arrays(scale, shift)
        flat = scale == 0
        with np.errstate(all="ignore"):
            unit = np.where(flat, 0.0, 1 / scale)
            zero = np.where(flat, shift, -shift / scale)
        yield "affine", (_zero(zero, unit), rounded(unit, DIGITS)), {}


def _zero(zero: Array, unit: Array) -> Array:
    """The raw value of 0, to 9 digits; more where it is many units away; nothing below 1e-12 of a unit, where what a
    symmetric range leaves of its two ends is rounding; 0 below a billionth."""
    with np.errstate(all="ignore"):
        far = np.log10(np.abs(rounded(zero, 3) / rounded(unit, 3)))
    whole = np.floor(np.where(np.isfinite(far), far, 0))
    extra = (np.clip(whole - 3, 0, 5) + np.clip(whole + 4, -8, 0)).astype(int)
    digits = np.broadcast_to(DIGITS + extra, zero.shape)
    near = np.abs(zero) < np.abs(unit) * 1e-9
    flat = [
        0.0 if n else _round(float(v), int(d))
        for v, d, n in zip(zero.ravel(), digits.ravel(), near.ravel(), strict=True)
    ]
    return np.asarray(flat).reshape(zero.shape)


def rounded(values: Array, digits: int) -> Array:
    """Each value to that many significant digits."""
    return np.asarray([_round(float(v), digits) for v in values.ravel()]).reshape(values.shape)


def _round(value: float, digits: int) -> float:
    """To significant digits, by way of two digits more than they, so that the noise of a float64 computation does not
    decide on which side of a half a short decimal falls."""
    if not np.isfinite(value) or value == 0:
        return value + 0.0
    return float(f"{float(f'{value:.{digits + 2}e}'):.{digits - 1}e}")


def _spelled(part: tuple[str, tuple[Array, ...], dict[str, object]]) -> list[object]:
    op, operands, options = part
    shown: list[object] = []
    for values in operands:
        short = values if op == "affine" else rounded(values, DIGITS)
        texts = [repr(float(v) + 0.0) for v in short.ravel()]
        alike = len(set(texts)) == 1
        shown.append(texts[0] if alike else [list(values.shape), texts])
    return [op, shown, sorted(options.items())]
