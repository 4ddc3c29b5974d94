"""From statistics to a guard: which ranges and sigmas are known, what can be told from them, and what cannot."""

from __future__ import annotations

import numpy as np
import onnx

from onnxscale import graph
from onnxscale.errors import PlanError
from onnxscale.graph import InputSpec
from onnxscale.guarding.telling import POINTS, Telling, grid, telling
from onnxscale.guarding.values import FAR, FILL, SUMS, WATCH, Guard
from onnxscale.profile import PROBABILITIES
from onnxscale.statistics import Fitted
from onnxscale.step import Array
from onnxscale.transform import Transform

MODES = ("", "observe", "clamp", "nan")
SIGMAS = ("standard", "image")  # kinds whose scale is that of a standard deviation
FIT = "`onnxscale fit DATA -o stats.json` measures them"
WHERE = 9  # the opset that brought Where


def decide(
    mode: str, stats: bool, outer: InputSpec, axis: int, fitted: Fitted, transform: Transform, model: onnx.ModelProto,
    channels: str, earlier: frozenset[str],
) -> Guard:  # fmt: skip
    """The guard of one input. outer: the tensor as the app feeds it, features at `axis`. transform: of the raw values.
    earlier: outputs of a guard that the model has already.

    Raises PlanError where the mode needs what the statistics do not have, or the model cannot express it.
    """
    flag = f"--guard {mode}" if mode else "--guard-stats"
    if outer.shape is None:
        raise PlanError(
            f"{flag}: the rank of input {outer.name!r} is unknown, so its rows cannot be told from its features"
        )
    opset = graph.needs_opset(model)
    if opset < (WHERE if mode == "nan" or stats else 8 if mode else 0):
        raise PlanError(f"{flag} needs opset {WHERE}, and the model is written for {opset}; convert it first")
    shape, rank = transform.shape, len(outer.shape)
    low, high, mean, std = _known(fitted, shape, channels)
    notes = [f"guard {mode or 'statistics only'}"]
    if mode == "clamp" and low is None:
        raise PlanError(
            f"--guard clamp: the statistics of {outer.name!r} have no range (data_min, data_max) to cut to; {FIT}"
        )
    if mode == "nan" and std is None:
        raise PlanError(f"--guard nan: the statistics of {outer.name!r} have no mean and std to count sigmas in; {FIT}")
    rule: Telling | str = "nothing is known of the raw values"
    if mode:
        notes += [] if low is not None else [f"guard: no count of values outside, as no range is known; {FIT}"]
        notes += [] if std is not None else [f"guard: no distance, as no mean and std are known; {FIT}"]
        if low is not None or std is not None:
            rule = _telling(fitted, transform, shape, low, high, mean, std)
        notes += [f"guard: no looks_scaled: {rule}"] if isinstance(rule, str) else []
    shift = None
    if stats:
        middle = (
            mean if mean is not None else (low + high) / 2 if low is not None and high is not None else np.zeros(shape)
        )
        shift = np.where(np.isfinite(middle), middle, 0.0)
    there = dict(zip(WATCH, (low, std, None if isinstance(rule, str) else rule), strict=True)) if mode else {}
    kinds = [k for k, v in there.items() if v is not None] + list(SUMS if stats else ())
    if not kinds:
        raise PlanError(f"{flag}: the statistics of {outer.name!r} have neither a range nor mean and std; {FIT}")
    taken = graph.used_names(model)
    outputs = {k: _free(f"{outer.name}_guard_{k}", taken) for k in kinds}
    notes.append(f"guard outputs: {', '.join(outputs.values())}")
    poisons: dict[str, str] = {}
    if mode == "nan":
        whole = bool(shape) and axis % rank == 0
        poisons, said = _poisons(model, outer, whole, earlier)
        notes += said
    known = (low, high, mean, std) if mode else (None,) * 4
    return Guard(
        mode, shape, rank, axis % rank, outer.dtype, *known, None if isinstance(rule, str) else rule, shift, outputs, poisons,
        tuple(notes),
    )  # fmt: skip


