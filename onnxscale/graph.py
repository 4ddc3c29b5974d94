"""The only file that edits an ONNX graph: what goes in and out, who reads a tensor, insert, rewire, names, opsets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from onnxscale import walk
from onnxscale.errors import PlanError
from onnxscale.step import Array, align

T = onnx.TensorProto
PREFIX = "onnxscale/"
DTYPES: dict[int, str] = {
    T.FLOAT: "float32",
    T.DOUBLE: "float64",
    T.FLOAT16: "float16",
    T.BFLOAT16: "bfloat16",
    **{code: name.lower() for name, code in T.DataType.items() if name.startswith(("INT", "UINT"))},
    T.BOOL: "bool",
    T.STRING: "string",
}
ELEMENTS: dict[str, int] = {name: code for code, name in DTYPES.items()}
FLOATS = ("float16", "bfloat16", "float32", "float64")
SHAPE_READERS = ("Shape", "Size")
OLDEST_OPSET = 7


@dataclass(frozen=True)
class InputSpec:
    """A graph input or output. dtype: a numpy-like name, or "sequence", "map", ... shape: per dimension a size, a
    symbolic name, or None where nothing is known; None as a whole where the rank is unknown."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    def prose(self) -> str:
        """`'x' float32 [N, 13]`."""
        shape = "[...]" if self.shape is None else f"[{', '.join('?' if d is None else str(d) for d in self.shape)}]"
        return f"{self.name!r} {self.dtype} {shape}"


