"""The space of a tensor: its values as raw ones seen through a function; compared as functions, whatever they were
written as: mean and std in 0 to 1 after a rescale, Sub and Div, Mul and Add, min-max against offset and scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from onnxscale.canonical import canonical, digest, rounded, simplified
from onnxscale.errors import StatisticsError
from onnxscale.probing import probes, stated, unseen, whole
from onnxscale.statistics import Source
from onnxscale.step import Array, Step
from onnxscale.steps.arithmetic import brief
from onnxscale.transform import Transform

TOLERANCE = 1e-6
DIGITS9 = 1e-9
FLOAT64 = 2.0**-47  # what the roundings of a dozen steps come to, relative to the terms that they add
_INF = float("inf")


@dataclass(frozen=True, eq=False)
class Space:
    """What the values of a tensor are.

    transform: from raw values to these; the empty one is "raw"; None where nothing is known of them. axis: of the first
    feature dimension in the tensor, counted from the start (or from the end where the rank is unknown), None for "not
    said". features, units: names, or (). rounding: relative rounding of the constants (2^-24 where they were read back
    from a graph's float32). source: where this is known from.
    """

    transform: Transform | None
    axis: int | None = None
    features: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    rounding: float = 0.0
    source: Source = field(default_factory=lambda: Source(""))

    @property
    def raw(self) -> bool:
        """Whether these are raw values themselves: the function does nothing."""
        return self.transform is not None and not canonical(self.transform).steps

    def prose(self) -> str:
        """The space in words."""
        if self.transform is None:
            return "unknown"
        short = canonical(self.transform)
        return f"raw values: {worded(short)}" if short.steps else "raw"


def worded(form: Transform) -> str:
    """A canonical form in words, its affines as people write them: less a mean, divided by a std."""
    steps: list[Step] = []
    for step in form.steps:
        before = steps[-1] if steps else None
        if step.op == "Add" and before is not None and before.op == "Mul" and (before.operands[0] != 0).all():
            scale = before.operands[0]
            steps[-1:] = [Step("Sub", (0.0 - step.operands[0] / scale,)), Step("Div", (1 / scale,))]
        else:
            steps.append(step)
    shorter = [
        Step("Div", (1 / s.operands[0],)) if s.op == "Mul" and (s.operands[0] != 0).all() and _shorter(s) else s
        for s in steps
    ]
    return Transform(tuple(shorter)).prose()


def _shorter(step: Step) -> bool:
    return len(brief(1 / step.operands[0])) < len(brief(step.operands[0]))


RAW = Space(Transform())
UNKNOWN = Space(None)


def between(here: Space, there: Space) -> Transform:
    """What takes values of one space to another: the inverse of the first, then the second, fused in float64; the empty
    Transform where they are the same. Raises StatisticsError where a space is unknown or cannot be undone."""
    for space, what in ((here, "the first"), (there, "the second")):
        if space.transform is None:
            raise StatisticsError(f"{what} space is unknown: nothing says how its values were scaled")
    assert here.transform is not None and there.transform is not None
    if compare(here, there) is None:
        return Transform()
    undone = here.transform.inverse()
    if undone is None:
        raise StatisticsError(f"the first space ({here.prose()}) cannot be undone: a step of it loses what went in")
    return simplified(undone | there.transform)


def fingerprint(space: Space) -> str:
    """32 hex digits of the function (see canonical.digest); "" where it is unknown."""
    return "" if space.transform is None else digest(space.transform)


@dataclass(frozen=True)
class Off:
    """One feature whose values differ. feature: its flat index; name: or "". sigmas: the largest difference in units of
    the scaled values, met for raw values within 4 of them. at: the raw value; here, there: what it becomes."""

    feature: int
    name: str
    sigmas: float
    at: float
    here: float
    there: float


@dataclass(frozen=True)
class Difference:
    """How two spaces differ. reason: in words, what it looks like. off: the features that differ, in their order."""

    reason: str
    off: tuple[Off, ...] = ()

    @property
    def first(self) -> Off | None:
        return self.off[0] if self.off else None

    @property
    def most(self) -> float:
        """The largest difference over the features, in units of the scaled values; infinity where it has no number."""
        return max((o.sigmas for o in self.off), default=_INF)


def compare(here: Space, there: Space, tolerance: float = TOLERANCE) -> Difference | None:
    """None where two spaces are the same function within `tolerance`, relative to the scaled values (1 at least), and what
    the roundings of their constants and of float64 come to; else how they differ, feature by feature, and what that looks like."""
    if here.transform is None or there.transform is None:
        both = here.transform is None and there.transform is None
        return Difference("nothing is known of either" if both else "nothing is known of one of them")
    a, b = (in_place(canonical(t)) for t in (here.transform, there.transform))
    if a == b and _same_axis(here, there, a, b):
        return None
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return Difference(f"one is made for {_wide(a.shape)}, the other for {_wide(b.shape)}")
    if not _same_axis(here, there, a, b):
        return Difference(f"the features lie at axis {here.axis} in one and at axis {there.axis} in the other")
    if whole(a) or whole(b):
        words = stated(a, b, max(tolerance, DIGITS9))
        return Difference(words) if words else None
    return _measured(here, there, a, b, shape, tolerance)


def in_place(form: Transform) -> Transform:
    """A form without the step that first puts the dimensions of its tensor in another order, which changes no value."""
    return form if form.order is None else Transform(form.steps[1:])


def _same_axis(here: Space, there: Space, a: Transform, b: Transform) -> bool:
    if here.axis is None or there.axis is None or (here.axis < 0) != (there.axis < 0) or here.axis == there.axis:
        return True
    return all(v.size and (v == v.flat[0]).all() for f in (a, b) for s in f.steps for v in s.operands)


def settled(space: Space, rank: int | None) -> Space:
    """A space with its axis counted from the start, where the rank of its tensor is known."""
    known = space.axis is not None and space.axis < 0 and rank is not None
    return replace(space, axis=space.axis + rank) if known else space  # type: ignore[operator]


def _wide(shape: tuple[int, ...]) -> str:
    return "any number of features" if shape == () else f"{'x'.join(map(str, shape))} feature(s)"


def _measured(
    here: Space, there: Space, a: Transform, b: Transform, shape: tuple[int, ...], tolerance: float
) -> Difference | None:
    off = tuple(_off(here, there, a, b, shape, tolerance))
    if not off:
        hidden = unseen(a, b, max(tolerance, DIGITS9))
        return (
            Difference("the constants differ, in a step that cannot be told apart feature by feature")
            if hidden
            else None
        )
    return Difference(_looks_like(a, b, shape, max(here.rounding, there.rounding)), off)


def _off(
    here: Space, there: Space, a: Transform, b: Transform, shape: tuple[int, ...], tolerance: float
) -> Iterator[Off]:
    x = probes(a, b, shape)
    ya, yb = a(x), b(x)
    if ya.shape != yb.shape:
        yield Off(0, "", _INF, np.nan, np.nan, np.nan)
        return
    with np.errstate(all="ignore"):
        size = np.maximum(1.0, np.maximum(np.abs(ya), np.abs(yb)))
        terms = sum(
            (_terms(f, x, y) * (s.rounding * 4 + FLOAT64) for f, s, y in ((a, here, ya), (b, there, yb))), np.zeros(())
        )
        gap = np.abs(ya - yb)
        close = np.isfinite(gap) & (gap <= tolerance * size + terms + 1e-15)
        same = (ya == yb) | (np.isnan(ya) & np.isnan(yb)) | close
        gap = np.where(same, 0.0, np.where(np.isnan(gap), _INF, gap))
        near = np.minimum(np.abs(ya), np.abs(yb)) <= 4
    flat = [v.reshape(len(x), -1) for v in (gap, near, ya, yb)]
    raw = x.reshape(len(x), -1)
    called = here.features or there.features
    for f in range(flat[0].shape[1]):
        column, close = flat[0][:, f], flat[1][:, f]
        if not column.any():
            continue
        weight = np.where(close, column, 0.0) if (close & (column > 0)).any() else column
        at = int(np.argmax(weight))
        x_at = float(raw[at, f]) if raw.shape[1] == flat[0].shape[1] else float("nan")
        name = called[f] if len(called) == flat[0].shape[1] else ""
        yield Off(f, name, float(column[at]), x_at, float(flat[2][at, f]), float(flat[3][at, f]))


def _terms(form: Transform, x: Array, y: Array) -> Array:
    """Sizes of the terms of an affine, which bound what rounded constants can do; of what is not affine, y and the last
    shift."""
    one = form.affine()
    if one is not None:
        return np.asarray(np.abs(one.scale * x) + np.abs(one.shift))
    last = form.steps[-1]
    return np.asarray(np.maximum(1.0, np.abs(y)) + (np.abs(last.operands[0]) if last.op == "Add" else 0.0))


def _looks_like(a: Transform, b: Transform, shape: tuple[int, ...], rounding: float) -> str:
    """The difference in words: the known ways in which one function becomes another."""
    if not a.steps or not b.steps:
        return "the first is raw, the second is scaled" if not a.steps else "the first is scaled, the second is raw"
    for twice, once, words in ((b, a, "the second scales twice"), (a, b, "the first scales twice")):
        if not once.elementwise or once.shape != once.result:
            continue
        again = canonical(once | once)
        if _equal(twice, again, shape, 4 * rounding) and not _equal(twice, once, shape, 4 * rounding):
            return f"{words}: {worded(once)}, and the same again"
    turned = _taken(a, b, shape, rounding) or _turned(a, b, shape)
    if turned:
        return turned
    factor = _factor(a, b)
    if factor:
        more, less, k = ("second", "first", factor) if factor > 1 else ("first", "second", 1 / factor)
        return f"the {more} expects raw values {k:g} times as large as the {less} does"
    return "the constants differ" if [s.op for s in a.steps] == [s.op for s in b.steps] else "the functions differ"


def _equal(a: Transform, b: Transform, shape: tuple[int, ...], rounding: float) -> bool:
    return not any(_off(Space(a, rounding=rounding), Space(b, rounding=rounding), a, b, shape, TOLERANCE))


def _taken(a: Transform, b: Transform, shape: tuple[int, ...], rounding: float) -> str:
    """Whether one picks its features in another order first, and then does what the other does; "" where not."""
    for one, two, which in ((a, b, "first"), (b, a, "second")):
        columns = [int(c) for c in one.steps[0].operands[0]] if one.steps[0].op == "Select" else []
        if not columns or sorted(columns) != list(range(*shape[:1])):
            continue
        if not _equal(Transform(one.steps[1:]), two, shape, 4 * rounding):
            continue
        if columns == [2, 1, 0]:
            return f"the {which} takes its channels the other way round (RGB for BGR), the constants are the same"
        return f"the {which} takes its features in another order ({', '.join(map(str, columns))}), the constants are the same"
    return ""


def _turned(a: Transform, b: Transform, shape: tuple[int, ...]) -> str:
    """Whether one has the constants of the other in another order; "" where not."""
    one, two = a.affine(), b.affine()
    if len(shape) != 1 or one is None or two is None:
        return ""
    mine, yours = (
        np.stack([np.broadcast_to(f.scale, shape), np.broadcast_to(f.shift, shape)], axis=1) for f in (one, two)
    )
    here, there = (v[np.lexsort(rounded(v, 6).T)] for v in (mine, yours))
    if not np.allclose(here, there, rtol=1e-6, atol=1e-12):
        return ""
    if len(mine) == 3 and np.allclose(mine[::-1], yours, rtol=1e-6, atol=1e-12):
        return "the same constants with the channels the other way round (RGB for BGR)"
    moved = np.flatnonzero(~np.isclose(mine, yours, rtol=1e-6, atol=1e-12).all(axis=1))
    more = f" and {len(moved) - 8} more" if len(moved) > 8 else ""
    return (
        f"the same constants in another order (features {', '.join(map(str, moved[:8]))}{more} moved)"
        if len(moved)
        else ""
    )


def _factor(a: Transform, b: Transform) -> float:
    """k where a(k x) is b(x) for every feature, k a power of ten, 255 or their inverses; else 0."""
    one, two = a.affine(), b.affine()
    if one is None or two is None or not np.allclose(one.shift, two.shift, rtol=1e-6, atol=1e-9):
        return 0.0
    with np.errstate(all="ignore"):
        ratio = np.ravel(two.scale / one.scale)
    known = (255.0, 1 / 255, *(10.0**k for k in range(-9, 10) if k))
    return next((1 / k for k in known if np.allclose(ratio, k, rtol=1e-6)), 0.0)


__all__ = [
    "RAW",
    "UNKNOWN",
    "Difference",
    "Off",
    "Space",
    "between",
    "canonical",
    "compare",
    "fingerprint",
    "in_place",
    "settled",
    "simplified",
]
