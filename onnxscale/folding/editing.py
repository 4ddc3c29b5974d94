"""Verdicts as edits of a graph: which nodes change, which constants are new, which are no longer read; and the edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import helper

from onnxscale import graph, walk
from onnxscale.folding import composing
from onnxscale.folding import nodes as writing
from onnxscale.folding.base import Carried, Error, Refusal
from onnxscale.folding.choosing import Absorption, Verdict
from onnxscale.folding.walk import Passage, Trail
from onnxscale.graph import InputSpec, Writer
from onnxscale.step import Array
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Edit:
    """What stands in the place of the node that makes a tensor."""

    before: tuple[onnx.NodeProto, ...]
    node: onnx.NodeProto
    after: tuple[onnx.NodeProto, ...] = ()


@dataclass(frozen=True, eq=False)
class Fold:
    """A scaler folded into a model, as values. role: "input" or "output". form: "fold", or "nodes" where no reader takes
    anything, so that plain nodes at the tensor are as good and the fold is empty. edits: by the first output of the node
    they replace. freed: constants that the replaced nodes read; those that nobody reads any more are dropped.
    bypassed: nodes, by their first output, that are dropped where nobody reads them any more.
    first: nodes at the start; every reader of the input reads `seam` then, the scaled tensor."""

    tensor: str
    role: str
    form: str
    absorptions: tuple[Absorption, ...]
    edits: Mapping[str, Edit] = field(default_factory=dict)
    initializers: tuple[onnx.TensorProto, ...] = ()
    freed: tuple[str, ...] = ()
    bypassed: frozenset[str] = frozenset()
    first: tuple[onnx.NodeProto, ...] = ()
    seam: str = ""
    names: frozenset[str] = frozenset()

    @property
    def bound(self) -> float | None:
        """The largest of the proven bounds; None where nothing is folded."""
        return max((a.bound for a in self.absorptions if a.bound is not None), default=None)

    @property
    def nodes_left(self) -> int:
        """Nodes that the fold adds, less those of the model's own that it passes by; Constant nodes do not count."""
        return sum(n.op_type != "Constant" for n in self.new) - len(self.bypassed)

    @property
    def new(self) -> list[onnx.NodeProto]:
        """The nodes that the fold adds."""
        return [*self.first, *(n for e in self.edits.values() for n in (*e.before, *e.after))]


def node_key(node: onnx.NodeProto) -> str:
    return next((o for o in node.output if o), "")


