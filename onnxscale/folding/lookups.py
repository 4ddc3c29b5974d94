"""What is known of the tensors of a graph without running it: constants, shapes, and integer tensors that hold sizes.

A weight may be folded where it is constant: an initializer that no app can override, or a Constant node. Exporters write
`x.view(x.size(0), -1)` as Shape, Gather, Concat, Reshape: `dims` follows such chains, with symbolic sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnxscale import graph, tensors
from onnxscale.errors import ModelError
from onnxscale.folding.base import Dim, Refusal
from onnxscale.graph import T
from onnxscale.modelfile import ModelFile
from onnxscale.step import Array

STANDARD = ("", "ai.onnx")
_VALUE_TYPES = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes by name, without graphs."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if not (a.HasField("g") or a.graphs)}


def kind(node: onnx.NodeProto) -> tuple[str, str]:
    """Domain and operator; the standard domain has two spellings."""
    return ("" if node.domain in STANDARD else node.domain), node.op_type


@dataclass(frozen=True, eq=False)
class Known:
    """The look-ups of one graph. producers: tensor name -> the node that makes it."""

    model: ModelFile
    held: Mapping[str, onnx.TensorProto]
    settable: frozenset[str]
    producers: Mapping[str, onnx.NodeProto]
    shapes: Mapping[str, tuple[Dim, ...]]
    cache: dict[str, Array]

    def constant(self, name: str) -> Array | Refusal:
        """The values of a constant tensor, or why there are none."""
        if name in self.cache:
            return self.cache[name]
        if name in self.settable:
            return Refusal(f"{name!r} is a graph input, which an app may set")
        found = self._read(name)
        if not isinstance(found, Refusal):
            self.cache[name] = found
        return found

    def _read(self, name: str) -> Array | Refusal:
        if name in self.held:
            try:
                return tensors.values(self.model, self.held[name])
            except ModelError as error:
                return Refusal(str(error))
        node = self.producers.get(name)
        if node is not None and kind(node) == ("", "Constant"):
            for attribute in node.attribute:
                if attribute.name == "value":
                    return tensors.values(self.model, attribute.t)
                if attribute.name in _VALUE_TYPES:
                    return np.asarray(helper.get_attribute_value(attribute), _VALUE_TYPES[attribute.name])
        if node is not None and kind(node) == ("", "Identity"):
            return self.constant(node.input[0])
        return Refusal(f"{name!r} is computed, not constant")

    def shape_of(self, name: str) -> tuple[Dim, ...] | None:
        """Sizes of a tensor, as far as the file says them."""
        if name in self.held:
            return tuple(self.held[name].dims)
        return self.shapes.get(name)

    def dims(self, name: str, shapes: Callable[[str], tuple[Dim, ...] | None]) -> list[Dim] | None:
        """The values of an integer tensor of sizes; None where they are not known. Scalars count as one value."""
        return _dims(self, name, shapes, 0)


def known(model: ModelFile, proto: onnx.ModelProto) -> Known:
    """The look-ups of the main graph of an edited skeleton of `model`."""
    held = {t.name: t for t in proto.graph.initializer}
    listed = {v.name for v in proto.graph.input}
    settable = frozenset(held.keys() & listed) if proto.ir_version >= 4 else frozenset()
    producers = {o: node for node in proto.graph.node for o in node.output if o}
    shapes: dict[str, tuple[Dim, ...]] = {}
    for value in (*proto.graph.value_info, *proto.graph.output, *proto.graph.input):
        shape = sizes(graph.spec(value))
        if shape is not None:
            shapes[value.name] = shape
    return Known(model, held, settable, producers, shapes, {})


def sizes(spec: graph.InputSpec) -> tuple[Dim, ...] | None:
    """The shape of a spec; an unknown size gets a name of its own."""
    if spec.shape is None:
        return None
    return tuple(f"{spec.name}.{i}" if d is None else d for i, d in enumerate(spec.shape))


def _dims(look: Known, name: str, shapes: Callable[[str], tuple[Dim, ...] | None], depth: int) -> list[Dim] | None:
    if name not in look.settable and (name in look.held or _made_by(look, name) == "Constant"):
        found = look.constant(name)
        return None if isinstance(found, Refusal) or found.size > 64 else [int(v) for v in found.ravel()]
    node = look.producers.get(name)
    if node is None or depth > 20 or node.domain not in STANDARD:
        return None
    said = attributes(node)
    if node.op_type == "Shape":
        shape = shapes(node.input[0])
        return None if shape is None else [*shape[said.get("start", 0) : said.get("end", len(shape))]]
    parts = [_dims(look, n, shapes, depth + 1) for n in node.input if n]
    if node.op_type == "Concat":
        return [d for part in parts if part for d in part] if all(p is not None for p in parts) else None
    first = parts[0] if parts else None
    if first is None:
        return None
    if node.op_type in ("Unsqueeze", "Squeeze", "Identity") or (node.op_type == "Cast" and said.get("to") == T.INT64):
        return first
    if node.op_type == "Gather" and parts[1] is not None:
        return [first[i] for i in parts[1] if isinstance(i, int) and -len(first) <= i < len(first)]
    if node.op_type == "Slice" and len(node.input) in (3, 4) and parts[1] and parts[2]:
        start, end = parts[1][0], parts[2][0]
        return first[start:end] if isinstance(start, int) and isinstance(end, int) else None
    return None


def _made_by(look: Known, name: str) -> str:
    return look.producers[name].op_type if name in look.producers else ""
