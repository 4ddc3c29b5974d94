"""Carries a scaled tensor forward through a graph, through whatever only moves values, to every node that reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from onnxscale import graph, walk
from onnxscale.folding.base import Carried, Dim, Refusal, tried
from onnxscale.folding.composing import arithmetic
from onnxscale.folding.lookups import STANDARD, Known, attributes, sizes
from onnxscale.folding.movement import MOVES, Move
from onnxscale.graph import InputSpec
from onnxscale.step import align
from onnxscale.transform import Transform

ARITHMETIC = ("Sub", "Add", "Mul", "Div")
PASSED = {**MOVES, **dict.fromkeys(ARITHMETIC, arithmetic)}


@dataclass(frozen=True, eq=False)
class Passage:
    """A node that moves carried tensors on, or one whose arithmetic is composed with the scaler."""

    node: onnx.NodeProto
    sources: tuple[str, ...]
    results: tuple[str, ...]
    composes: bool = False


@dataclass(frozen=True, eq=False)
class Leaf:
    """A node that reads carried tensors and ends the walk. ports: of its inputs; captured: read inside its graphs.
    reason: why it is not passed, where it looks as if it could be."""

    node: onnx.NodeProto
    ports: tuple[int, ...]
    captured: tuple[str, ...]
    reason: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(self.node.input[p] for p in self.ports), *self.captured]))


@dataclass(frozen=True, eq=False)
class Trail:
    """Where a scaled tensor goes. start: its name. carried: every tensor by name. outputs: those that are graph
    outputs."""

    start: str
    carried: dict[str, Carried]
    passages: list[Passage]
    leaves: list[Leaf]
    outputs: frozenset[str]


def start(spec: InputSpec, transform: Transform, axis: int) -> Carried | Refusal:
    """The input itself as a carried tensor."""
    if spec.shape is None:
        return Refusal("the rank of the input is unknown")
    rank = len(spec.shape)
    size = int(np.prod(transform.shape))
    index = align(np.arange(size, dtype=np.int64).reshape(transform.shape), rank, axis)
    index = index.reshape([1] * (rank - index.ndim) + [*index.shape])
    features: list[int] = [*index.shape]
    shape = tuple(said if d == 1 else d for said, d in zip(sizes(spec) or (), features, strict=True))
    return Carried(spec.name, index, shape, (spec.dtype,), transform)


def follow(proto: onnx.ModelProto, known: Known, first: Carried) -> Trail:
    """The trail of the tensor through the main graph, whose nodes are in topological order."""
    carried = {first.name: first}
    passages: list[Passage] = []
    leaves: list[Leaf] = []
    version = graph.opset(proto) or 0

    def shape_of(name: str) -> tuple[Dim, ...] | None:
        return carried[name].shape if name in carried else known.shape_of(name)

    for node in proto.graph.node:
        ports = tuple(i for i, name in enumerate(node.input) if name in carried)
        captured = tuple(sorted(n for n in walk.captured(node) if n in carried)) if node.attribute else ()
        if not ports and not captured:
            continue
        if node.op_type in graph.SHAPE_READERS and node.domain in STANDARD:
            continue
        if captured or node.domain not in STANDARD or node.op_type not in PASSED or not _moves(node, ports):
            leaves.append(Leaf(node, ports, captured))
            continue
        move = Move(
            node, carried, attributes(node), known.constant, shape_of, lambda n: known.dims(n, shape_of), version
        )
        made = tried(PASSED[node.op_type], move)
        if isinstance(made, Refusal):
            leaves.append(Leaf(node, ports, (), made.reason))
            continue
        sources = tuple(dict.fromkeys(node.input[p] for p in ports))
        carried.update({c.name: c for c in made if c.name})
        passages.append(Passage(node, sources, tuple(c.name for c in made if c.name), node.op_type in ARITHMETIC))
    outputs = frozenset(o.name for o in proto.graph.output) & carried.keys()
    return Trail(first.name, carried, passages, leaves, outputs)


def _moves(node: onnx.NodeProto, ports: tuple[int, ...]) -> bool:
    return ports == (0,) or node.op_type == "Concat" or (node.op_type in ARITHMETIC and len(ports) == 1)
