"""Plan -> baked model, and back. The caller's model is never changed: a bake is a description of pieces to copy and
bytes to write, and an unbake is that description turned round.

The record of the bake is the file's last field, so that the places it speaks of lie before it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import onnx

from onnxscale import external, folding, graph, guarding, pieces, tensors, walk
from onnxscale.errors import ModelError
from onnxscale.folding.nodes import normalizes
from onnxscale.graph import Writer
from onnxscale.modelfile import ModelFile
from onnxscale.pieces import Pieces
from onnxscale.plans import Placement, Plan
from onnxscale.recognition import KEY, recorded
from onnxscale.step import Step
from onnxscale.steps import OPERATORS
from onnxscale.steps.arithmetic import BROADCAST
from onnxscale.wire import Window, header, read_exactly

_METADATA = 14
KEPT = 16 << 20


@dataclass(frozen=True)
class Spilled:
    """The data file beside a model that one file cannot hold: its name, and what it holds (spilling.py)."""

    location: str
    pieces: Pieces


@dataclass(frozen=True)
class Edited:
    """A model with its scalers in. seams: (role, tensor name) -> the tensor that holds the scaled values (inputs) or
    the values before they are scaled back (outputs). pieces: the new file without its record. spilled: what
    went to a data file, or None."""

    proto: onnx.ModelProto
    seams: Mapping[tuple[str, str], str]
    pieces: Pieces
    spilled: Spilled | None = None


def apply(model: ModelFile, plan: Plan, metadata: Mapping[str, str] | None = None) -> Edited:
    """Write the plan's nodes into a copy of the model. metadata: entries to set beside, such as the image keys."""
    proto = model.editable()
    taken = graph.used_names(proto)
    seams = {}
    for p in plan.placements:
        if p.fold is not None and p.fold.form != "nodes":
            folding.apply(proto, p.fold, taken)
            if p.fold.seam:
                seams[p.role, p.spec.name] = p.fold.seam
            if p.outer != p.spec:
                graph.declare(proto.graph.input, p.outer)
    new = {s.name: s for p in plan.placements for s in p.added}
    for added in new.values():
        graph.add_input(proto, added)
    # a scaler that reads another input reads its raw values, so nothing may be put behind that input after it
    for p in sorted(plan.placements, key=lambda p: bool(p.transform.reads)):
        if p.form == "nodes":
            seams[p.role, p.spec.name] = (_input if p.role == "input" else _output)(proto, p, taken)
    seams |= _guards(proto, plan, taken)
    kept = [e for e in proto.metadata_props if e.key != KEY and e.key not in (metadata or {})]
    if len(kept) != len(proto.metadata_props):
        entries = [onnx.StringStringEntryProto.FromString(e.SerializeToString()) for e in kept]
        del proto.metadata_props[:]
        proto.metadata_props.extend(entries)
    for key, value in (metadata or {}).items():
        proto.metadata_props.add(key=key, value=value)
    return Edited(proto, seams, model.render(proto))


def relocated(model: ModelFile, edited: Edited, names: Mapping[str, str]) -> Edited:
    """The same edit with the external data of the model in files of other names: location -> another."""
    if not names:
        return edited
    proto = onnx.ModelProto()
    proto.CopyFrom(edited.proto)
    for tensor in (t for t in walk.tensors(proto) if tensors.is_outside(t)):
        for item in tensor.external_data:
            if item.key == "location":
                item.value = names.get(item.value, item.value)
    return Edited(proto, edited.seams, model.render(proto))


def _guards(proto: onnx.ModelProto, plan: Plan, taken: set[str]) -> dict[tuple[str, str], str]:
    """Write the guards of the inputs; returns the seams of the outputs that lose rows: ("poisoned", output) -> what it was."""
    wrong: list[tuple[str, bool]] = []
    guarded = [(p, p.guard) for p in plan.placements if p.guard is not None]
    taken |= {n for _, guard in guarded for n in guard.outputs.values()}
    for p, guard in guarded:
        writer = Writer(proto, taken, graph.GUARD + p.spec.name, guard.working, p.outer, guard.axis)
        written = guarding.write(writer, p.spec.name, guard)
        if written.clamped:
            graph.rewire(proto.graph, p.spec.name, written.clamped, keep_shape_readers=True)
        graph.insert_first(proto, writer, written.outputs)
        wrong += [(written.wrong, guard.over == tuple(range(guard.rank)))] if written.wrong else []
    seams = {}
    specs = {s.name: s for s in graph.outputs(proto)}
    for name, dtype in dict(x for _, guard in guarded for x in guard.poisons.items()).items():
        writer = Writer(proto, taken, graph.GUARD + name, dtype, specs[name], 0)
        inner = seams["poisoned", name] = writer.name("unpoisoned")
        result = inner
        for mask, whole in wrong:
            result = guarding.poison(writer, mask, result, dtype, whole)
        graph.insert_before_output(proto, writer, name, inner, result)
    return seams


def _input(proto: onnx.ModelProto, p: Placement, taken: set[str]) -> str:
    writer = Writer(proto, taken, p.spec.name, p.dtype, p.spec, p.axis)
    result = _emit(writer, p.spec.name, p, p.graph_dtype, p.inner_dtype)
    if p.dtype != p.inner_dtype and normalizes(proto, p.spec.name):
        result = writer.node("Concat", result, axis=0)
    graph.insert_after_input(proto, writer, p.spec.name, result, keep_shape_readers=p.transform.elementwise)
    if p.outer != p.spec:
        graph.declare(proto.graph.input, p.outer)
    return result