@dataclass(eq=False)
class Draft:
    """Collects the edits of one fold. Its nodes and constants get names that nobody uses."""

    proto: onnx.ModelProto
    spec: InputSpec
    precision: str

    def __post_init__(self) -> None:
        self._taken = graph.used_names(self.proto)
        self._old = frozenset(self._taken)
        self._nodes: dict[str, onnx.NodeProto] = {}
        self._before: dict[str, list[onnx.NodeProto]] = {}
        self._after: dict[str, list[onnx.NodeProto]] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._freed: list[str] = []
        self._bypassed: list[str] = []
        self._shared: dict[tuple[str, object], str] = {}

    def finish(self, role: str, absorptions: tuple[Absorption, ...], form: str = "fold") -> Fold:
        edits = {
            key: Edit(tuple(self._before.get(key, ())), node, tuple(self._after.get(key, ())))
            for key, node in self._nodes.items()
        }
        names = frozenset(self._taken) - self._old
        return Fold(
            self.spec.name, role, form, absorptions, edits, tuple(self._initializers), tuple(dict.fromkeys(self._freed)),
            frozenset(self._bypassed), names=names,
        )  # fmt: skip

    def node(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The copy of a node that stands in its place, to edit."""
        key = node_key(node)
        if key not in self._nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            self._nodes[key] = copy
        return self._nodes[key]

    def pass_on(self, passage: Passage, trail: Trail) -> None:
        """A node that moves values reads the raw ones; one whose arithmetic is composed is passed by."""
        if passage.composes:
            self._bypassed.append(node_key(passage.node))
            self._freed += [n for n in passage.node.input if n not in trail.carried]
            return
        for i, name in enumerate(passage.node.input):
            if name in trail.carried and trail.carried[name].alias:
                self.node(passage.node).input[i] = trail.carried[name].alias

    def write_output(self, passage: Passage, trail: Trail) -> None:
        """Composed nodes that write an output of the graph in the place of the model's own arithmetic."""
        name = passage.results[0]
        written = self._written(passage.node, trail, name, Transform(), -1)
        last = self._before[name].pop()
        last.output[list(last.output).index(written)] = name
        self.node(passage.node).CopyFrom(last)
        self._bypassed.remove(name)
        self._shared[name, "scaled"] = name

    def absorb(self, verdict: Verdict, trail: Trail) -> None:
        """The node of a verdict takes its change, and reads x - m where the shift stays outside."""
        change, leaf = verdict.change, verdict.leaf
        assert change is not None
        new = self.node(leaf.node)
        if change.node is not None:
            new.CopyFrom(change.node)
        self.change(leaf.node, change.operands, change.attributes, change.after, change.rescaled)
        if change.beside is not None and verdict.follower is not None:
            self.change(verdict.follower[0], {verdict.follower[1]: change.beside}, {}, None)
        new.input[leaf.ports[0]] = trail.carried[leaf.sources[0]].source
        if verdict.subtract:
            new.input[leaf.ports[0]] = self._subtracted(leaf.node, trail.carried[leaf.sources[0]], verdict.subtract)

    def change(
        self, node: onnx.NodeProto, operands: Mapping[int, Array], attributes: Mapping[str, Any],
        after: Array | None, rescaled: tuple[int, Array] | None = None,
    ) -> None:  # fmt: skip
        """New constants, attributes and an addend for a node."""
        new, writer = self.node(node), self._writer("float32", ())
        for position, values in sorted(operands.items()):
            old = new.input[position] if position < len(new.input) else ""
            new.input.extend([""] * (position + 1 - len(new.input)))
            new.input[position] = writer.tensor(values, old.removeprefix(graph.PREFIX) or "bias")
            self._freed += [old] if old else []
        for name, value in attributes.items():
            kept = [a for a in new.attribute if a.name != name]
            made = [] if value is None else [helper.make_attribute(name, value)]
            copies = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in (*kept, *made)]
            del new.attribute[:]
            new.attribute.extend(copies)
        key = node_key(node)
        if after is not None:
            result = new.output[0]
            new.output[0] = writer.name("unshifted")
            shift = writer.tensor(after, "shift")
            adding = helper.make_node("Add", [new.output[0], shift], [result], name=writer.name("Add"))
            self._after.setdefault(key, []).append(adding)
        if rescaled is not None:
            position, factor = rescaled
            result = new.output[position]
            new.output[position] = writer.name("unscaled")
            by = writer.tensor(factor, "factor")
            product = helper.make_node("Mul", [new.output[position], by], [result], name=writer.name("Mul"))
            self._after.setdefault(key, []).append(product)
        self._take(writer, key)

    def scaled(self, verdict: Verdict, trail: Trail, transform: Transform, axis: int) -> None:
        """A node that takes nothing reads the scaled values, which nodes before it make."""
        new = self.node(verdict.leaf.node)
        for source in verdict.leaf.sources:
            result = self._written(verdict.leaf.node, trail, source, transform, axis)
            shell = onnx.GraphProto()
            shell.node.append(new)
            graph.rewire(shell, source, result, keep_shape_readers=False)
            new.CopyFrom(shell.node[0])

    def _written(self, node: onnx.NodeProto, trail: Trail, source: str, transform: Transform, axis: int) -> str:
        if (source, "scaled") not in self._shared:
            carried = trail.carried[source]
            dtype = writing.arithmetic(self.precision, carried.dtype)
            if source != trail.start:
                found = writing.placed(carried)
                assert not isinstance(found, Refusal)
                transform, axis = found
            composed = bool(carried.own) and carried.affine() is not None and carried.dtype == "float32"
            dtype = "float32" if composed else dtype
            writer = self._writer(dtype, carried.shape, axis)
            steps = (
                composing.nodes_of(transform, dtype) if composed else writing.lowered(transform, self.precision, dtype)
            )
            result = writing.emit(writer, carried.source, steps, carried.dtype, dtype, carried.dtype)
            if dtype != carried.dtype and writing.normalizes(self.proto, source):
                result = writer.node("Concat", result, axis=0)
            self._take(writer, node_key(node))
            self._shared[source, "scaled"] = result
        return self._shared[source, "scaled"]

    def _subtracted(self, node: onnx.NodeProto, carried: Carried, parts: tuple[Array, ...]) -> str:
        key = (carried.name, len(parts))
        if key not in self._shared:
            writer = self._writer(carried.dtype, carried.shape)
            result = carried.source
            for part in parts:
                values, axis = writing.trimmed(part)
                writer.axis = axis
                result = writer.node("Sub", result, writer.constant(values, "sub"))
            self._take(writer, node_key(node))
            self._shared[key] = result
        return self._shared[key]

    def _writer(self, dtype: str, shape: tuple[int | str, ...], axis: int = -1) -> Writer:
        return Writer(self.proto, self._taken, self.spec.name, dtype, InputSpec(self.spec.name, dtype, shape), axis)

    def _take(self, writer: Writer, key: str) -> None:
        self._initializers += writer.initializers
        self._before.setdefault(key, []).extend(writer.nodes)


