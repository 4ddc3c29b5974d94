"""What a graph starts with: the nodes after an input, read back as a Transform. Works on models we did not make."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnxscale import graph
from onnxscale.errors import ModelError
from onnxscale.graph import FLOATS
from onnxscale.modelfile import ModelFile
from onnxscale.step import Array, Step
from onnxscale.tensors import values
from onnxscale.transform import Transform

KEY = "onnxscale"
_BINARY = ("Sub", "Div", "Mul", "Add", "Max", "Min")
_MIRRORED = ("Mul", "Add", "Max", "Min")


MOST_FEATURES = 1 << 16


@dataclass(frozen=True)
class Leading:
    """The scaler-like nodes after an input. axis: of the features, counted from the end. seam: the tensor after them.
    ops: their operator names; then: the operator that reads the seam, or ""."""

    transform: Transform
    axis: int
    seam: str
    ops: tuple[str, ...]
    then: str

    @property
    def is_scaler(self) -> bool:
        """A shift and a scale with a constant per feature, or ai.onnx.ml's Scaler: what only a scaler looks like."""
        ops = set(self.ops)
        pair = bool(ops & {"Sub", "Add"}) and bool(ops & {"Div", "Mul"})
        return "Scaler" in ops or (pair and self.transform.shape not in ((), (1,)))

    def prose(self) -> str:
        return f"{', '.join(self.ops)} ({self.transform.prose()})"


def constants(model: ModelFile) -> Callable[[str], Array | None]:
    """A look-up of constant tensors of the main graph by name: initializers and Constant nodes, read when asked for."""
    held = {t.name: t for t in model.skeleton.graph.initializer}
    for node in model.skeleton.graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    held[node.output[0]] = attribute.t
                elif attribute.name in ("value_float", "value_floats"):
                    made = np.asarray(helper.get_attribute_value(attribute), np.float32)
                    held[node.output[0]] = onnx.numpy_helper.from_array(made)

    def look_up(name: str) -> Array | None:
        tensor = held.get(name)
        return None if tensor is None else values(model, tensor)

    return look_up


def leading(model: ModelFile, name: str, until: str = "") -> Leading:
    """The scaler-like nodes after the input `name`: casts, arithmetic with constants, clips, ai.onnx.ml's Scaler; up to
    the tensor `until`, where it is met."""
    constant = constants(model)
    steps: list[Step] = []
    axes: list[int] = []
    ops: list[str] = []
    passed: set[str] = set()
    while True:
        following = [
            r
            for r in graph.readers(model.skeleton.graph, name)
            if r.node.op_type not in graph.SHAPE_READERS and not graph.guards(r.node)
        ]
        if len(following) != 1 or following[0].where:
            return Leading(
                Transform(tuple(steps)), min(axes, default=-1), name, tuple(ops), "several nodes" if following else ""
            )
        node = following[0].node
        made = _step(node, name, constant) if name != until and name not in passed else None
        passed.add(name)  # a damaged graph may lead back to where it began
        if made is None or not node.output:
            return Leading(Transform(tuple(steps)), min(axes, default=-1), name, tuple(ops), node.op_type)
        for op, raw in made:
            operand, axis = _features(raw)
            steps.append(Step(op, (operand,)))
            axes += [axis] if operand.ndim else []
        if node.op_type not in ("Cast", "Identity", "Concat"):
            ops.append(node.op_type)
        name = node.output[0]


def normalized(model: ModelFile, lead: Leading, rank: int | None) -> Leading:
    """A lead with the BatchNormalization that follows it: the model's own layer, or a scaler that was written as one; as it is
    where none follows, or the rank is unknown (the features lie at axis 1 from the start).

    y = (x - mean) / sqrt(var + epsilon) * scale + B                       onnx, operators BatchNormalization
    """
    found = list(graph.readers(model.skeleton.graph, lead.seam)) if lead.then == "BatchNormalization" and rank else []
    held = {a.name: helper.get_attribute_value(a) for r in found for a in r.node.attribute}
    if len(found) != 1 or found[0].where or held.get("training_mode") or not found[0].node.output:
        return lead
    node, constant = found[0].node, constants(model)
    read = [constant(n) for n in node.input[1:5]] if node.input[0] == lead.seam else []
    if len(read) != 4 or any(v is None or v.ndim != 1 or v.dtype.kind != "f" for v in read):
        return lead
    scale, bias, mean, var = (v.astype(np.float64) for v in read if v is not None)
    with np.errstate(all="ignore"):
        std = np.sqrt(var + float(held.get("epsilon", 1e-5)))
    steps = [Step("Sub", (mean,)), Step("Div", (std,)), Step("Mul", (scale,)), Step("Add", (bias,))]
    if (axis := 1 - (rank or 0)) != lead.axis and lead.transform.shape:
        return lead
    then = next((r.node.op_type for r in graph.readers(model.skeleton.graph, node.output[0])), "")
    whole = Transform((*lead.transform.steps, *steps))
    return Leading(whole, axis, node.output[0], (*lead.ops, node.op_type), then)


