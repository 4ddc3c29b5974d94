"""Raw rows on which two functions are told apart: where a normalization has its zero and its unit, and where it bends or jumps.

A z-score shows everywhere. A table of quantiles, the edge of a bin, a threshold or a sentinel shows in one place only: such
places are read off the steps themselves and carried back, through the steps before them, to the raw values that meet them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from onnxscale.step import Array, Step
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

_SCALED = np.array([0.0, -1, 1, 0.5, -0.5, 2, -2, 3, -3, 0.25, 0.75, 1e-3, -1e-3])
_PLAIN = np.array([0.0, 1, -1, 0.5, 2, 10, 100, 255, 1000, -1000, 1e-2])
_EXACT = ("Impute", "Equal")  # steps that single out one value; of all others the neighbours of a jump are enough
_BESIDE = ((1 + 1e-6, 1e-9), (1 - 1e-6, -1e-9))  # next to a jump, on either side, farther off than rounding reaches
_ROWS = 16  # of a table, evenly spaced
_APART = 4  # of a table, per feature, the rows in which two tables are farthest apart


def probes(a: Transform, b: Transform, shape: tuple[int, ...]) -> Array:
    """Raw rows, float64 (R, *shape): where each function has its values of -3 to 3, both sides of every bend and jump that can
    be reached from outside, plain numbers, and NaN."""
    rows: list[Array] = [np.full(shape, v) for v in _PLAIN]
    for form, other in ((a, b), (b, a)):
        undone = form.inverse()
        if undone is not None and form.result == form.shape:
            rows += [np.broadcast_to(undone(np.broadcast_to(v, shape)), shape) for v in _SCALED]
        rows += _places(form.steps, other.steps, shape)
    listed = np.stack([np.where(np.isfinite(r), r, 0.0) for r in rows])
    if not all(OPERATORS[s.op].elementwise for s in (*a.steps, *b.steps)):
        rng = np.random.default_rng(0)
        listed = np.concatenate([listed, rng.permuted(listed, axis=0), rng.standard_normal((16, *shape))])
    return np.concatenate([listed, np.full((1, *shape), np.nan)])


def whole(form: Transform) -> bool:
    """Whether a function is of whole rows, or of what stands beside them, so that no row of probes can stand for all."""
    return any(OPERATORS[s.op].reads(s) is not None or "over" in s.options for s in form.steps)


def stated(a: Transform, b: Transform, digits: float) -> str:
    """How two functions that are compared by what their steps say differ, in words; "" where they say the same."""
    if [s.op for s in a.steps] != [s.op for s in b.steps]:
        return "the functions differ"
    for s, t in zip(a.steps, b.steps, strict=True):
        keys = (k for k in sorted({*s.options, *t.options}) if s.options.get(k) != t.options.get(k))
        key = next(keys, None)
        if key is not None:
            here, there = (str(o.options.get(key, "not given"))[:60] for o in (s, t))
            return f"{key} is {here} in the first, {there} in the second ({s.op})"
        for v, w in zip(s.operands, t.operands, strict=False):
            if v.shape != w.shape:
                return f"the constants of {s.op} have the shape {v.shape} in the first, {w.shape} in the second"
            off = ~np.isclose(v, w, rtol=digits, atol=1e-15, equal_nan=True)
            if off.any():
                at = tuple(int(i[0]) for i in np.nonzero(off)) if v.ndim else ()
                where = f" at {', '.join(map(str, at))}" if at else ""
                return f"the constants of {s.op} differ, first{where}: {v[at]:.12g} in the first, {w[at]:.12g} in the second"
    return ""


def unseen(a: Transform, b: Transform, digits: float) -> bool:
    """Whether the same operators have other constants in a step that no probe reaches, farther apart than `digits`, relative."""
    if [s.op for s in a.steps] != [s.op for s in b.steps]:
        return False
    reached = True
    for i, (s, t) in enumerate(zip(a.steps, b.steps, strict=True)):
        reached = reached and (i == 0 or _opens(a.steps[i - 1]))
        if OPERATORS[s.op].affine(s) is None and not (reached and _legible(s)) and _apart(s, t, digits):
            return True
    return False


def _opens(step: Step) -> bool:
    return step.op == "Select" or OPERATORS[step.op].inverse(step) is not None


def _legible(step: Step) -> bool:
    """Whether all that a step holds is a value or a table of values per feature, or numbers without a place of their own."""
    shape = OPERATORS[step.op].shape(step)
    return not OPERATORS[step.op].parts(step) and all(
        v.ndim <= 1 or v.shape in (shape, (len(v), *shape)) for v in step.operands
    )


def _apart(s: Step, t: Step, digits: float) -> bool:
    if dict(s.options) != dict(t.options) or [v.shape for v in s.operands] != [v.shape for v in t.operands]:
        return True
    pairs = zip(s.operands, t.operands, strict=True)
    return not all(np.allclose(v, w, rtol=digits, atol=0, equal_nan=True) for v, w in pairs)


def _places(steps: Sequence[Step], others: Sequence[Step], shape: tuple[int, ...]) -> Iterator[Array]:
    """Raw rows of that shape that meet the places in which these steps bend, jump, or differ from the others."""
    for i, step in enumerate(steps):
        twin = others[i] if i < len(others) and others[i].op == step.op else None
        parts = OPERATORS[step.op].parts(step)
        theirs = [] if twin is None else OPERATORS[step.op].parts(twin)
        inner = OPERATORS[step.op].shape(step) if OPERATORS[step.op].shape(step) else shape
        rows: list[Array] = list(_bends(step, twin))
        for k, part in enumerate(parts):
            rows += _places(part, theirs[k] if k < len(theirs) else (), inner)
        for row in rows:
            raw = _back(steps[:i], row)
            if raw is None:
                return
            try:
                yield np.broadcast_to(raw, shape)
            except ValueError:
                return


def _back(steps: Sequence[Step], row: Array) -> Array | None:
    """The values that these steps turn into `row`; None where a step cannot be undone."""
    for step in reversed(steps):
        if step.op == "Select":
            spread = np.zeros(OPERATORS[step.op].shape(step))
            spread[step.operands[0].astype(np.int64)] = row
            row = spread
            continue
        undone = OPERATORS[step.op].inverse(step)
        if undone is None:
            return None
        row = Transform(undone)(row)
    return row


def _bends(step: Step, twin: Step | None) -> Iterator[Array]:
    """Values that go into a step, of its features' shape, at and around the places that its constants name."""
    if step.op in ("Max", "Min"):
        bound = np.where(np.isfinite(step.operands[0]), step.operands[0], 0.0)
        yield from (bound * k + d for k, d in ((1, 0), (1.01, 1e-3), (0.99, -1e-3)))
        return
    if OPERATORS[step.op].affine(step) is not None or OPERATORS[step.op].parts(step):
        return
    shape = OPERATORS[step.op].shape(step)
    pairs = list(zip(step.operands, step.operands if twin is None else twin.operands, strict=False))
    for v, other in pairs:
        w = other if other.shape == v.shape else v
        if v.shape == shape:
            yield from _around(v, w, exact=step.op in _EXACT)
        elif v.shape[1:] == shape:
            for at in _rows(v, w, pairs):
                yield from _around(np.take_along_axis(v, at, 0)[0], np.take_along_axis(w, at, 0)[0], exact=False)
            for i in np.unique(np.linspace(0, len(v) - 2, min(_ROWS, len(v) - 1)).astype(int)) if len(v) > 1 else ():
                yield (v[i] + v[i + 1]) / 2