def dequantized(proto: onnx.ModelProto, spec: InputSpec, scale: Array, zero: Array, axis: int) -> Fold:
    """uint8 pixels scaled by one DequantizeLinear."""
    taken = graph.used_names(proto)
    old = frozenset(taken)
    writer = Writer(proto, taken, spec.name, "float32", spec, axis)
    where: dict[str, Any] = {} if zero.ndim == 0 else {"axis": axis}
    constants = writer.tensor(scale, "scale"), writer.tensor(zero, "zero_point")
    result = writer.node("DequantizeLinear", spec.name, *constants, **where)
    unit = 2.0**-24
    said = Absorption(
        "uint8 pixels", "all", "one DequantizeLinear, in integers up to the last product", Error(3 * unit, unit, 1.0)
    )
    return Fold(
        spec.name, "input", "fold", (said,), {}, tuple(writer.initializers), names=frozenset(taken) - old,
        first=tuple(writer.nodes), seam=result,
    )  # fmt: skip


def apply(proto: onnx.ModelProto, fold: Fold, taken: set[str] | None = None) -> None:
    """Put a fold into the graph it was made for. taken: names in use, to which the fold's are added."""
    if taken is not None:
        taken.update(fold.names)
    if fold.seam:
        graph.rewire(proto.graph, fold.tensor, fold.seam)
    made: list[onnx.NodeProto] = [*fold.first]
    for node in proto.graph.node:
        edit = fold.edits.get(node_key(node))
        made += [node] if edit is None else [*edit.before, edit.node, *edit.after]
    while True:  # a chain of them goes from its end
        gone = _unread(proto, made, tuple(fold.bypassed))
        kept_nodes = [n for n in made if node_key(n) not in gone]
        if len(kept_nodes) == len(made):
            break
        made = kept_nodes
    dead = _unread(proto, made, fold.freed)
    if not fold.new and not fold.bypassed and not dead:  # nodes of millions of values are copied once, not thrice
        for node in proto.graph.node:
            if node_key(node) in fold.edits:
                node.CopyFrom(fold.edits[node_key(node)].node)
        proto.graph.initializer.extend(fold.initializers)
        return
    made = [n for n in made if not (n.op_type == "Constant" and len(n.output) == 1 and n.output[0] in dead)]
    _replace(proto.graph.node, made)
    kept = [t for t in proto.graph.initializer if t.name not in dead]
    _replace(proto.graph.initializer, [*kept, *fold.initializers])
    if any(v.name in dead for v in proto.graph.input):
        _replace(proto.graph.input, [v for v in proto.graph.input if v.name not in dead])
    if fold.new and graph.opset(proto) is None:
        proto.opset_import.add(domain="", version=graph.needs_opset(proto))


def _unread(proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], freed: tuple[str, ...]) -> set[str]:
    """Those of the freed constants that nobody reads any more, and that stand in the main graph."""
    if not freed:
        return set()
    read = {o.name for o in proto.graph.output}
    waiting = [list(nodes)]
    while waiting:
        for node in waiting.pop():
            read.update(node.input)
            for body in walk.subgraphs(node) if node.attribute else ():
                read.update(o.name for o in body.output)
                waiting.append(list(body.node))
    for note in proto.graph.quantization_annotation:
        read.update((note.tensor_name, *(p.value for p in note.quant_parameter_tensor_names)))
    for info in proto.training_info:
        read.update(n for g in (info.initialization, info.algorithm) for node in g.node for n in node.input)
        read.update(v for b in (*info.initialization_binding, *info.update_binding) for v in (b.key, b.value))
    return set(freed) - read


def _replace(repeated: Any, items: list[Any]) -> None:
    """Put items, some of which may be its own, into a repeated field."""
    kind = type(items[0]) if items else None
    copies = [] if kind is None else [_copied(item) for item in items]
    del repeated[:]
    repeated.extend(copies)


def _copied(item: Any) -> Any:
    copy = type(item)()
    copy.CopyFrom(item)
    return copy