def _step(node: onnx.NodeProto, x: str, constant: Callable[[str], Array | None]) -> list[tuple[str, Array]] | None:
    few = [a for a in node.attribute if max(len(a.ints), len(a.strings)) <= MOST_FEATURES]  # a forest's are millions
    attributes = {a.name: helper.get_attribute_value(a) for a in few}
    if node.op_type == "Cast" and attributes.get("to") in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
    ):
        return []
    if node.op_type == "Identity" or (node.op_type == "Concat" and len(node.input) == 1):  # see baking.py
        return []
    if node.op_type == "Scaler" and node.domain == "ai.onnx.ml":
        offset, scale = (
            np.atleast_1d(np.asarray(attributes.get(k, d), np.float64)) for k, d in (("offset", 0.0), ("scale", 1.0))
        )
        return [("Sub", offset), ("Mul", scale)]
    if node.op_type == "Clip" and len(node.input) > 1:
        bounds = zip(("Max", "Min"), node.input[1:3], strict=False)
        found = [(op, constant(n)) for op, n in bounds if n]
        return (
            [(op, v.astype(np.float64)) for op, v in found if v is not None]
            if all(v is not None for _, v in found)
            else None
        )
    if node.op_type in _BINARY and len(node.input) == 2 and node.domain in ("", "ai.onnx"):
        first = node.input[0] == x
        if not first and node.op_type not in _MIRRORED:
            return None
        other = constant(node.input[1 if first else 0])
        if other is not None and other.dtype.kind == "f" and sum(d != 1 for d in other.shape) <= 2:
            return [(node.op_type, other.astype(np.float64))]
    return None


def _features(raw: Array) -> tuple[Array, int]:
    """A constant as it broadcasts, without the ones around its features; and the axis they lie at, from the end."""
    shape = raw.shape
    trailing = 0
    while len(shape) > 1 and shape[-1] == 1:
        shape, trailing = shape[:-1], trailing + 1
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return raw.reshape(shape), -(trailing + max(1, len(shape)))


def recorded(model: ModelFile) -> dict[str, object] | None:
    """The record in the model's metadata, or None. Raises ModelError where it is there but damaged."""
    for entry in model.skeleton.metadata_props:
        if entry.key == KEY:
            try:
                content = json.loads(entry.value)
            except (ValueError, RecursionError):
                content = None
            damage = _damage(content)
            if damage:
                raise ModelError(f"{model.name}: the metadata entry {KEY!r} is damaged: {damage}")
            assert isinstance(content, dict)
            return content
    return None


_RECORD = {"scalers": list, "original": dict, "verification": dict, "golden": dict, "earlier": list}
_SCALER = {
    **dict.fromkeys(("role", "tensor", "kind", "form", "precision"), str), **dict.fromkeys(("dtypes", "source", "guard"), dict),
    **dict.fromkeys(("steps", "features", "units"), list), "axis": int,
}  # fmt: skip
_VERIFICATION = {"verdict": str, "reason": str}


def _damage(content: object) -> str:
    """What is wrong with the outline of a record, on which all that read it rely; "" where nothing is."""
    if not isinstance(content, dict):
        return "it is not a JSON object"
    scalers, verification = content.get("scalers"), content.get("verification")
    parts: list[tuple[str, Any, dict[str, Any]]] = [("the record", content, _RECORD)]
    parts += [("a scaler", s, _SCALER) for s in (scalers if isinstance(scalers, list) else ())]
    if isinstance(verification, dict) and verification:
        parts.append(("the verification", {**dict.fromkeys(_VERIFICATION), **verification}, _VERIFICATION))
    for what, part, types in parts:
        if not isinstance(part, dict):
            return f"{what} is not an object"
        for key, kind in types.items():
            if key in part and not isinstance(part[key], kind):
                return f"{key!r} of {what} is not a {kind.__name__}"
    return ""


def guard_outputs(model: ModelFile) -> tuple[str, ...]:
    """The outputs that guards gave the model, and that are none of its answers."""
    record = recorded(model) or {}
    earlier = record.get("earlier")
    bakes = [record, *(b for b in (earlier if isinstance(earlier, list) else []) if isinstance(b, dict))]
    scalers = [s for b in bakes for s in (b.get("scalers") or []) if isinstance(s, dict)]
    guards = [s["guard"] for s in scalers if isinstance(s.get("guard"), dict)]
    return tuple(str(n) for g in guards if isinstance(g.get("outputs"), dict) for n in g["outputs"].values())


def carried(model: ModelFile) -> str:
    """In words, the scaler that the model has already; "" where it has none."""
    if recorded(model) is not None:
        return "it carries a scaler that onnxscale baked (see onnxscale inspect)"
    for spec in graph.inputs(model.skeleton):
        if spec.dtype in FLOATS:
            found = leading(model, spec.name)
            if found.is_scaler:
                return f"its graph starts with what looks like a scaler after {spec.name!r}: {found.prose()}"
    return ""


def leading_notes(model: ModelFile, name: str) -> list[str]:
    """What is worth a mention at the start of the graph, though it is no reason to refuse."""
    found = leading(model, name)
    notes = []
    if found.ops and not found.is_scaler:
        notes.append(f"after {name!r} the model itself goes on with {found.prose()}; the scaler comes before that")
    if found.then == "BatchNormalization":
        notes.append(f"the model starts with a BatchNormalization after {name!r}; the scaler comes before it")
    return notes
