"""A model too large to run, proved: what the bake changed is cut out of both models as a small one and run on every row
that verification has; all that follows is the same nodes on the same bytes, which are hashed.

Tensor by tensor, in the order of the graph, a value of the baked model is
    SAME    the same node on SAME values, or the output of a changed node that the cut-out models are compared on (an end)
    RAW     the scaler's own, or raw values that a node only moves
    CONST   a constant that the fold rewrote
and every output of the model must be SAME. Then the whole answers as the original does wherever the ends agree.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxscale import external, graph, lazy, modelfile, seam, tensors, verifying, walk
from onnxscale.comparing import DIFFERS, NOT_VERIFIED, VERIFIED, Comparison, SeamCheck
from onnxscale.errors import names
from onnxscale.feeding import Feed
from onnxscale.modelfile import ModelFile
from onnxscale.plans import Placement, Plan
from onnxscale.step import Array
from onnxscale.verifying import Subject, loaded
from onnxscale.worker import Died, started

SAME, RAW, CONST = "same", "raw", "constant"
CHUNK = 1 << 22


@dataclass(frozen=True)
class Parts:
    """ends: tensors that both models have and that must agree. nodes, nbytes: what is the same, and how much of it."""

    ends: tuple[str, ...]
    nodes: int
    nbytes: int


class Unproved(Exception):
    """The model cannot be proved this way, and why."""


def prove(
    original: ModelFile, subject: Subject, plan: Plan, limit: int, *,
    data: Mapping[str, Array] | None = None, seed: int = 0, seconds: float = 300, tell: Callable[[int], None] = lambda count: None,
) -> Comparison:  # fmt: skip
    """As verifying.verify, without running more than `limit` bytes of model. NOT VERIFIED where that proves nothing."""
    inputs = replace(plan, placements=tuple(p for p in plan.placements if p.role == "input"))
    tails = [p for p in plan.placements if p.role == "output"]
    try:
        if any(p.guard is not None and p.guard.poisons for p in inputs.placements):
            raise Unproved("rows that --guard nan takes out of the answers are proved by running the model only")
        bare = _without(subject, tails)
        parts = compared(original, bare, inputs)
        found = Comparison(VERIFIED, "nothing changed before the outputs", seed, 0, (), (), (), {}, "proof")
        nodes = 0
        if parts.ends:
            beside = [n for p in inputs.placements if p.guard is not None for n in p.guard.outputs.values()]
            theirs = _cut(original, original.skeleton, parts.ends, limit)
            ours = _cut(bare.model, bare.proto, (*parts.ends, *beside), limit)
            content, nodes = ours.SerializeToString(), len(ours.graph.node)
            cut = Subject(ours, modelfile.open_model(content), content, subject.seams)
            small = modelfile.open_model(theirs)
            found, _ = verifying.verify(small, cut, inputs, data=data, seed=seed, seconds=seconds, tell=tell)
        seams = tuple(_tail(subject, p, seed, seconds) for p in tails)
    except (Unproved, Died) as why:
        reason = f"{why}. --verify-limit sets how large a model may be to be run whole"
        return Comparison(NOT_VERIFIED, reason, seed, 0, (), (), (), {}, "proof")
    broken = next((s for s in seams if not s.holds), None)
    if broken is not None:
        reason = (
            f"the scaled output {broken.tensor!r} is off by {broken.error:.3g}, over the bound of {broken.bound:.3g}"
        )
        return replace(found, verdict=DIFFERS, reason=reason, seams=(*found.seams, *seams), how="proof")
    reason = (
        f"proved: {found.reason} on what changed, {nodes} node(s) cut out; the other {parts.nodes:,} node(s) and "
        f"{parts.nbytes:,} bytes of constants are the original's, hashed"
    )
    reason = reason if found.verdict == VERIFIED else found.reason
    return replace(found, reason=reason, seams=(*found.seams, *seams), how="proof")


def _without(subject: Subject, tails: Sequence[Placement]) -> Subject:
    """The baked model without the nodes that scale its outputs back."""
    if not tails:
        return subject
    proto = onnx.ModelProto()
    proto.CopyFrom(subject.proto)
    for p in tails:
        inner = subject.seams.get((p.role, p.spec.name))
        if inner is None or p.form != "nodes":
            raise Unproved(
                f"the layer behind output {p.spec.name!r} took the target's scaler in, which only running it proves"
            )
        tail, waiting = list[onnx.NodeProto](), [p.spec.name]
        while waiting:
            name = waiting.pop()
            found = [n for n in proto.graph.node if name in n.output and name != inner and n not in tail]
            tail += found
            waiting += [n for node in found for n in node.input]
        for node in tail:
            proto.graph.node.remove(node)
        graph.rewire(proto.graph, inner, p.spec.name, keep_shape_readers=False)
        for node in proto.graph.node:
            node.output[:] = [p.spec.name if n == inner else n for n in node.output]
    return replace(subject, proto=proto)


def _tail(subject: Subject, p: Placement, seed: int, seconds: float) -> SeamCheck:
    """The nodes that scale an output back, on values that a model trained on scaled targets gives, and on extreme ones."""
    rng = np.random.default_rng(seed)
    dims = [d if isinstance(d, int) else 64 for d in (p.spec.shape or (None, *p.transform.shape))]
    values = {"in distribution": 1.0, "six sigmas": 6.0, "large": 1e6, "tiny": 1e-30}
    before = [(rng.standard_normal(dims) * size).astype(p.inner_dtype) for size in values.values()]
    feeds = [Feed(label, {p.spec.name: v}, size <= 6) for (label, size), v in zip(values.items(), before, strict=True)]
    with started(1 << 20, seconds) as worker:
        inner = subject.seams[p.role, p.spec.name]
        found = seam.check(worker, subject.proto, p, inner, feeds, loaded(subject.model), before)
    if isinstance(found, str):
        raise Unproved(found)
    return found


def compared(original: ModelFile, subject: Subject, plan: Plan) -> Parts:
    """What is the same in both models, and the ends at which the rest must agree. Raises Unproved."""
    theirs, ours = original.skeleton, subject.proto
    if [f.SerializeToString() for f in theirs.functions] != [f.SerializeToString() for f in ours.functions]:
        raise Unproved("the models have different local functions")
    held = [{t.name: t for t in proto.graph.initializer} for proto in (theirs, ours)]
    scaled = {p.spec.name for p in plan.placements}
    state = {v.name: RAW if v.name in scaled else SAME for v in ours.graph.input}
    same = _Sameness(original, subject.model)
    for name, tensor in held[1].items():
        state[name] = SAME if name in held[0] and same.tensors(held[0][name], tensor) else CONST
    for sparse in ours.graph.sparse_initializer:
        state[sparse.values.name] = SAME if sparse in theirs.graph.sparse_initializer else CONST
    before = {tuple(n.output): n for n in theirs.graph.node}
    static, ends, nodes = set(held[1]), list[str](), 0
    for node in ours.graph.node:
        reads = {n for n in (*node.input, *walk.captured(node)) if n}
        states = {state.get(n, RAW) for n in reads}
        twin = before.get(tuple(node.output))
        equal = twin is not None and same.nodes(twin, node)
        if reads <= static:
            static.update(node.output)
            now = SAME if equal and states <= {SAME} else CONST
        elif equal and states <= {SAME}:
            now = SAME
        elif twin is None or (equal and CONST not in states and node.op_type not in graph.SHAPE_READERS):
            now = RAW
        else:
            now = SAME
            ends += [o for o in node.output if o]
        nodes += equal and now == SAME
        state.update(dict.fromkeys(node.output, now))
    for output in theirs.graph.output:
        if state.get(output.name) != SAME:
            ends.append(output.name)
    return Parts(tuple(ends), nodes, same.nbytes)


@dataclass
class _Sameness:
    """Whether parts of two skeletons are equal, contents included. nbytes: how much of their tensors was found equal."""

    original: ModelFile
    baked: ModelFile
    nbytes: int = 0

    def nodes(self, a: onnx.NodeProto, b: onnx.NodeProto) -> bool:
        one, two = onnx.ModelProto(), onnx.ModelProto()
        one.graph.node.append(a)
        two.graph.node.append(b)
        inside = [_held(one), _held(two)]
        if len(inside[0]) != len(inside[1]) or not all(self._contents(x, y) for x, y in zip(*inside, strict=True)):
            return False
        return one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)

    def tensors(self, a: onnx.TensorProto, b: onnx.TensorProto) -> bool:
        one, two = onnx.TensorProto(), onnx.TensorProto()
        one.CopyFrom(a)
        two.CopyFrom(b)
        return (a.dims, a.data_type) == (b.dims, b.data_type) and self._contents(one, two)

    def _contents(self, a: Any, b: Any) -> bool:
        """Whether two tensors (or lists) hold the same bytes; where they do not lie in the message, it forgets where."""
        one, two = _place(self.original, a), _place(self.baked, b)
        if one is None or two is None:
            equal = one is two and a.SerializeToString() == b.SerializeToString()
            self.nbytes += tensors.nbytes(a) if equal else 0
            return equal
        there = one[0] is two[0] or (isinstance(one[0], str) and one[0] == two[0])
        equal = (there and one[1:] == two[1:]) or _digest(*one) == _digest(*two)
        if equal:
            self.nbytes += one[2]
            for message in (a, b):
                message.ClearField("doc_string" if isinstance(message, onnx.AttributeProto) else "external_data")
        return equal


Place = tuple[ModelFile | str, int, int]  # offset and length in a model's own file, or in the file of this path


def _held(model: onnx.ModelProto) -> list[Any]:
    """The tensors in the attributes of a model's nodes, and the lists that are stubs."""
    attributes = (a for body in walk.bodies(model) for node in body.graph.node for a in node.attribute)
    return [*walk.tensors(model), *(a for a in attributes if lazy.listed(a) is not None)]


