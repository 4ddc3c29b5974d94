"""Operators that move values and do not change them: what they do to a tensor, they do to its index.

    out[p] = t_{index[q(p)]}(raw)      so      index_out = op(index)

A dimension along which the index does not change is kept 1 long, whatever its size, so that a batch of unknown size and
an image of unknown height pass. Each function gets the node and its carried input(s), and answers with the carried
outputs or a Refusal. Sources: the ONNX operator documents, versions 1 to 25.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from onnxscale.folding.base import Carried, Dim, Ints, Look, Refusal
from onnxscale.graph import DTYPES, FLOATS
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

MOST = 1 << 26  # positions of an index


@dataclass(frozen=True)
class Move:
    """A node that may move a carried tensor. shape_of: of any tensor, as far as it is known. dims: the values of a
    1-D integer tensor that may hold symbolic sizes."""

    node: onnx.NodeProto
    carried: Mapping[str, Carried]
    attributes: Mapping[str, Any]
    constant: Look
    shape_of: Callable[[str], tuple[Dim, ...] | None]
    dims: Callable[[str], list[Dim] | None]
    opset: int

    @property
    def x(self) -> Carried:
        return self.carried[self.node.input[0]]

    def input(self, position: int) -> str:
        return self.node.input[position] if position < len(self.node.input) else ""

    def ints(self, position: int, attribute: str = "") -> list[int] | Refusal | None:
        """Integers that are an input in newer versions of an operator and an attribute in older ones."""
        if self.input(position):
            found = self.constant(self.node.input[position])
            return found if isinstance(found, Refusal) else [int(v) for v in found.ravel()]
        value = self.attributes.get(attribute)
        return None if value is None else [int(v) for v in (value if isinstance(value, list | tuple) else [value])]


Moved = list[Carried] | Refusal


def _made(move: Move, index: Array, shape: tuple[Dim, ...], output: int = 0) -> Carried:
    return replace(move.x, name=move.node.output[output], alias="", index=index.astype(np.int64), shape=shape)


def same(move: Move) -> Moved:
    return [_made(move, move.x.index, move.x.shape)]


def dropout(move: Move) -> Moved:
    if len(move.node.input) > 2 and move.input(2):
        training = move.constant(move.input(2))
        if isinstance(training, Refusal) or training.any():
            return Refusal("a Dropout that may be training")
    return same(move)


def cast(move: Move) -> Moved:
    to = DTYPES.get(int(move.attributes.get("to", 0)), "")
    if to not in FLOATS or to == "bfloat16":
        return Refusal(f"a Cast to {to or 'an unknown type'} rounds the scaled values")
    made = _made(move, move.x.index, move.x.shape)
    seen = (made.seen or made.transform) | Transform((Step("Cast", (), {"to": made.dtype}),))
    return [replace(made, passed=(*made.passed, to), seen=seen)]


def transpose(move: Move) -> Moved:
    perm = list(move.attributes.get("perm", range(move.x.index.ndim)[::-1]))
    return [_made(move, move.x.index.transpose(perm), tuple(move.x.shape[p] for p in perm))]


def unsqueeze(move: Move) -> Moved:
    axes = move.ints(1, "axes")
    if axes is None or isinstance(axes, Refusal):
        return axes or Refusal("an Unsqueeze without axes")
    rank = move.x.index.ndim + len(axes)
    at = {a % rank for a in axes}
    old_index, old_shape = iter(move.x.index.shape), iter(move.x.shape)
    sizes = [1 if i in at else next(old_index) for i in range(rank)]
    return [_made(move, move.x.index.reshape(sizes), tuple(1 if i in at else next(old_shape) for i in range(rank)))]


def squeeze(move: Move) -> Moved:
    axes = move.ints(1, "axes")
    rank = move.x.index.ndim
    if isinstance(axes, Refusal):
        return axes
    if axes is None:
        if not all(isinstance(d, int) for d in move.x.shape):
            return Refusal("a Squeeze of dimensions of unknown size")
        axes = [i for i, d in enumerate(move.x.shape) if d == 1]
    at = {a % rank for a in axes}
    kept = [i for i in range(rank) if i not in at]
    return [_made(move, move.x.index.squeeze(tuple(at)), tuple(move.x.shape[i] for i in kept))]


def reshape(move: Move) -> Moved:
    target = move.dims(move.input(1)) if move.input(1) else list(move.attributes.get("shape", ()))
    if target is None or move.attributes.get("allowzero"):
        return Refusal("a Reshape to a shape that is not known")
    return _reshaped(move, [move.x.shape[i] if d == 0 else d for i, d in enumerate(target)])


def flatten(move: Move) -> Moved:
    axis = int(move.attributes.get("axis", 1))
    axis = axis + move.x.index.ndim if axis < 0 else axis
    tail = move.x.shape[axis:]
    if not all(isinstance(d, int) for d in tail) and move.x.index.size > 1:
        return Refusal("a Flatten of dimensions of unknown size")
    last: Dim = math.prod(d for d in tail if isinstance(d, int)) if all(isinstance(d, int) for d in tail) else "flat"
    return _reshaped(move, [move.x.shape[0] if axis == 1 else -1, last])


def _reshaped(move: Move, target: list[Dim]) -> Moved:
    """The dimensions from some k on, all known, become the dimensions from some q on; those before hold no features."""
    x = move.x
    varying = next((i for i, d in enumerate(x.index.shape) if d != 1), x.index.ndim)
    for k in range(varying, -1, -1):
        sizes = x.shape[k:]
        if not all(isinstance(d, int) for d in sizes):
            break
        block = math.prod(d for d in sizes if isinstance(d, int))
        for q in range(len(target), -1, -1):
            tail = [*target[q:]]
            if tail.count(-1) == 1 and q == k and target[:q] == [*x.shape[:k]]:
                known = math.prod(d for d in tail if isinstance(d, int) and d != -1)
                if known and block % known == 0:
                    tail[tail.index(-1)] = block // known
            fixed = [d for d in tail if isinstance(d, int) and d >= 0]
            if len(fixed) == len(tail) and math.prod(fixed) == block:
                if block > MOST:
                    return Refusal(f"a Reshape of {block:,} features")
                whole = np.broadcast_to(x.index.reshape(x.index.shape[k:]), [int(d) for d in sizes])
                index = whole.reshape([1] * q + fixed)
                shape = tuple(
                    f"{move.node.output[0]}.{i}" if d == -1 else d for i, d in enumerate([*target[:q], *fixed])
                )
                return [_made(move, index if x.index.size > 1 else _first(index), shape)]
    return Refusal("a Reshape that mixes features with dimensions of unknown size")


def _first(index: Ints) -> Ints:
    """The index of a tensor in which all positions are of one feature."""
    return index.reshape(-1)[:1].reshape([1] * index.ndim)


def slice_(move: Move) -> Moved:
    rank = move.x.index.ndim
    starts, ends = move.ints(1, "starts"), move.ints(2, "ends")
    axes, steps = move.ints(3, "axes"), move.ints(4)
    for found in (starts, ends, axes, steps):
        if isinstance(found, Refusal):
            return found
    if not isinstance(starts, list) or not isinstance(ends, list):
        return Refusal("a Slice without bounds")
    places = axes if isinstance(axes, list) else list(range(len(starts)))
    strides = steps if isinstance(steps, list) else [1] * len(starts)
    index, shape = move.x.index, list(move.x.shape)
    for start, end, axis, step in zip(starts, ends, places, strides, strict=True):
        at, size = axis % rank, shape[axis % rank]
        if isinstance(size, int):
            last = None if step < 0 and end < -size else end
            part = slice(start, last, step)
            shape[at] = len(range(size)[part])
            index = index[(slice(None),) * at + (part,)] if index.shape[at] != 1 else index
        else:
            shape[at] = f"{move.node.output[0]}.{at}"
    return Refusal("a Slice that leaves nothing") if 0 in shape else [_made(move, index, tuple(shape))]


def split(move: Move) -> Moved:
    at = int(move.attributes.get("axis", 0)) % move.x.index.ndim
    sizes, count = move.ints(1, "split"), len(move.node.output)
    size = move.x.shape[at]
    if isinstance(sizes, Refusal):
        return sizes
    if sizes is None:
        if not isinstance(size, int):
            sizes = [0] * count
        else:
            each = -(-size // int(move.attributes.get("num_outputs", count)))
            sizes = [min(each, size - each * i) for i in range(count)]
    made, start = [], 0
    for i, length in enumerate(sizes):
        shape = list(move.x.shape)
        shape[at] = length or f"{move.node.output[i]}.{at}"
        part = (slice(None),) * at + (slice(start, start + length),)
        index = move.x.index[part] if move.x.index.shape[at] != 1 else move.x.index
        made.append(_made(move, index, tuple(shape), i))
        start += length
    return made


def gather(move: Move) -> Moved:
    at = int(move.attributes.get("axis", 0)) % move.x.index.ndim
    picked = move.constant(move.input(1)) if move.input(0) in move.carried else Refusal("a table that is looked up")
    if isinstance(picked, Refusal):
        return picked
    many = move.x.index.shape[at] != 1
    index = np.take(move.x.index, picked if many else np.zeros([1] * picked.ndim, np.int64), axis=at)
    return [_made(move, index, (*move.x.shape[:at], *picked.shape, *move.x.shape[at + 1 :]))]


def expand(move: Move) -> Moved:
    target = move.dims(move.input(1))
    if target is None:
        return Refusal("an Expand to a shape that is not known")
    rank = max(len(target), move.x.index.ndim)
    old: list[Dim] = [*[1] * (rank - move.x.index.ndim), *move.x.shape]
    new: list[Dim] = [*[1] * (rank - len(target)), *target]
    index = move.x.index.reshape([1] * (rank - move.x.index.ndim) + [*move.x.index.shape])
    return [_made(move, index, tuple(n if o == 1 else o for o, n in zip(old, new, strict=True)))]


def concat(move: Move) -> Moved:
    first = next(move.carried[n] for n in move.node.input if n in move.carried)
    rank = first.index.ndim
    at = int(move.attributes.get("axis", 1)) % rank
    parts = [move.carried.get(n) for n in move.node.input]
    there = [p for p in parts if p is not None]
    if any(p.transform is not first.transform or p.passed != first.passed or p.index.ndim != rank for p in there):
        return Refusal("a Concat of values that were scaled in different ways")
    sizes = [
        s[at] if (s := move.shape_of(n) if p is None else p.shape) else ""
        for n, p in zip(move.node.input, parts, strict=True)
    ]
    known = [s for s in sizes if isinstance(s, int)]
    shape = list(first.shape)
    shape[at] = sum(known) if len(known) == len(sizes) else f"{move.node.output[0]}.{at}"
    if len(there) == len(parts) and all(p.index.shape[at] == 1 and np.array_equal(p.index, first.index) for p in there):
        return [replace(first, name=move.node.output[0], alias="", shape=tuple(shape))]
    if len(known) != len(sizes):
        return Refusal("a Concat with a tensor of unknown size")
    around = np.broadcast_shapes(*(tuple(1 if i == at else d for i, d in enumerate(p.index.shape)) for p in there))
    blocks = [
        np.broadcast_to(np.int64(-1) if p is None else p.index, [size if i == at else d for i, d in enumerate(around)])
        for size, p in zip(known, parts, strict=True)
    ]
    return [
        replace(first, name=move.node.output[0], alias="", index=np.concatenate(blocks, axis=at), shape=tuple(shape))
    ]


def pad(move: Move) -> Moved:
    """Padding with values that are there already; not along a dimension of the features."""
    mode = move.attributes.get("mode", b"constant")
    pads, axes = move.ints(1, "pads"), move.ints(3)
    rank = move.x.index.ndim
    if (mode.decode() if isinstance(mode, bytes) else str(mode)) not in ("reflect", "edge", "wrap"):
        return Refusal("a Pad with a constant, which the scaler would change")
    if not isinstance(pads, list) or isinstance(axes, Refusal):
        return Refusal("a Pad by amounts that are not known")
    where = [a % rank for a in axes] if axes else list(range(rank))
    shape = list(move.x.shape)
    for i, at in enumerate(where):
        more = pads[i] + pads[i + len(where)]
        size = shape[at]
        if more and move.x.index.shape[at] != 1:
            return Refusal("a Pad along the features")
        shape[at] = size if not more else size + more if isinstance(size, int) else f"{move.node.output[0]}.{at}"
    return [_made(move, move.x.index, tuple(shape))]


MOVES: dict[str, Callable[[Move], Moved]] = {
    "Identity": same,
    "Dropout": dropout,
    "Cast": cast,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Reshape": reshape,
    "Flatten": flatten,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Expand": expand,
    "Concat": concat,
    "Pad": pad,
}
