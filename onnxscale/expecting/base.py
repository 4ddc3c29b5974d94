"""What a cue is given and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from onnxscale import graph, lazy, tensors
from onnxscale.graph import InputSpec
from onnxscale.modelfile import ModelFile
from onnxscale.recognition import Leading
from onnxscale.step import Array

MOST = 64 << 20  # bytes of one constant that is worth reading for a cue
NEUTRAL = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout", "Pad")
MOVES = ("Reshape", "Flatten", "Transpose")
DEEPEST = 16


@dataclass(frozen=True)
class Evidence:
    """What one cue says. scores: hypothesis -> log likelihood, relative to each other. decides: it is no guess but what the
    model computes or says of itself."""

    cue: str
    says: str
    scores: Mapping[str, float]
    decides: bool = False


@dataclass(frozen=True)
class First:
    """An operator that reads the input, perhaps moved but not otherwise changed. moved: whether its features may lie elsewhere."""

    node: onnx.NodeProto
    name: str
    moved: bool


@dataclass(frozen=True, eq=False)
class Subject:
    """One input of a model. sort: of PRIORS. lead: the model's own arithmetic after it. first: what reads the seam behind that.
    data: rows of the user's, in the input's shape, or
    None; others: theirs for the other inputs. seconds: that onnxruntime may take."""

    model: ModelFile
    spec: InputSpec
    sort: str
    lead: Leading
    first: tuple[First, ...]
    data: Array | None = None
    others: Mapping[str, Array] = field(default_factory=dict)
    seconds: float = 60.0

    def constant(self, name: str) -> Array | None:
        """A constant by name, read when asked for; None for what is none, or is too large for a cue."""
        for tensor in self.model.skeleton.graph.initializer:
            if tensor.name == name:
                return tensors.values(self.model, tensor) if tensors.nbytes(tensor) <= MOST else None
        for node in self.model.skeleton.graph.node:
            if name in node.output and node.op_type in ("Constant", "Identity"):
                if node.op_type == "Identity":
                    return self.constant(node.input[0])
                held = [a.t for a in node.attribute if a.name == "value"]
                return tensors.values(self.model, held[0]) if held and tensors.nbytes(held[0]) <= MOST else None
        return None

    def undone(self, centre: Array, spread: Array) -> tuple[Array, Array] | None:
        """Centre and spread at the seam, as what they are at the input: y = scale * x + shift undone."""
        if not self.lead.ops:
            return centre, spread
        one = self.lead.transform.affine()
        if one is None or not np.all(one.scale):
            return None
        scale, shift = (np.asarray(v, np.float64).ravel() for v in (one.scale, one.shift))
        if any(v.size not in (1, centre.size) for v in (scale, shift)):
            return None
        return (centre - shift) / scale, spread / np.abs(scale)

    def moments(self) -> tuple[Array, Array] | None:
        """Centre and spread of each column of the user's rows (of each channel of pictures), or None."""
        if self.data is None or not self.data.size:
            return None
        rows = columns(self.data.astype(np.float64), self.spec)
        with np.errstate(invalid="ignore"):
            return np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)


def columns(values: Array, spec: InputSpec) -> Array:
    """Rows by features: the channels of a picture, the last axis of anything else."""
    if values.ndim == 4:
        axis = 1 if values.shape[1] in (1, 3, 4) else -1
        values = np.moveaxis(values, axis, -1)
    return values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)


def first_readers(model: ModelFile, name: str) -> tuple[First, ...]:
    """The operators that read a tensor, behind what only moves or casts it; nested graphs included."""
    found: list[First] = []
    waiting, seen = [(name, False, 0)], {name}
    while waiting:
        tensor, moved, depth = waiting.pop(0)
        for reader in graph.readers(model.skeleton.graph, tensor):
            node = reader.node
            if node.op_type in graph.SHAPE_READERS:
                continue
            if node.op_type in NEUTRAL and node.output and node.input[0] == tensor and depth < DEEPEST:
                if node.output[0] not in seen:
                    seen.add(node.output[0])
                    waiting.append((node.output[0], moved or node.op_type in MOVES, depth + 1))
            else:
                found.append(First(node, tensor, moved))
    return tuple(found[:64])


def attribute(subject: Subject, node: onnx.NodeProto, name: str) -> Array | None:
    """A list or tensor among a node's attributes as an array; None where it is not there."""
    for a in node.attribute:
        if a.name == name:
            if lazy.listed(a) is not None:
                return tensors.values(subject.model, a)
            if a.type == onnx.AttributeProto.TENSOR:
                return tensors.values(subject.model, a.t)
            return np.asarray(onnx.helper.get_attribute_value(a))
    return None


def following(subject: Subject, name: str) -> list[onnx.NodeProto]:
    """The nodes of the main graph that read a tensor."""
    return [n for n in subject.model.skeleton.graph.node if name in n.input]