def _place(model: ModelFile, message: onnx.TensorProto | onnx.AttributeProto) -> Place | None:
    """Where the bytes lie that a stub or an external tensor speaks of; None for a message that holds them itself."""
    stub = lazy.listed(message) if isinstance(message, onnx.AttributeProto) else lazy.payload(message)
    if stub is not None:
        return model, *stub
    if isinstance(message, onnx.AttributeProto) or not tensors.is_outside(message):
        return None
    location = external.entries(message).get("location", "")
    path = external.located(external.needs_path(model.path, message), location, message.name)
    return str(path), external.extent(message)[0], tensors.nbytes(message)


def _digest(where: ModelFile | str, offset: int, length: int) -> str:
    total = hashlib.sha256()
    if isinstance(where, str):
        descriptor = external.opened(Path(where), real=True)
        try:
            for at in range(offset, offset + length, CHUNK):
                total.update(os.pread(descriptor, min(CHUNK, offset + length - at), at))
        finally:
            os.close(descriptor)
    else:
        for at in range(offset, offset + length, CHUNK):
            total.update(where.read(at, min(CHUNK, offset + length - at)))
    return total.hexdigest()


def _cut(model: ModelFile, proto: onnx.ModelProto, ends: Sequence[str], limit: int) -> onnx.ModelProto:
    """The part of a model from its inputs to the ends, with its constants."""
    left = limit

    def weighed(tensor: onnx.TensorProto) -> onnx.TensorProto:
        nonlocal left
        left -= tensors.nbytes(tensor)
        if left < 0:
            raise Unproved(f"the part of the model up to {names(ends, 3)} has over {limit:,} bytes of its own")
        return loaded(model)(tensor)

    made = seam.cut(proto, proto.graph.input, ends, weighed)
    if made is None:
        raise Unproved(f"what changed cannot be cut out of the model: {names(ends, 3)} do not follow from its inputs")
    for tensor in walk.tensors(made):
        tensor.CopyFrom(loaded(model)(tensor))
    for attribute in (a for body in walk.bodies(made) for node in body.graph.node for a in node.attribute):
        place = lazy.listed(attribute)
        if place is not None:
            attribute.ClearField("doc_string")
            attribute.MergeFromString(model.read(*place))
    return made


def size(model: ModelFile) -> int:
    """The bytes of a model, external data included."""
    outside = (t for t in walk.tensors(model.skeleton) if tensors.is_outside(t))
    return len(model.data) + sum(p.stat().st_size for p in external.files(model.path, outside).values())


def default_limit() -> int:
    """A quarter of the machine's memory, in bytes; 4 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (AttributeError, ValueError, OSError):
        return 4 << 30
