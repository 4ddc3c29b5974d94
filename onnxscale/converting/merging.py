"""An exported transformer in front of a model: its names prefixed, its inputs those that the app feeds, its answer where the model's
input was. Columns of numbers alone stay one tensor of the input's name; where some are text, each is an input of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import compose, helper

from onnxscale import graph
from onnxscale.converting.columns import Column, apart
from onnxscale.converting.exporting import Exported
from onnxscale.errors import PlanError, names
from onnxscale.graph import ELEMENTS, PREFIX, InputSpec, Writer
from onnxscale.plans import Converted


@dataclass(frozen=True, eq=False)
class Merged:
    """proto: the edited skeleton. seam: the tensor that was the model's input."""

    proto: onnx.ModelProto
    seam: str


def fed(columns: Sequence[Column], spec: InputSpec, dtype: str) -> tuple[InputSpec, ...]:
    """The inputs that the app feeds instead of `spec`. dtype: of numbers. A column that nothing reads is none of them, as nobody
    knows its type; in a matrix it keeps its place."""
    rows = spec.shape[0] if spec.shape else None
    if apart(columns):
        used = [c for c in columns if c.used]
        return tuple(InputSpec(c.name, "string" if c.text else "int64" if c.whole else dtype, (rows, 1)) for c in used)
    return (InputSpec(spec.name, dtype, (rows, len(columns))),)


def merged(proto: onnx.ModelProto, made: Exported, plan: Converted, columns: Sequence[Column]) -> Merged:
    """Edit the skeleton. Raises PlanError where a column has the name of another tensor of the model."""
    taken = graph.used_names(proto)
    new = [s for s in plan.fed if s.name != plan.spec.name]
    clash = [s.name for s in new if s.name in taken]
    if clash:
        raise PlanError(
            f"the columns {names(clash)} have the names of tensors inside the model, so that they cannot be its inputs; export "
            f"the model again with other names, or fit the transformer on columns of other names"
        )
    writer = Writer(proto, taken, plan.spec.name, made.dtype, plan.fed[0], -1)
    inner = _prefixed(made.graph, f"{PREFIX}{plan.spec.name}/")
    taken.update(n for node in inner.graph.node for n in (node.name, *node.output))
    _joined(writer, made, plan, columns, [v.name for v in inner.graph.input])
    for tensor in inner.graph.initializer:
        writer.held(tensor)
    writer.nodes += list(inner.graph.node)
    result = inner.graph.output[0]
    seam = writer.node("Cast", result.name, to=ELEMENTS[plan.spec.dtype])
    if len(plan.fed) == 1 and plan.fed[0].name == plan.spec.name:
        graph.insert_after_input(proto, writer, plan.spec.name, seam, keep_shape_readers=False)
        graph.declare(proto.graph.input, plan.fed[0])
    else:
        graph.insert_after_input(proto, writer, plan.spec.name, seam, keep_shape_readers=False)
        at = next(i for i, v in enumerate(proto.graph.input) if v.name == plan.spec.name)
        values = [helper.make_tensor_value_info(s.name, ELEMENTS[s.dtype], s.shape) for s in plan.fed]
        del proto.graph.input[at]
        for i, value in enumerate(values):
            proto.graph.input.insert(at + i, value)
    _opsets(proto, inner)
    return Merged(proto, seam)


def _prefixed(made: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """The graph with every name prefixed, those of its inputs too."""
    result = compose.add_prefix(made, prefix, rename_functions=False)
    assert isinstance(result, onnx.ModelProto)
    return result


def _joined(writer: Writer, made: Exported, plan: Converted, columns: Sequence[Column], starts: Sequence[str]) -> None:
    """Nodes from what the app feeds to the inputs of the exported graph, in its types."""
    kinds = {v.name: v.type.tensor_type.elem_type for v in made.graph.graph.input}
    wanted = list(kinds.values())
    several = len(plan.fed) > 1 or plan.fed[0].name != plan.spec.name
    sources = [s.name for s in plan.fed]

    def into(name: str, start: str, kind: int) -> None:
        cast = "Identity" if kind == onnx.TensorProto.STRING else "Cast"
        made_by = helper.make_node(cast, [name], [start], name=writer.name(cast))
        if cast == "Cast":
            made_by.attribute.append(helper.make_attribute("to", kind))
        writer.nodes.append(made_by)

    if several and made.apart:
        for column, start, kind in zip(columns, starts, wanted, strict=True):
            if column.used:
                into(column.name, start, kind)
    elif several:
        into(sources[0] if len(sources) == 1 else writer.node("Concat", *sources, axis=1), starts[0], wanted[0])
    elif made.apart:
        for i, (start, kind) in enumerate(zip(starts, wanted, strict=True)):
            into(writer.node("Gather", sources[0], writer.tensor(np.array([i]), "column"), axis=1), start, kind)
    else:
        into(sources[0], starts[0], wanted[0])


def _opsets(proto: onnx.ModelProto, inner: onnx.ModelProto) -> None:
    for entry in inner.opset_import:
        if entry.domain not in ("", "ai.onnx") and graph.opset(proto, entry.domain) is None:
            proto.opset_import.add(domain=entry.domain, version=entry.version)
