"""The last layer takes the inverse of a target scaler:  s (W v + c) + h  =  (s W) v + (s c + h).

From the output back through what only moves values, to the node that makes them. A constant Add on the way takes the
shift, and the layer before it the scale. Every tensor on the way must have no other reader: somebody else would see the
scaled values. v, what the layer is fed, has no known range, so the bound is relative to sum |s W| |v| + |s c| + |h|: both
layers round n products and an addend, and both have rounded constants.
Sources: as in dense.py, conv.py, classical.py, trees.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from onnxscale import graph
from onnxscale.folding import classical, linear, trees
from onnxscale.folding.base import Change, Error, Load, Refusal
from onnxscale.folding.lookups import Known, attributes, kind
from onnxscale.precision import UNIT
from onnxscale.step import Array
from onnxscale.transform import Transform

MOVING = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose")
Steps = list[tuple[onnx.NodeProto, Change]]


@dataclass(frozen=True, eq=False)
class Back:
    """The way back. scale, shift: one value, or a vector along `axis` of the output. rank: of the output."""

    proto: onnx.ModelProto
    known: Known
    load: Load
    axis: int
    rank: int | None

    def push(self, name: str, scale: Array, shift: Array, last: bool = True) -> Steps | Refusal:
        """The changes that make the tensor `name` scale * old + shift."""
        node = self.known.producers.get(name)
        if node is None:
            return Refusal(f"{name!r} is not made by a node of the main graph")
        is_output = any(o.name == name for o in self.proto.graph.output)
        if is_output != last or len(list(graph.readers(self.proto.graph, name))) != (not last):
            return Refusal(f"{name!r} has other readers")
        domain, op = kind(node)
        if domain == "" and (op == "Identity" or (op in MOVING and scale.size == 1)):
            return self.push(node.input[0], scale, shift, last=False)
        if domain == "" and op == "Add":
            return self._add(node, scale, shift)
        function = LAYERS.get((domain, op))
        if function is None:
            return Refusal(f"{graph.Reader(node, '').prose()} does not absorb a target scaler")
        made = function(self, node, scale, shift)
        return made if isinstance(made, Refusal) else [(node, made)]

    def _add(self, node: onnx.NodeProto, scale: Array, shift: Array) -> Steps | Refusal:
        found = [self.known.constant(n) for n in node.input]
        at = next((i for i in (1, 0) if not isinstance(found[i], Refusal)), None)
        if at is None:
            return Refusal("an Add of two computed tensors")
        old = found[at]
        assert not isinstance(old, Refusal)
        rank = self.rank or max(old.ndim, -self.axis)
        s, h = self.lie(scale, rank, self.axis), self.lie(shift, rank, self.axis)
        if s.size > 1 and (self.rank is None or old.ndim > self.rank):
            return Refusal("the rank of the output is unknown")
        total = old.astype(np.float64) * s + h
        new = linear.rounded(total.reshape(_least(total.shape, old.ndim)), old.dtype)
        rest = self.push(node.input[1 - at], scale, np.zeros_like(shift), last=False)
        if isinstance(new, Refusal) or isinstance(rest, Refusal):
            return new if isinstance(new, Refusal) else rest if isinstance(rest, Refusal) else []
        return [*rest, (node, Change(_error(1, old.dtype.name), {at: new}))]

    def lie(self, values: Array, rank: int, axis: int) -> Array:
        """A vector along an axis of a tensor of `rank` dimensions; a single value as it is."""
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if i == axis % rank else 1 for i in range(rank)])

    def at_end(self) -> bool:
        return self.axis == -1 or (self.rank is not None and self.axis % self.rank == self.rank - 1)

    def operand(self, node: onnx.NodeProto, at: int) -> Array | Refusal | None:
        return self.known.constant(node.input[at]) if at < len(node.input) and node.input[at] else None


def _least(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    while len(shape) > max(rank, 1) and shape[0] == 1:
        shape = shape[1:]
    return shape


def _error(terms: int, dtype: str) -> Error:
    unit = UNIT[dtype]
    return Error((2 * terms + 8) * unit, (terms + 2) * unit, 1.0)


def _matmul(back: Back, node: onnx.NodeProto, scale: Array, shift: Array) -> Change | Refusal:
    weights = back.operand(node, 1)
    if weights is None or isinstance(weights, Refusal):
        return weights or Refusal("a MatMul without weights")
    if scale.size > 1 and (not back.at_end() or weights.ndim < 2 or weights.shape[-1] != scale.size):
        return Refusal("the target's features do not lie along the weights")
    new = linear.rounded(weights.astype(np.float64) * scale.reshape(-1), weights.dtype)
    after = linear.rounded(shift, weights.dtype)
    if isinstance(new, Refusal) or isinstance(after, Refusal):
        return new if isinstance(new, Refusal) else Refusal("the shift passes the type of the weights")
    bound = _error(weights.shape[max(0, weights.ndim - 2)], weights.dtype.name)
    return Change(bound, {1: new.reshape(weights.shape)}, after=after.reshape(-1) if shift.any() else None)


def _gemm(back: Back, node: onnx.NodeProto, scale: Array, shift: Array) -> Change | Refusal:
    said = attributes(node)
    beta = float(said.get("beta", 1.0))
    weights, old = back.operand(node, 1), back.operand(node, 2)
    for found in (weights, old):
        if isinstance(found, Refusal):
            return found
    assert weights is not None and not isinstance(weights, Refusal) and not isinstance(old, Refusal)
    if scale.size > 1 and not back.at_end():
        return Refusal("the target's features do not lie along the weights")
    s, h = scale.reshape(-1), shift.reshape(-1)
    new = linear.rounded(weights.astype(np.float64) * (s[:, None] if said.get("transB") else s), weights.dtype)
    unit = beta if old is not None and beta != 0 else 1.0
    addend = (0.0 if old is None else beta * s * old.astype(np.float64)) + h
    bias = linear.rounded(np.atleast_1d(addend / unit), weights.dtype)
    if isinstance(new, Refusal) or isinstance(bias, Refusal):
        return new if isinstance(new, Refusal) else Refusal("the shift passes the type of the weights")
    operands = {1: new} if old is None and not h.any() else {1: new, 2: bias}
    terms = weights.shape[1 if said.get("transB") else 0]
    return Change(_error(terms + 3, weights.dtype.name), operands, {} if unit == beta else {"beta": 1.0})


def _conv(back: Back, node: onnx.NodeProto, scale: Array, shift: Array) -> Change | Refusal:
    weights, old = back.operand(node, 1), back.operand(node, 2)
    for found in (weights, old):
        if isinstance(found, Refusal):
            return found
    assert weights is not None and not isinstance(weights, Refusal) and not isinstance(old, Refusal)
    if scale.size > 1 and (back.rank is None or back.axis % back.rank != 1):
        return Refusal("the target's features are not the channels")
    turned = node.op_type == "ConvTranspose"
    group = int(attributes(node).get("group", 1))
    channels = weights.shape[1] * group if turned else weights.shape[0]
    s, h = (np.broadcast_to(v.reshape(-1), channels) for v in (scale, shift))
    if turned:
        w = weights.reshape(group, weights.shape[0] // group, weights.shape[1], -1).astype(np.float64)
        w = (w * s.reshape(group, 1, -1, 1)).reshape(weights.shape)
    else:
        w = weights.astype(np.float64) * s.reshape(-1, *[1] * (weights.ndim - 1))
    new = linear.rounded(w, weights.dtype)
    bias = linear.rounded((0.0 if old is None else s * old.astype(np.float64)) + h, weights.dtype)
    if isinstance(new, Refusal) or isinstance(bias, Refusal):
        return new if isinstance(new, Refusal) else Refusal("the shift passes the type of the weights")
    bound = _error(weights.size // channels * (group if turned else 1), weights.dtype.name)
    return Change(bound, {1: new} if old is None and not h.any() else {1: new, 2: bias})


def _regressor(back: Back, node: onnx.NodeProto, scale: Array, shift: Array) -> Change | Refusal:
    said = attributes(node)
    if said.get("post_transform", b"NONE") not in (b"NONE", "NONE"):
        return Refusal("a post_transform comes between the scores and the scaler")
    svm = node.op_type == "SVMRegressor"
    name = "rho" if svm else "intercepts"
    if svm and (scale.size > 1 or said.get("one_class")):
        return Refusal("an SVMRegressor has one target" if scale.size > 1 else "a one-class SVM answers with a sign")
    targets = 1 if svm else int(said.get("targets", 1))
    s, h = (np.broadcast_to(v.reshape(-1), targets) for v in (scale, shift))
    weights = np.asarray(said.get("coefficients", ()), np.float64).reshape(targets, -1) * s[:, None]
    old = np.asarray(said.get(name) or np.zeros(targets), np.float64)
    new = linear.rounded(weights, classical.SINGLE)
    bias = linear.rounded(old[:targets] * s + h, classical.SINGLE)
    if isinstance(new, Refusal) or isinstance(bias, Refusal):
        return new if isinstance(new, Refusal) else Refusal("the shift passes float32")
    changed = {"coefficients": new.ravel().tolist(), name: bias.tolist()}
    return Change(_error(weights.shape[1] * (2 if svm else 1), "float32"), attributes=changed)


def _leaves(back: Back, node: onnx.NodeProto, scale: Array, shift: Array) -> Change | Refusal:
    made = trees.rescale_leaves(node, scale.reshape(-1), shift.reshape(-1), back.load)
    if isinstance(made, Refusal):
        return made
    worst = float(np.max(made[1]))
    return Change(
        Error(worst, worst, max(float(np.max(np.abs(shift))) + float(np.max(np.abs(scale))), worst)), node=made[0]
    )


LAYERS = {
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv,
    ("ai.onnx.ml", "LinearRegressor"): _regressor,
    ("ai.onnx.ml", "SVMRegressor"): _regressor,
    ("ai.onnx.ml", "TreeEnsembleRegressor"): _leaves,
    ("ai.onnx.ml", "TreeEnsemble"): _leaves,
}


def vectors(inverse: Transform) -> tuple[Array, Array] | Refusal:
    """scale and shift of the inverse of a target scaler, as vectors."""
    affine = inverse.affine()
    if affine is None or affine.scale.ndim > 1:
        return Refusal("the target scaler is not one scale and one shift per target")
    return affine.scale.reshape(-1), affine.shift.reshape(-1)
