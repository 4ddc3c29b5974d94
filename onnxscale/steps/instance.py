"""Instance: each row (an image, an utterance, a series) by statistics of its own: y = (x - c) / d; InstanceBack: y = x d + c.

c and d are taken over the axes `over`, never over the rows:
    center   mean, min, or none (0)
    spread   std, abs (mean of |x|), range (max - min), or none (1)
    eps      where `eps_at` says: var: sqrt(var + eps); std: std + eps; var-floor: sqrt(max(var, eps)); floor: max(d, eps);
             size: max(d, 1 / sqrt(n)); zero: 1 where d is 0; none
Zero-mean unit-variance of Wav2Vec2 (transformers, feature_extraction_wav2vec2.py): mean, std, eps 1e-7 at var. RevIN (Kim et
al., ICLR 2022): mean, std, eps 1e-5 at var, over time. Mean scaling (Chronos, Ansari et al. 2024): none, abs, zero.
tf.image.per_image_standardization: mean, std, size.

options: over (axes, as text), center, spread, eps, eps_at, ddof; of: another input of which the statistics are taken (what
InstanceBack needs); mask: an input that says which of the last reduced axis count, as 0 and 1 in [N, T] or, with mask_kind
"length", as a number in [N]; pad: what stands at the others afterwards; skip_nan: NaN counts for nothing, and stays NaN.

TopFloor: y = max(x, top - c), top the largest of the row over `over` (Whisper's log-mel, feature_extraction_whisper.py, c = 8).
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Companion, Operator, Place, Step, given
from onnxscale.steps.functions import require, scalar
from onnxscale.steps.moments import Moments, moment_nodes, moments, over_of, weights_of
from onnxscale.steps.reducing import axes_in, reduced


def _of(x: Array, step: Step, place: Place) -> Moments:
    """The moments that scale x: its own, or those of the input `of`, laid out for x."""
    name = str(step.options.get("of", ""))
    if not name:
        return moments(x, step, place)
    source = np.asarray(given(place, name)).astype(x.dtype)
    found = moments(source, step, place)
    if source.ndim == x.ndim:
        return found

    def laid(v: Array) -> Array:
        return v if v.ndim == 0 else v.reshape(len(v), *(1,) * (x.ndim - 1))

    return Moments(laid(found.center), laid(found.spread), laid(found.count), laid(found.size))


def _evaluate(x: Array, step: Step, place: Place) -> Array:
    m = _of(x, step, place)
    y = np.asarray((x - m.center) / m.spread)
    if "pad" in step.options and not step.options.get("of"):
        weights = weights_of(x, Step(step.op, (), {**step.options, "skip_nan": False}), place)
        y = y if weights is None else np.where(weights > 0, y, float(step.options["pad"]))
    return y


def _evaluate_back(x: Array, step: Step, place: Place) -> Array:
    m = _of(x, step, place)
    return np.asarray(x * m.spread + m.center)


def _noise(x: Array, step: Step, place: Place, unit: float) -> Array:
    """Sums of n values are off by n units of the mean of |x|; what that does to c and d, to first order and twice over."""
    m = _of(x, step, place)
    away = 2 * (m.count + 8) * unit * m.size
    if step.op == "InstanceBack":
        return np.asarray(np.abs(x) * (away + (m.count + 8) * unit * m.spread) + away + 4 * unit * np.abs(m.center))
    y = np.abs((x - m.center) / m.spread)
    ratio = away / m.spread
    return np.asarray(ratio + 2 * unit * np.abs(x) / m.spread + y * ((m.count + 8) * unit + ratio + ratio**2))


def _of_row(build: Builder, v: str, axes: list[int], rank: int) -> str:
    """Statistics of a whole row of a tensor of `rank` dimensions, for one of another rank."""
    if build.rank is None or len(axes) != rank - 1:
        raise build.refuse(f"statistics over axes {axes} of {rank} dimensions do not fit a tensor of {build.rank}")
    return build.node("Reshape", v, build.tensor(np.array([-1] + [1] * (build.rank - 1)), "shape"))


def _nodes(build: Builder, x: str, step: Step) -> str:
    require(build, 8, "statistics of each row")
    back, name = step.op == "InstanceBack", str(step.options.get("of", ""))
    source = build.node("Cast", name, to=build.dtype) if name else x
    axes, rank = axes_in(build, over_of(step), build.rank_of(name) if name else build.rank)
    c, d, mask = moment_nodes(build, source, step, axes, rank)
    if rank != build.rank:
        c, d = (v and _of_row(build, v, axes, rank) for v in (c, d))
    if back:
        y = x if d is None else build.node("Mul", x, d)
        return y if c is None else build.node("Add", y, c)
    y = x if c is None else build.node("Sub", x, c)
    y = y if d is None else build.node("Div", y, d)
    if mask is not None and "pad" in step.options and not name:
        outside = build.node("Greater", mask, scalar(build, 0.0))
        y = build.node("Where", outside, y, scalar(build, float(step.options["pad"])))
    return y


def _reads(step: Step) -> Companion | None:
    mask, of = str(step.options.get("mask", "")), str(step.options.get("of", ""))
    if of:
        return Companion(of, "", (), lambda rng, shape: rng.standard_normal(shape))
    if not mask:
        return None
    last = over_of(step)[-1]
    if step.options.get("mask_kind") == "length":
        return Companion(mask, "int64", (0,), lambda rng, shape: rng.integers(1, 9, shape))

    def prefix(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        lengths = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1)) if shape[-1] else np.zeros((*shape[:-1], 1), int)
        return (np.arange(shape[-1]) < lengths).astype(np.int64)

    return Companion(mask, "int64", (0, last), prefix)


_CENTER = {"mean": "its mean", "min": "its least value", "none": ""}
_SPREAD = {"std": "its standard deviation", "abs": "its mean absolute value", "range": "its range", "none": ""}


def _prose(step: Step) -> str:
    whose = f" of {step.options['of']!r}" if step.options.get("of") else ""
    parts = [_CENTER[str(step.options["center"])], _SPREAD[str(step.options["spread"])]]
    words = ("times {}", "plus {}") if step.op == "InstanceBack" else ("minus {}", "divided by {}")
    parts = parts[::-1] if step.op == "InstanceBack" else parts
    said = ", ".join(w.format(p) for w, p in zip(words, parts, strict=True) if p)
    masked = f", as far as {step.options['mask']!r} says" if step.options.get("mask") else ""
    return f"each row {said}{whose} over axes {step.options['over']}{masked}"


def _undo(step: Step) -> tuple[Step, ...] | None:
    return (Step("InstanceBack", (), step.options),) if step.options.get("of") else None


def _top(x: Array, step: Step, place: Place) -> Array:
    axes = tuple(a % x.ndim for a in over_of(step))
    return np.asarray(np.maximum(x, x.max(axis=axes, keepdims=True, initial=-np.inf) - float(step.options["below"])))


def _top_nodes(build: Builder, x: str, step: Step) -> str:
    require(build, 8, "a floor below the largest value of each row")
    axes, _ = axes_in(build, over_of(step), build.rank)
    top = reduced(build, "ReduceMax", x, axes)
    return build.node("Max", x, build.node("Sub", top, scalar(build, float(step.options["below"]))))


INSTANCE = {
    "Instance": Operator(
        _evaluate, _nodes, _prose, inverse=_undo, elementwise=False, ulps=4.0, reads=_reads, noise=_noise
    ),
    "InstanceBack": Operator(_evaluate_back, _nodes, _prose, elementwise=False, ulps=4.0, reads=_reads, noise=_noise),
    "TopFloor": Operator(
        _top, _top_nodes,
        lambda step: f"nothing more than {step.options['below']:g} below the largest of its row (axes {step.options['over']})",
        elementwise=False,
    ),
}  # fmt: skip
