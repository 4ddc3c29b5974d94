"""Gemm, MatMul, MatMul + Add, Einsum: the scaler goes into the weights and the bias.

    Gemm      alpha (a x + b) W + beta C   =  alpha x (diag(a) W) + beta (C + (alpha / beta) b W)
    MatMul    (a x + b) W                  =  x (diag(a) W) + b W          b W goes into the Add that follows, else into
    MatMul    W (a x + b)                  =  (W diag(a)) x + W b          a new one, which onnxruntime fuses
    Einsum    any equation of two terms that is linear in x: a lies along the labels that x and W share,
              b W is the same equation on b

x: one row per sample, features along K. The scaler must be constant along every dimension that is not summed.
Sources: ONNX Gemm 7 to 13, MatMul 1 to 13, Einsum 12.
"""

from __future__ import annotations

import numpy as np

from onnxscale.folding import linear
from onnxscale.folding.base import Change, Reach, Refusal, Site, vector
from onnxscale.step import Affine, Array


def gemm(site: Site) -> Change | Refusal:
    if site.port != 0:
        return Refusal("the scaled tensor is not Gemm's left operand")
    said = site.attributes
    alpha, beta = float(said.get("alpha", 1.0)), float(said.get("beta", 1.0))
    weights = site.operand(1)
    if weights is None or isinstance(weights, Refusal):
        return weights or Refusal("a Gemm without weights")
    lying = along(site, 0 if said.get("transA") else 1)
    if isinstance(lying, Refusal):
        return lying
    k = 1 if said.get("transB") else 0
    shape = (1, -1) if k else (-1, 1)
    made = linear.fold(weights, *linear.place(*lying, shape), (k,), alpha)
    if isinstance(made, Refusal):
        return made
    moved = made.moved.reshape(-1)
    old = site.operand(2)
    if isinstance(old, Refusal):
        return old
    before = np.zeros(1) if old is None else beta * old.astype(np.float64)
    per_output = np.abs(np.broadcast_to(before, np.broadcast_shapes(before.shape, moved.shape))).reshape(-1, moved.size)
    total = before + moved
    after = np.abs(np.broadcast_to(total, np.broadcast_shapes(total.shape, moved.shape))).reshape(-1, moved.size)
    bound = made.error(
        per_output.max(0).reshape(made.moved.shape), after.max(0).reshape(made.moved.shape), weights.dtype.name, 3
    )
    if not moved.any():
        return Change(bound, {1: made.weights})
    unit = beta if old is not None and beta != 0 else 1.0
    bias = linear.rounded(total / unit, weights.dtype)
    if isinstance(bias, Refusal):
        return bias
    return Change(bound, {1: made.weights, 2: bias}, {} if unit == beta else {"beta": 1.0})


def matmul(site: Site) -> Change | Refusal:
    left = site.port == 0
    weights = site.operand(1 if left else 0)
    if weights is None or isinstance(weights, Refusal):
        return weights or Refusal("a MatMul without weights")
    rank = site.carried.index.ndim
    lying = along(site, rank - 1 if left or rank == 1 else rank - 2)
    if isinstance(lying, Refusal):
        return lying
    if weights.ndim == 0:
        return Refusal("weights without dimensions")
    k = weights.ndim - 1 if not left or weights.ndim == 1 else weights.ndim - 2
    shape = tuple(-1 if i == k else 1 for i in range(weights.ndim))
    made = linear.fold(weights, *linear.place(*lying, shape), (k,))
    if isinstance(made, Refusal):
        return made
    flat = weights.ndim == 1 or rank == 1 or (left and weights.ndim == 2)
    moved = made.moved.squeeze(k) if flat else made.moved
    return added(site, made, moved, {1 if left else 0: made.weights}, weights.dtype)


def added(
    site: Site, made: linear.Folded, moved: Array, operands: dict[int, Array], dtype: np.dtype[np.generic]
) -> Change | Refusal:
    """`moved` into the Add that follows, or into a new one."""
    old = None if site.follower is None else site.constant(site.follower[0].input[site.follower[1]])
    most = 0.0 if old is None or isinstance(old, Refusal) else float(np.abs(old).max(initial=0.0))
    if not moved.any():
        return Change(made.error(most, most, dtype.name), operands)
    if old is not None and not isinstance(old, Refusal):
        total = linear.rounded(old.astype(np.float64) + moved, dtype)
        if isinstance(total, Refusal):
            return total
        return Change(made.error(most, np.abs(made.moved) + most, dtype.name), operands, beside=total)
    after = linear.rounded(moved, dtype)
    return (
        after
        if isinstance(after, Refusal)
        else Change(made.error(0.0, np.abs(made.moved), dtype.name), operands, after=after)
    )


def einsum(site: Site) -> Change | Refusal:
    equation = site.attributes.get("equation", b"")
    text = (equation.decode() if isinstance(equation, bytes) else str(equation)).replace(" ", "")
    if len(site.node.input) != 2 or "." in text:
        return Refusal("an Einsum of other than two terms, or with an ellipsis")
    weights = site.operand(1 - site.port)
    if weights is None or isinstance(weights, Refusal):
        return weights or Refusal("an Einsum without weights")
    terms, _, result = text.partition("->")
    pair = terms.split(",")
    if "->" not in text:
        result = "".join(sorted(c for c in set(terms) - {","} if terms.count(c) == 1))
    mine, other = pair[site.port], pair[1 - site.port]
    if len(set(mine)) != len(mine) or len(set(other)) != len(other) or len(mine) != site.carried.index.ndim:
        return Refusal("an Einsum that takes a diagonal")
    index = site.carried.index
    if any(d != 1 and c not in other for c, d in zip(mine, index.shape, strict=True)):
        return Refusal("the scaler changes along a label that the weights do not have")
    if any(c not in result and c not in other for c in mine):
        return Refusal("an Einsum that sums a label of the scaled tensor alone")
    kept = [i for i, c in enumerate(mine) if c in other]
    order = sorted(range(len(kept)), key=lambda i: other.index(mine[kept[i]]))

    def lie(values: Array) -> Array:
        flat = values.reshape([values.shape[i] for i in kept]).transpose(order)
        sizes = iter(flat.shape)
        return np.asarray(flat.reshape([next(sizes) if c in mine else 1 for c in other]))

    a, r = site.affine, site.reach
    affine, reach = Affine(lie(a.scale), lie(a.shift)), Reach(lie(r.z), lie(r.ax), lie(r.err), lie(r.x))
    summed = tuple(i for i, c in enumerate(other) if c not in result)
    made = linear.fold(weights, affine, reach, summed)
    if isinstance(made, Refusal):
        return made
    labels = [c for c in other if c in result]
    values = made.moved.reshape([d for i, d in enumerate(made.moved.shape) if i not in summed])
    values = values.transpose(sorted(range(len(labels)), key=lambda i: result.index(labels[i])))
    sizes = iter(values.shape)
    moved = values.reshape([next(sizes) if c in labels else 1 for c in result])
    return added(site, made, moved, {1 - site.port: made.weights}, weights.dtype)


def along(site: Site, axis: int) -> tuple[Affine, Reach] | Refusal:
    """affine and reach as vectors along one axis of the carried tensor."""
    parts = [
        vector(v, axis)
        for v in (
            site.affine.scale, site.affine.shift, site.reach.z, site.reach.ax, site.reach.err, site.reach.x,
        )
    ]  # fmt: skip
    good = [p for p in parts if not isinstance(p, Refusal)]
    if len(good) < len(parts):
        return next(p for p in parts if isinstance(p, Refusal))
    return Affine(good[0], good[1]), Reach(*good[2:])