def _rows(v: Array, w: Array, pairs: Iterable[tuple[Array, Array]]) -> Iterator[Array]:
    """Numbers of rows of a table, per feature: some of all, those that differ most, and those whose rank in a list beside it
    does."""
    evenly = np.unique(np.linspace(0, len(v) - 1, min(_ROWS, len(v))).astype(int))
    gap = np.nan_to_num(np.abs(v - w), nan=0.0, posinf=0.0)
    last = [int(i) for x, y in pairs if x.shape == y.shape == (len(v),) for i in np.argsort(np.abs(x - y))[-_APART:]]
    for i in dict.fromkeys([*map(int, evenly), *last]):
        yield np.full((1, *v.shape[1:]), i)
    yield from np.split(np.argsort(gap, axis=0)[-_APART:], min(_APART, len(v)))


def _around(v: Array, w: Array, *, exact: bool) -> Iterator[Array]:
    """Both sides of v; where w is another value, v, w, and what lies between."""
    yield from (v * k + d for k, d in _BESIDE)
    if exact:
        yield v
    with np.errstate(all="ignore"):
        differs = ~(np.abs(v - w) <= 1e-9 * np.maximum(np.abs(v), np.abs(w)))
    if differs.any():
        yield from (np.where(differs, u, 0.0) for u in (v, w, (v + w) / 2))


__all__ = ["probes", "stated", "unseen", "whole"]