def _output(proto: onnx.ModelProto, p: Placement, taken: set[str]) -> str:
    writer = Writer(proto, taken, p.spec.name, p.dtype, p.spec, p.axis)
    inner = writer.name("unscaled")
    result = _emit(writer, inner, p, p.inner_dtype, p.graph_dtype)
    graph.insert_before_output(proto, writer, p.spec.name, inner, result)
    return inner


def _emit(writer: Writer, x: str, p: Placement, before: str, after: str) -> str:
    """The nodes of a placement, from a tensor of type `before` to one of type `after`; returns the result's name."""
    start = x
    steps = list(p.lowered.steps)
    while before != p.dtype and steps and OPERATORS[steps[0].op].moves:  # moved before they are widened
        x = OPERATORS[steps[0].op].nodes(writer, x, steps.pop(0))
    if before != p.dtype:
        x = writer.node("Cast", x, to=graph.ELEMENTS[p.dtype])
    late = _clips_at_the_end(steps) if writer.opset < BROADCAST and p.dtype == "float64" != after else []
    for step in steps[: len(steps) - len(late)]:
        x = OPERATORS[step.op].nodes(writer, x, step)
    if p.dtype != after:
        x = writer.node("Cast", x, to=graph.ELEMENTS[after])
    writer.dtype = np.dtype(after) if late else writer.dtype
    for step in late:
        x = OPERATORS[step.op].nodes(writer, x, step)
    return writer.node("Identity", x) if x == start else x


def _clips_at_the_end(steps: list[Step]) -> list[Step]:
    """The clips after which nothing comes. Runtimes have no float64 Max and Min before opset 8; but rounding is
    monotone, so a clip after the last Cast gives the same bits as one before it."""
    late: list[Step] = []
    while len(late) < len(steps) and steps[-1 - len(late)].op in ("Max", "Min"):
        late.insert(0, steps[-1 - len(late)])
    return late


def undo(model: ModelFile, edited: Edited, keep: str) -> dict[str, object]:
    """What the record says of how the original is made of the baked file: "undo", or, where what the bake replaced is
    not kept, "not_kept", the number of its bytes. keep: "always", "never", or "auto" (up to KEPT bytes)."""
    beside = edited.spilled
    written = [*edited.pieces, *(beside.pieces if beside else [])]
    parts = pieces.inverted(written, len(model.data), model.read)
    size = pieces.literal(parts)
    if keep == "always" or (keep == "auto" and size <= KEPT):
        data = {"data": {"location": beside.location, "from": pieces.size(edited.pieces)}} if beside else {}
        return {"undo": pieces.to_json(parts), **data}
    return {"not_kept": size}


def entry(record: Mapping[str, object]) -> bytes:
    """The record as the last field of the file: after the pieces of the edited model, which its undo list speaks of."""
    text = json.dumps(record, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    text = text.encode("utf-8", "backslashreplace").decode()  # half a pair of surrogates, as JSON itself escapes it
    content = onnx.StringStringEntryProto(key=KEY, value=text).SerializeToString(deterministic=True)
    return header(_METADATA, len(content)) + content


@contextmanager
def whole(model: ModelFile) -> Iterator[ModelFile]:
    """The bytes that an undo list speaks of: the baked file, and behind its own bytes those of the data file that the bake made.

    Raises ModelError where that file is missing, or the record names one outside the model's folder.
    """
    record = recorded(model) or {}
    beside = record.get("data")
    if not isinstance(beside, dict):
        yield model
        return
    location, start = str(beside.get("location", "")), beside.get("from")
    if not isinstance(start, int) or not 0 <= start <= len(model.data):
        raise ModelError(f"{model.name}: the record is damaged at data.from")
    if model.path is None:
        raise ModelError(f"the model came as bytes, and a part of it lies in {location!r}: give its path")
    descriptor = external.opened(external.located(model.path, location, "of the undo list"), real=True)

    def read(offset: int, count: int) -> bytes:
        here = min(count, max(start - offset, 0))
        first = model.read(offset, here) if here else b""
        return first + (read_exactly(descriptor, offset + here - start, count - here) if count > here else b"")

    try:
        size = start + os.fstat(descriptor).st_size
        yield replace(model, data=Window(read, size), descriptor=None, stamp=())
    finally:
        os.close(descriptor)


def unbake(model: ModelFile) -> Pieces:
    """The pieces of `whole(model)`, of a baked file, that make the original, byte for byte.

    Raises ModelError where the file is not a baked one, or was changed since, so that the original cannot be made.
    """
    record = recorded(model)
    if record is None:
        raise ModelError(f"{model.name}: carries no scaler of onnxscale's; there is nothing to undo")
    if "not_kept" in record:
        raise ModelError(
            f"{model.name}: {record['not_kept']} bytes that the bake replaced are not in it "
            f"(--keep-original always keeps what it replaces). Take the original model, whose sha256 onnxscale inspect shows"
        )
    parts = pieces.from_json(record.get("undo"))
    original = record.get("original")
    expected = original.get("sha256") if isinstance(original, dict) else None
    if pieces.size(parts) > 2 * len(model.data):  # nothing is copied twice, and what is not copied is in the record
        raise changed(model)
    if any(isinstance(p, pieces.Copy) and p.offset + p.length > len(model.data) for p in parts):
        raise changed(model)
    if expected != digest(model, parts):
        raise changed(model)
    return parts


def changed(model: ModelFile) -> ModelError:
    return ModelError(
        f"{model.name}: was saved again by another tool after the bake, so the original cannot be restored byte for byte. "
        f"Take the original model, whose sha256 onnxscale inspect shows"
    )


def digest(model: ModelFile, parts: Pieces) -> str:
    """sha256 of the file that the pieces make, read in chunks."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            total.update(part)
            continue
        for at in range(part.offset, part.offset + part.length, 1 << 24):
            total.update(model.read(at, min(1 << 24, part.offset + part.length - at)))
    return total.hexdigest()
