"""The folded layers: what each gives on raw rows, beside what the original layer gives on scaled ones, and the bound.

A fold has no scaled tensor to look at. Its counterpart is the output of the operator that absorbed the scaler, which both
models have under one name: it must be inside the bound that the plan shows, on the rows that the bound is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from onnxscale import reference, samples, seam
from onnxscale.comparing import SeamCheck, Worst, is_numbers, relative, same, ulps
from onnxscale.feeding import Feed
from onnxscale.folding.bound import SIGMAS
from onnxscale.folding.choosing import Absorption
from onnxscale.plans import Placement
from onnxscale.seam import Loaded
from onnxscale.step import Array, align
from onnxscale.worker import Failure, Runnable, Worker

MOST_ROWS = 512
LAST_NODES = 4  # a layer, its bias, and what only moves values after them


def checks(
    worker: Worker, original: onnx.ModelProto, baked: onnx.ModelProto, placements: Sequence[Placement],
    feeds: Sequence[Feed], theirs: Loaded, ours: Loaded,
) -> list[SeamCheck]:  # fmt: skip
    """One check for each layer that absorbed a scaler and whose inputs follow from the model's own inputs.

    theirs, ours: give a tensor of the original and of the baked model with its values.
    """
    folded: dict[str, list[Absorption]] = {}
    for p in placements:
        for a in p.fold.absorptions if p.fold is not None and p.role == "input" else ():
            if a.error is not None and a.tensor:
                folded.setdefault(a.tensor, []).append(a)
    inside = [_inside(f, placements) for f in feeds if f.ordinary]
    found = []
    rescaled = _before_targets(original, placements)
    for tensor, absorptions in folded.items():
        if tensor in rescaled:
            continue
        parts = [seam.cut(m, m.graph.input, [tensor], t) for m, t in ((original, theirs), (baked, ours))]
        if parts[0] is None or parts[1] is None or not inside:
            continue
        starts = [{v.name for v in part.graph.input} for part in parts if part is not None]
        scaled = [{n: a for n, a in reference.scaled(f, placements).items() if n in starts[0]} for f in inside]
        raw = [{n: a for n, a in f.raw.items() if n in starts[1]} for f in inside]
        expected = worker.run(Runnable(parts[0].SerializeToString()), scaled)
        got = worker.run(Runnable(parts[1].SerializeToString()), raw)
        if not isinstance(expected, Failure) and not isinstance(got, Failure):
            found.append(_compared(tensor, absorptions, inside, reference.poisoned(expected, placements, inside), got))
    return found


def _before_targets(original: onnx.ModelProto, placements: Sequence[Placement]) -> set[str]:
    """The tensors just before an output whose target scaler was folded: the layers that made them give other values now."""
    producers = {o: node for node in original.graph.node for o in node.output}
    met = {p.spec.name for p in placements if p.role == "output" and p.form == "fold"}
    edge = set(met)
    for _ in range(LAST_NODES):
        edge = {n for name in edge if name in producers for n in producers[name].input} - met
        met |= edge
    return met


def _inside(feed: Feed, placements: Sequence[Placement]) -> Feed:
    """The feed with its raw values drawn into the range that the bounds are for."""
    arrays = _few(feed, placements)
    for p in placements:
        ends = _ends(p) if p.role == "input" and p.spec.name in arrays else None
        if ends is not None:
            raw = arrays[p.spec.name]
            low, high = (align(e, raw.ndim, p.raw_axis % raw.ndim if raw.ndim else 0) for e in ends)
            clipped = np.clip(np.nan_to_num(raw.astype(np.float64)), low, high)
            arrays[p.spec.name] = samples.as_dtype(clipped, raw.dtype.name)
    return replace(feed, raw=arrays)


def _few(feed: Feed, placements: Sequence[Placement]) -> dict[str, Array]:
    """The first rows of a feed where the model takes any number of them, else all that it has."""
    placed = [p for p in placements if p.role == "input" and p.spec.name in feed.raw]
    fed = [feed.raw[p.spec.name] for p in placed]
    free = all(
        p.spec.shape and not isinstance(p.spec.shape[0], int) and (not p.transform.shape or p.axis % len(p.spec.shape))
        for p in placed
    )
    count = len(fed[0]) if free and fed else 0
    return {n: a[:MOST_ROWS] if a.ndim and len(a) == count else a for n, a in feed.raw.items()}


def _ends(p: Placement) -> tuple[Array, Array] | None:
    if p.fitted.data_min is not None and p.fitted.data_max is not None:
        return p.fitted.data_min, p.fitted.data_max
    inverse = p.transform.inverse()
    if inverse is None or not p.transform.elementwise:
        return None
    ends = [inverse(np.full(p.transform.shape, s)) for s in (-SIGMAS, SIGMAS)]
    if not all(np.isfinite(e).all() for e in ends):
        return None
    return np.minimum(*ends), np.maximum(*ends)


def _compared(
    tensor: str, absorptions: Sequence[Absorption], feeds: Sequence[Feed], expected: Sequence[object],
    got: Sequence[object],
) -> SeamCheck:  # fmt: skip
    error, most_ulp, rows, worst = -1.0, 0.0, 0, None
    first: object = None
    vacuous = True
    size = max(a.error.size for a in absorptions if a.error is not None)
    bound = sum(a.error.worst for a in absorptions if a.error is not None)
    for feed, a, b in zip(feeds, expected, got, strict=True):
        if not isinstance(a, Mapping) or not isinstance(b, Mapping):
            continue
        want, have = a[tensor], b[tensor]
        rows += len(want) if getattr(want, "ndim", 0) else 1
        if is_numbers(want) and want.ndim and len(want):
            first = want[0] if first is None else first
            vacuous = vacuous and all(same(row, first) for row in want)
        if is_numbers(want) and is_numbers(have) and want.shape == have.shape and want.size:
            difference, _ = relative(have, want)
            largest = float(difference.max())
            most_ulp = max(most_ulp, ulps(have, want))
            place = np.unravel_index(int(difference.argmax()), difference.shape)
            row, pair = int(place[0]) if place else 0, (have[place].item(), want[place].item())
        else:
            largest, row, pair = 0.0 if same(have, want) else np.inf, 0, (have, want)
        if largest > error:
            values = {n: v[row] if v.ndim and row < len(v) else v for n, v in feed.raw.items()}
            error, worst = largest, Worst(feed.label, row, values, *pair)
    error = max(error, 0.0)
    shown = size or 1.0
    return SeamCheck(
        tensor, "layer", rows, error / shown, bound / shown, most_ulp, None, error <= bound, worst, vacuous
    )
