"""From the answers of both models to a judgement per output: the measured noise floor, the tolerance, what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxscale.comparing import (
    DIFFERS,
    NOT_VERIFIED,
    VERIFIED,
    Flip,
    OutputCheck,
    SeamCheck,
    Worst,
    argmax_flips,
    numbers,
    relative,
    same,
    ulps,
)
from onnxscale.feeding import Feed
from onnxscale.precision import UNIT
from onnxscale.samples import LARGEST
from onnxscale.step import Array
from onnxscale.worker import Answers, Failure

MARGIN = 4.0  # a noise floor measured on some rows is passed by others; four times is what a thousand models kept to
EPSILONS = 8
SHOWN = 8
Thresholds = Mapping[str, Sequence[tuple[int, float]]]
DEAF = 0.1  # an output whose own noise is a tenth of its largest value proves nothing


def judge(
    feeds: Sequence[Feed], got: Sequence[Answers], got_plain: Sequence[Answers], expected: Sequence[Answers], plain: Sequence[Answers],
    host: Sequence[Answers], moved: Sequence[Answers] | None, names: Sequence[str], bound: float, near: Thresholds,
) -> tuple[list[OutputCheck], list[str]]:  # fmt: skip
    """One check per output, and notes on feeds that a model refused.

    got, got_plain: the baked model's answers with optimizations on and off. expected, plain: the original's on rows
    scaled in float64. host: on rows scaled in float32. moved: on rows moved by the scaler's own rounding, or None.
    bound: proven of the folds, relative. near: raw values at which trees decide, by input.
    """
    notes: list[str] = []
    good: list[int] = []
    for i, feed in enumerate(feeds):
        mine = next((a for a in (got[i], got_plain[i]) if isinstance(a, Failure)), None)
        theirs = next((a for a in (expected[i], plain[i]) if isinstance(a, Failure)), None)
        if theirs is None and mine is None:
            if feed.label != LARGEST:  # where those overflow depends on the order of operations; the seam has them
                good.append(i)
        elif theirs is None and mine is not None:
            notes.append(f"only the baked model fails on {feed.label!r}: {mine.message}")
        elif theirs is not None:
            notes.append(f"left out {feed.label!r}: the original model fails on it ({theirs.message[:120]})")
    checks = [
        _output(
            name,
            [
                _Answers(feeds[i], *(_one(s, i, name) for s in (got, got_plain, expected, plain, host, moved)))
                for i in good
            ],
            bound,
            near,
        )
        for name in names
    ]
    return checks, sorted(set(notes))


def verdict_of(seams: Sequence[SeamCheck], checks: Sequence[OutputCheck], notes: Sequence[str]) -> tuple[str, str]:
    """The verdict and its reason, from all that was compared."""
    for s in seams:
        if not s.holds:
            if s.role == "guard":
                return (
                    DIFFERS,
                    f"the guard's output {s.tensor!r} is off by {s.error:.3g}, over the bound of {s.bound:.3g}",
                )
            if s.role == "layer":
                return (
                    DIFFERS,
                    f"the folded layer {s.tensor!r} is off by {s.error:.3g}, over the bound of {s.bound:.3g}",
                )
            where = "" if s.column is None else f", feature {s.column}"
            return (
                DIFFERS,
                f"the scaled tensor {s.tensor!r}{where} is off by {s.error:.3g}, over the bound of {s.bound:.3g}",
            )
    for c in checks:
        if not c.holds:
            what = f"off by {c.relative:.3g} of its largest value" if c.kind == "float" else "not the same"
            return DIFFERS, f"output {c.name!r} is {what} on {c.differing} row(s); allowed is {c.tolerance:.3g}"
    broken = next((n for n in notes if n.startswith("only the baked model fails")), None)
    if broken:
        return DIFFERS, broken
    if not checks or all(c.vacuous for c in checks):
        if any(not s.vacuous for s in seams):
            return VERIFIED, "at the seam: the outputs are constant over all rows, so they prove nothing"
        return NOT_VERIFIED, "the outputs are constant over all rows, and there is no scaled tensor to compare"
    return VERIFIED, "the seam and every output agree" if seams else "every output agrees"


class _Answers:
    """One output on one feed, from all models. numbers: the floats inside, or None for what compares exactly."""

    def __init__(self, feed: Feed, got: Any, got_plain: Any, expected: Any, plain: Any, host: Any, moved: Any) -> None:
        self.feed = feed
        self.pairs = ((got, expected), (got_plain, plain))
        self.got, self.expected, self.plain, self.host, self.moved = got, expected, plain, host, moved


def _one(answers: Sequence[Answers] | None, i: int, name: str) -> Any:
    answer = answers[i] if answers is not None else None
    return answer[name] if isinstance(answer, dict) else None


def _output(name: str, answers: Sequence[_Answers], bound: float, near: Thresholds) -> OutputCheck:
    if answers and all(numbers(a.expected) is not None for a in answers):
        return _floats(name, answers, bound, near)
    return _labels(name, answers, near)


def _beside(feed: Feed, rows: Iterable[int], near: Thresholds) -> list[Flip]:
    """For each of these rows the threshold of a tree that is nearest to its raw values."""
    found = []
    for row in rows:
        nearest: Flip | None = None
        for name, decided in near.items():
            values = np.ravel(feed.raw[name][row]).astype(np.float64)
            unit = np.float64 if feed.raw[name].dtype == np.float64 else np.float32
            features, at = np.array([f for f, _ in decided]), np.array([v for _, v in decided])
            with np.errstate(over="ignore", invalid="ignore"):
                far = np.abs(values[features] - at) / np.spacing(np.abs(at).astype(unit)).astype(np.float64)
            i = int(np.nanargmin(np.where(np.isnan(far), np.inf, far)))
            if nearest is None or far[i] < nearest.distance:
                nearest = Flip(feed.label, row, name, int(features[i]), float(at[i]), float(far[i]))
        found += [nearest] if nearest is not None else []
    return found


def _rows_over(difference: Array, limit: float) -> Array:
    over = np.asarray(difference > limit)
    return np.asarray(over.reshape(len(over), -1).any(axis=1) if over.ndim else np.atleast_1d(over))


def _floats(name: str, answers: Sequence[_Answers], bound: float, near: Thresholds) -> OutputCheck:
    ordinary = [a for a in answers if a.feed.ordinary]
    largest = max((relative(_n(a.expected), _n(a.expected))[1] for a in ordinary), default=0.0)
    noise = 0.0
    for a in ordinary:
        for other in (a.plain, a.moved):
            if largest > 0 and other is not None and (o := numbers(other)) is not None:
                difference, _ = relative(o, _n(a.expected))
                if difference.size and np.isfinite(difference).all():
                    noise = max(noise, float(difference.max()) / largest)
    unit = UNIT[_n(answers[0].expected).dtype.name]
    tolerance = MARGIN * noise + EPSILONS * unit + bound
    worst: Worst | None = None
    most = absolute = ulp = 0.0
    flips = differing = rows = host_flips = 0
    host_most: float | None = None
    beside: list[Flip] = []
    for a in answers:
        for got, expected in a.pairs:
            g, e = _n(got), _n(expected)
            if g.shape != e.shape:
                differing, most = differing + max(1, len(e)), np.inf
                worst = Worst(a.feed.label, 0, {}, f"shape {list(g.shape)}", f"shape {list(e.shape)}")
                continue
            if not e.size:
                continue
            difference, scale = relative(g, e)
            scale = largest if a.feed.ordinary else max(largest, scale)
            bad = _rows_over(difference, tolerance * scale)
            differing += int(bad.sum())
            if near and len(beside) < SHOWN and e.ndim:
                turned = bad | argmax_flips(g, e) if e.ndim > 1 else bad
                beside += _beside(a.feed, np.flatnonzero(turned)[:SHOWN].tolist(), near)
            share = float(difference.max()) / scale if scale else float(difference.max() > 0)
            if share > most or worst is None:
                most = max(most, share)
                worst = _worst(a, difference, g, e)
            absolute, ulp = max(absolute, float(difference.max())), max(ulp, ulps(g, e))
        g, e = _n(a.got), _n(a.expected)
        rows += len(e) if e.ndim else 1
        flips += int(argmax_flips(g, e).sum())
        h = numbers(a.host)
        if h is not None and a.feed.ordinary and h.shape == g.shape and g.size:
            difference, _ = relative(g, h)
            host_most = max(host_most or 0.0, float(difference.max()) / largest if largest else 0.0)
            host_flips += int(argmax_flips(g, h).sum())
    vacuous = tolerance > DEAF or _deaf(answers) or _constant([_n(a.expected) for a in ordinary])
    return OutputCheck(
        name, "float", rows, absolute, most, ulp, noise, tolerance, flips, 0, differing, vacuous, host_most,
        host_flips if host_most is not None else None, worst, tuple(beside[:SHOWN]),
    )  # fmt: skip


def _n(value: Any) -> Array:
    found = numbers(value)
    return np.zeros(0, np.float32) if found is None else found


def _labels(name: str, answers: Sequence[_Answers], near: Thresholds) -> OutputCheck:
    rows = differing = unstable = host_flips = 0
    worst: Worst | None = None
    beside: list[Flip] = []
    for a in answers:
        for i, (got, expected, plain, moved, host) in enumerate(
            zip(*(_split(v, a.expected) for v in (a.got, a.expected, a.plain, a.moved, a.host)), strict=True)
        ):
            rows += 1
            host_flips += host is not None and not same(got, host)
            if same(got, expected):
                continue
            if near and len(beside) < SHOWN:
                beside += _beside(a.feed, [i], near)
            if not same(expected, plain) or (moved is not None and not same(expected, moved)):
                unstable += 1  # the original itself answers otherwise under its own rounding noise
                continue
            differing += 1
            worst = worst or Worst(a.feed.label, i, _raw_row(a.feed, i), got, expected)
    constant = _deaf(answers) or _constant_labels(
        [v for a in answers if a.feed.ordinary for v in _split(a.expected, a.expected)]
    )
    return OutputCheck(
        name, "exact", rows, 0.0, 0.0, 0.0, 0.0, 0.0, differing + unstable, unstable, differing, constant, None, host_flips,
        worst, tuple(beside),
    )  # fmt: skip


def _split(value: Any, like: Any) -> list[Any]:
    """An answer row by row; one item where it has no rows. Of the length of `like`, None where it is missing."""
    count = len(like) if isinstance(like, list) or (isinstance(like, np.ndarray) and like.ndim) else 1
    if value is None:
        return [None] * count
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim):
        return list(value) if len(value) == count else ["another number of rows"] * count
    return [value]


def _worst(a: _Answers, difference: Array, got: Array, expected: Array) -> Worst:
    row = int(np.unravel_index(int(np.argmax(difference)), difference.shape)[0]) if difference.ndim else 0
    return Worst(a.feed.label, row, _raw_row(a.feed, row), _few(got, row), _few(expected, row))


def _raw_row(feed: Feed, row: int) -> dict[str, Any]:
    return {n: _few(v, row) for n, v in feed.raw.items()}


def _few(values: Array, row: int, most: int = 64) -> Any:
    picked = values[row] if values.ndim and len(values) > row else values
    flat = np.asarray(picked).ravel()[:most]
    return flat.tolist() if np.ndim(picked) else flat[0].item() if hasattr(flat[0], "item") else flat[0]


def _deaf(answers: Sequence[_Answers]) -> bool:
    """Whether, among feeds of the same shapes, every answer is the same."""
    groups: dict[tuple[tuple[int, ...], ...], list[Any]] = {}
    for a in answers:
        if a.feed.ordinary:
            groups.setdefault(tuple(v.shape for v in a.feed.raw.values()), []).append(a.expected)
    return all(same(e, g[0]) for g in groups.values() for e in g) and any(len(g) > 1 for g in groups.values())


def _constant(arrays: Sequence[Array]) -> bool:
    rows = [a.reshape(len(a), -1) for a in arrays if a.ndim and a.size]
    if not rows or len({r.shape[1] for r in rows}) > 1:
        return not rows
    first = rows[0][0]
    return all(bool(np.all((r == first) | (np.isnan(r) & np.isnan(first)))) for r in rows)


def _constant_labels(values: Sequence[Any]) -> bool:
    return all(same(values[0], v) for v in values) if values else True