def _known(fitted: Fitted, shape: tuple[int, ...], channels: str) -> tuple[Array | None, ...]:
    """low, high, mean, std of the features' shape, each pair or None. Gray values for several channels have no mean of their own."""
    ends = _shaped(fitted.data_min, shape), _shaped(fitted.data_max, shape)
    low, high = (None, None) if any(v is None for v in ends) else ends
    seen = fitted.profile
    if seen is not None and seen.width == int(np.prod(shape)) and channels != "gray":
        moments = seen.mean.reshape(shape), np.where(np.isfinite(seen.std), seen.std, 0.0).reshape(shape)
        return low, high, np.where(np.isfinite(moments[0]), moments[0], 0.0), moments[1]
    affine = fitted.transform().affine() if fitted.scaler.kind in SIGMAS and channels != "gray" else None
    if affine is None or (affine.scale == 0).any() or not np.isfinite(affine.scale).all():
        return low, high, None, None
    std = np.abs(1.0 / affine.scale)
    both = (-affine.shift / affine.scale, std)
    sigmas = [_shaped(v[::-1] if channels == "reversed" and v.ndim else v, shape) for v in both]
    return (low, high, *sigmas) if sigmas[0] is not None else (low, high, None, None)


def _shaped(values: Array | None, shape: tuple[int, ...]) -> Array | None:
    try:
        return None if values is None else np.array(np.broadcast_to(values, shape), np.float64)
    except ValueError:
        return None


def _telling(
    fitted: Fitted, transform: Transform, shape: tuple[int, ...], low: Array | None, high: Array | None, mean: Array | None,
    std: Array | None,
) -> Telling | str:  # fmt: skip
    size = int(np.prod(shape))
    if mean is None or std is None:
        assert low is not None and high is not None
        mean, std = (low + high) / 2, (high - low) / 4
    if low is None or high is None:
        low, high = mean - 4 * std, mean + 4 * std
    m, s, a, b = (np.asarray(v, np.float64).reshape(size) for v in (mean, std, low, high))
    if not np.isfinite([m, s, a, b]).all():
        return "the range of a feature is not finite"
    seen = fitted.profile
    q, together = grid(m, s, a, b), None
    if seen is not None and seen.width == size:
        if seen.quantiles is not None and np.isfinite(seen.quantiles).all():
            at = (np.arange(POINTS) + 0.5) / POINTS
            q = np.stack([np.interp(at, PROBABILITIES, row) for row in seen.quantiles], axis=1)
        together = seen.correlation
    flat, narrow = ~(s > 0), ~(b > a)
    scaled = [
        np.where(flat, 0.0, (q - m) / np.where(flat, 1.0, s)),
        np.where(narrow, 0.0, (q - a) / np.where(narrow, 1.0, b - a)),
    ]
    own = fitted.transform()
    if own.elementwise and own.shape == own.result and not own.reads and own.shape in ((), shape):
        with np.errstate(all="ignore"):
            y = own(q.reshape(POINTS, *shape), 1 if own.shape else None).reshape(POINTS, size)
        scaled += [y] if np.isfinite(y).all() else []
    found = telling(q, scaled, a, b, together)
    if isinstance(found, str):
        return found
    return Telling(found.weights.reshape(shape), found.threshold, found.low.reshape(shape), found.high.reshape(shape))


def _poisons(
    model: onnx.ModelProto, outer: InputSpec, whole: bool, earlier: frozenset[str]
) -> tuple[dict[str, str], list[str]]:
    """The outputs whose rows can be poisoned, name -> dtype, and in words what becomes of each."""
    assert outer.shape is not None
    batch = outer.shape[0] if outer.shape else None
    found: dict[str, str] = {}
    notes = [
        f"guard nan: takes out rows over {FAR:g} sigmas (root mean square) with a value out of range, and batches that look scaled"
    ]
    for o in graph.outputs(model):
        if o.name in earlier:
            continue
        first = o.shape[0] if o.shape else None
        rows = whole or (bool(o.shape) and (first == batch or (not isinstance(first, int) and None in (first, batch))))
        if o.dtype not in FILL:
            notes.append(f"guard nan: output {o.prose()} cannot hold NaN and stays as it is")
        elif o.shape is None or not rows:
            notes.append(f"guard nan: output {o.prose()} has no row for each row of {outer.name!r} and stays as it is")
        else:
            found[o.name] = o.dtype
            notes += [f"guard nan: output {o.prose()} cannot hold NaN and says -1"] if o.dtype.startswith("int") else []
    if not found:
        raise PlanError(f"--guard nan: the model has no output whose rows can be poisoned ({'; '.join(notes[1:])})")
    return found, notes


def _free(name: str, taken: set[str]) -> str:
    found = next(n for i in range(len(taken) + 1) if (n := f"{name}_{i}" if i else name) not in taken)
    taken.add(found)
    return found
