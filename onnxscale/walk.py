"""Every graph, node and tensor of a model, nested ones and those of functions included; iterative, so depth is data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import onnx

Nodes = Iterable[onnx.NodeProto]


class Body(NamedTuple):
    """A run of nodes: a graph, or the body of a local function; and how deep it lies."""

    graph: onnx.GraphProto | onnx.FunctionProto
    depth: int


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes (If, Loop, Scan, ...)."""
    return _graphs(node.attribute)


def _graphs(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def bodies(model: onnx.ModelProto) -> Iterator[Body]:
    """Every graph and function body of the model."""
    waiting = [Body(model.graph, 0), *(Body(f, 0) for f in model.functions)]
    waiting += [Body(g, 0) for t in model.training_info for g in (t.initialization, t.algorithm)]
    waiting += [Body(g, 1) for f in model.functions for g in _graphs(f.attribute_proto)]
    while waiting:
        body = waiting.pop()
        yield body
        waiting += [Body(g, body.depth + 1) for node in body.graph.node if node.attribute for g in subgraphs(node)]


def captured(node: onnx.NodeProto) -> set[str]:
    """The names that the graphs inside a node read from around it."""
    found: set[str] = set()
    waiting: list[tuple[onnx.GraphProto, frozenset[str]]] = [(g, frozenset()) for g in subgraphs(node)]
    while waiting:
        graph, around = waiting.pop()
        own = around.union(
            (v.name for v in graph.input),
            (t.name for t in graph.initializer),
            (o for n in graph.node for o in n.output),
        )
        reads = {n for inner in graph.node for n in inner.input} | {v.name for v in graph.output}
        found |= reads - own - {""}
        waiting += [(g, own) for inner in graph.node if inner.attribute for g in subgraphs(inner)]
    return found


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that the model holds: initializers, sparse ones, attributes, everywhere."""
    for graph, _ in bodies(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        else:
            yield from _attributes(graph.attribute_proto)
        for node in graph.node:
            yield from _attributes(node.attribute)


def _attributes(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (
            *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
            *attribute.sparse_tensors,
        ):
            yield from (sparse.values, sparse.indices)