def spec(value: onnx.ValueInfoProto) -> InputSpec:
    """What a ValueInfo says. A dim_value below 1 counts as unknown, as exporters write -1 and 0 for it."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return InputSpec(value.name, (kind or "unknown").removesuffix("_type"), None)
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.dim_value > 0 else (d.dim_param or None) for d in tensor.shape.dim)
    return InputSpec(value.name, DTYPES.get(tensor.elem_type, f"type {tensor.elem_type}"), shape)


def inputs(model: onnx.ModelProto) -> list[InputSpec]:
    """The inputs an app must feed: those without a default value (an initializer of the same name)."""
    held = {t.name for t in model.graph.initializer} | {s.values.name for s in model.graph.sparse_initializer}
    return [spec(v) for v in model.graph.input if v.name not in held]


def outputs(model: onnx.ModelProto) -> list[InputSpec]:
    return [spec(v) for v in model.graph.output]


def opset(model: onnx.ModelProto, domain: str = "") -> int | None:
    """The version of a domain that the model imports, or None."""
    aliases = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
    return max((o.version for o in model.opset_import if o.domain in aliases), default=None)


def needs_opset(model: onnx.ModelProto) -> int:
    """The ai.onnx version new nodes are written for: the imported one, else the newest that the ir version allows.

    Raises PlanError below opset 7, where operators broadcast by an attribute.
    """
    version = opset(model)
    if version is None:
        table = helper.OP_SET_ID_VERSION_MAP
        version = max(v for (domain, v), ir in table.items() if domain == "ai.onnx" and ir <= max(model.ir_version, 3))
    if version < OLDEST_OPSET:
        raise PlanError(
            f"the model is written for opset {version}; onnxscale works from opset {OLDEST_OPSET}, where broadcasting "
            f"became what it is. Convert it first, with onnx.version_converter or the exporter"
        )
    return version


@dataclass(frozen=True)
class Reader:
    """A node that reads a tensor. where: the path of the graphs around it, outermost first; "" for the main graph."""

    node: onnx.NodeProto
    where: str

    def prose(self) -> str:
        name = f"{self.node.op_type} {self.node.name!r}" if self.node.name else self.node.op_type
        return f"{name} in {self.where}" if self.where else name


def readers(graph: onnx.GraphProto, name: str, where: str = "") -> Iterator[Reader]:
    """Every node that reads the tensor of this name, also in nested graphs that capture it.

    A nested graph that defines the name itself hides the outer tensor.
    """
    for node in graph.node:
        if name in node.input:
            yield Reader(node, where)
        if node.attribute:
            for inner in walk.subgraphs(node):
                if not _defines(inner, name):
                    label = f"{where}/{node.op_type}" if where else node.op_type
                    yield from readers(inner, name, label)


def _defines(graph: onnx.GraphProto, name: str) -> bool:
    return (
        any(v.name == name for v in graph.input)
        or any(t.name == name for t in graph.initializer)
        or any(name in node.output for node in graph.node)
    )


def rewire(graph: onnx.GraphProto, old: str, new: str, *, keep_shape_readers: bool = True) -> None:
    """Let every reader of `old` read `new`, nested graphs included. Shape readers may stay where the shape is equal."""
    for node in graph.node:
        if not (keep_shape_readers and node.op_type in SHAPE_READERS and node.domain in ("", "ai.onnx")):
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new
        if node.attribute:
            for inner in walk.subgraphs(node):
                if not _defines(inner, old):
                    rewire(inner, old, new, keep_shape_readers=keep_shape_readers)
                    for value in inner.output:
                        if value.name == old:
                            value.name = new


def used_names(model: onnx.ModelProto) -> set[str]:
    """Every name of a tensor or a node anywhere in the model."""
    found: set[str] = set()
    for body in walk.bodies(model):
        graph = body.graph
        found.update(n for node in graph.node for n in (node.name, *node.input, *node.output))
        if isinstance(graph, onnx.GraphProto):
            found.update(v.name for v in (*graph.input, *graph.output, *graph.value_info))
            found.update(t.name for t in graph.initializer)
            found.update(s.values.name for s in graph.sparse_initializer)
            found.update(a.tensor_name for a in graph.quantization_annotation)
            found.update(p.value for a in graph.quantization_annotation for p in a.quant_parameter_tensor_names)
        else:
            found.update((*graph.input, *graph.output))
    return found


GUARD = "guard:"


def guards(node: onnx.NodeProto) -> bool:
    """Whether a node belongs to a guard, which reads raw values beside the scaler."""
    return isinstance(node.name, str) and node.name.startswith(PREFIX + GUARD)  # bytes where it is not UTF-8


class Writer:
    """Collects new nodes and constants for one model, then puts them in. Implements `step.Builder`.

    Constants become initializers; before ir 4, where an initializer must also be a graph input, Constant nodes, so that
    the app sees the inputs it knows.
    """

    def __init__(
        self, model: onnx.ModelProto, taken: set[str], place: str, dtype: npt.DTypeLike, spec: InputSpec, axis: int
    ):
        self.opset = needs_opset(model)
        self.dtype = np.dtype(dtype)
        self.rank = None if spec.shape is None else len(spec.shape)
        self.axis = axis
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._ranks = {i.name: None if i.shape is None else len(i.shape) for i in inputs(model)}
        self._taken, self._place, self._inline = taken, place, model.ir_version < 4

    def name(self, hint: str) -> str:
        """A name nobody uses, beginning with `PREFIX`."""
        base = f"{PREFIX}{self._place}/{hint}"
        name = next(n for i in range(len(self._taken) + 1) if (n := f"{base}_{i}" if i else base) not in self._taken)
        self._taken.add(name)
        return name

    def constant(self, values: npt.ArrayLike, name: str) -> str:
        array = np.asarray(values)
        rank, axis = self.rank, self.axis
        if rank is None:
            if array.ndim and axis >= 0:
                raise self.refuse(
                    "the rank of the tensor is unknown, so the axis must be counted from the end (--axis -1)"
                )
            rank = max(array.ndim, -axis)
        return self.tensor(align(array, rank, axis).astype(self.dtype), name)

    def tensor(self, values: Array, name: str) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), self.name(name))
        return self.held(tensor)

    def held(self, tensor: onnx.TensorProto) -> str:
        """A constant that is made already; returns its name."""
        if self._inline:
            self.nodes.append(
                helper.make_node("Constant", [], [tensor.name], name=self.name(f"{tensor.name}/node"), value=tensor)
            )
        else:
            self.initializers.append(tensor)
        return tensor.name

    def node(self, op: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        if op == "Cast" and not isinstance(attributes["to"], int):
            attributes["to"] = ELEMENTS[str(np.dtype(attributes["to"]))]
        name = self.name(op)
        results = [self.name(f"{op}/out") for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), results, name=name, domain=domain, **attributes))
        return results[0]

    def rank_of(self, name: str) -> int | None:
        return self._ranks.get(name)

    def refuse(self, reason: str) -> PlanError:
        return PlanError(f"{self._place}: {reason}")


def insert_after_input(
    model: onnx.ModelProto, writer: Writer, name: str, result: str, *, keep_shape_readers: bool
) -> None:
    """Put the collected nodes first in the graph and let every reader of the input read their result."""
    rewire(model.graph, name, result, keep_shape_readers=keep_shape_readers)
    insert_first(model, writer)


def insert_before_output(model: onnx.ModelProto, writer: Writer, name: str, inner: str, result: str) -> None:
    """Rename the tensor behind an output to `inner`, and let the collected nodes, which read `inner`, write the output.

    Everybody inside the graph goes on reading the unscaled tensor.
    """
    producers = [node for node in model.graph.node if name in node.output]
    if not producers:
        raise PlanError(f"output {name!r} is an input or a constant of the model; there is nothing to scale behind it")
    rewire(model.graph, name, inner, keep_shape_readers=False)
    for i, output in enumerate(producers[0].output):
        if output == name:
            producers[0].output[i] = inner
    for node in writer.nodes:
        for i, output in enumerate(node.output):
            if output == result:
                node.output[i] = name
    model.graph.initializer.extend(writer.initializers)
    model.graph.node.extend(writer.nodes)
    _import_opsets(model, writer)


def rename(writer: Writer, names: Mapping[str, str]) -> None:
    """Give tensors of the collected nodes other names."""
    for node in writer.nodes:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]


def insert_first(model: onnx.ModelProto, writer: Writer, outputs: Iterable[InputSpec] = ()) -> None:
    """Put the collected nodes first in the graph, beside what is there, and these of their tensors among its outputs."""
    model.graph.initializer.extend(writer.initializers)
    _prepend(model.graph.node, writer.nodes)
    _import_opsets(model, writer)
    add = model.graph.output.append
    for o in outputs:
        add(helper.make_tensor_value_info(o.name, ELEMENTS[o.dtype], o.shape))


def declare(values: Iterable[onnx.ValueInfoProto], wanted: InputSpec) -> None:
    """Let the graph input or output of that name have this element type, and this shape where it is known."""
    for value in values:
        if value.name == wanted.name:
            tensor = value.type.tensor_type
            tensor.elem_type = ELEMENTS[wanted.dtype]
            for dim, size in zip(tensor.shape.dim, wanted.shape or (), strict=wanted.shape is not None):
                if size != (dim.dim_value if dim.dim_value > 0 else (dim.dim_param or None)):
                    dim.Clear()
                    if size is not None:
                        setattr(dim, "dim_value" if isinstance(size, int) else "dim_param", size)


def add_input(model: onnx.ModelProto, wanted: InputSpec) -> None:
    """A further input, which the app must feed. Raises PlanError where its name is that of another tensor."""
    if wanted.name in used_names(model):
        raise PlanError(
            f"the scaler needs an input {wanted.name!r}, and a tensor inside the model has that name already"
        )
    model.graph.input.append(helper.make_tensor_value_info(wanted.name, ELEMENTS[wanted.dtype], wanted.shape))


def _prepend(repeated: Any, items: list[onnx.NodeProto]) -> None:
    for i, item in enumerate(items):
        repeated.insert(i, item)


ML = "ai.onnx.ml"
OLDEST_ML = 2  # LabelEncoder as it is now


def _import_opsets(model: onnx.ModelProto, writer: Writer) -> None:
    if opset(model) is None:
        model.opset_import.add(domain="", version=writer.opset)
    if any(node.domain == ML for node in writer.nodes):
        version = opset(model, ML)
        if version is None:
            model.opset_import.add(domain=ML, version=OLDEST_ML)
        elif version < OLDEST_ML:
            raise writer.refuse(f"the scaler needs version {OLDEST_ML} of {ML}, and the model is written for {version}")


def static_size(shape: tuple[int | str | None, ...] | None) -> int | None:
    """Number of elements where every dimension is known, else None."""
    return (
        math.prod(d for d in shape if isinstance(d, int)) if shape and all(isinstance(d, int) for d in shape) else None
    )
