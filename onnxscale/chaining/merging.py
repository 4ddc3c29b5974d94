"""One ONNX file of a chain: the names of each stage prefixed, the operator sets brought to one, adapters where declared spaces ask for
them; proved by running the stages one after the other on the same rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import compose, helper

from onnxscale import graph, pipeline, recognition, saving, walk
from onnxscale.baking import entry
from onnxscale.chaining import checking, proof, tensors
from onnxscale.chaining.checking import DIFFERS, Checked, Report
from onnxscale.chaining.document import Chain
from onnxscale.comparing import Comparison
from onnxscale.errors import ChainError, VerificationError
from onnxscale.graph import ELEMENTS, Writer
from onnxscale.steps import OPERATORS

LIMIT = (1 << 31) - (1 << 24)
FORMAT = "onnxscale-record/1"


@dataclass(frozen=True, eq=False)
class Merged:
    """A chain as one model, not yet saved. inputs, outputs: its tensors -> (stage, tensor). adapted: the edges that got an adapter.
    notes: what the user should know."""

    report: Report
    proto: onnx.ModelProto
    inputs: Mapping[str, tuple[str, str]]
    outputs: Mapping[str, tuple[str, str]]
    models: Mapping[str, onnx.ModelProto]
    adapted: tuple[Checked, ...]
    notes: tuple[str, ...]
    comparison: Comparison | None = None

    def verify(self, *, seed: int = 0, seconds: float = 300) -> Merged:
        """Run the stages one by one and the merged model, and compare. Never raises for what a model does."""
        return replace(self, comparison=proof.compared(self, seed, seconds))

    def to_bytes(self) -> bytes:
        return self.proto.SerializeToString(deterministic=True)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the model, complete or not at all. Raises OutputError."""
        out, content = Path(os.path.abspath(path)), self.to_bytes()
        saving.place(out, lambda target: saving.write(target, content), replace=force)
        return out


def merge(chain: Chain) -> Merged:
    """The models of a chain as one. Raises ChainError where a stage is no model, where ends differ and no adapter helps, and where
    the models' operators cannot be brought to one version."""
    report = checking.check(chain)
    services = [s.name for s in chain.stages.values() if s.contract]
    if services:
        raise ChainError(f"{', '.join(services)}: services with a contract cannot be merged; a merge is of models")
    for text in report.conflicts:
        raise ChainError(text)
    broken = next((e for e in report.edges if e.verdict == DIFFERS and e.adapter is None), None)
    broken = broken or next((e for e in report.edges if e.verdict == DIFFERS and len(e.reasons) > 2), None)
    if broken is not None:
        raise ChainError(f"{broken.edge.prose()}: {'; '.join(broken.reasons)}")
    models = _loaded(chain)
    versions = _versions(models)
    whole = {n: _at(n, m, versions) for n, m in models.items()}
    return _merged(report, models, whole, versions)


def _loaded(chain: Chain) -> dict[str, onnx.ModelProto]:
    found, total = dict[str, onnx.ModelProto](), 0
    for name, stage in chain.stages.items():
        model = pipeline.opened(chain.at(stage.model))
        found[name] = (
            onnx.load(model.path) if model.path else onnx.ModelProto.FromString(model.read(0, len(model.data)))
        )
        total += found[name].ByteSize()
        if total > LIMIT:
            raise ChainError(
                f"the models have more than {LIMIT:,} bytes together, which one file cannot hold; serve them apart"
            )
    return found


def _versions(models: Mapping[str, onnx.ModelProto]) -> dict[str, int]:
    """The operator sets of the merged model: the newest of each."""
    newest: dict[str, int] = {}
    for model in models.values():
        for held in model.opset_import:
            domain = "" if held.domain == "ai.onnx" else held.domain
            newest[domain] = max(newest.get(domain, 0), held.version)
    return newest


def _at(name: str, model: onnx.ModelProto, versions: Mapping[str, int]) -> onnx.ModelProto:
    """A model at these operator sets: as it is where its operators mean the same there, else converted."""
    for domain, wanted in versions.items():
        now = graph.opset(model, domain)
        if now is None or now == wanted:
            continue
        moved = sorted(
            {n.op_type for n in _nodes(model) if (n.domain or "") == domain and _moved(n, domain, now, wanted)}
        )
        if not moved:
            continue
        if domain:
            raise ChainError(
                f"{name}: {', '.join(moved[:4])} of {domain} changed between versions {now} and {wanted}; export it again"
            )
        try:
            model = onnx.version_converter.convert_version(model, wanted)
        except (RuntimeError, ValueError) as error:
            why = str(error).splitlines()[0][:160]
            raise ChainError(
                f"{name}: cannot be brought from opset {now} to {wanted} ({why}); export it again"
            ) from None
    return model


def _nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for body, _ in walk.bodies(model) for node in body.node]


def _moved(node: onnx.NodeProto, domain: str, now: int, wanted: int) -> bool:
    try:
        return bool(
            onnx.defs.get_schema(node.op_type, now, domain).since_version
            != onnx.defs.get_schema(node.op_type, wanted, domain).since_version
        )
    except onnx.defs.SchemaError:
        return bool(domain in ("", "ai.onnx.ml"))


def _merged(
    report: Report,
    models: Mapping[str, onnx.ModelProto],
    whole: Mapping[str, onnx.ModelProto],
    versions: Mapping[str, int],
) -> Merged:
    made = onnx.ModelProto(ir_version=max(m.ir_version for m in whole.values()), producer_name="onnxscale")
    made.opset_import.extend(helper.make_opsetid(d, v) for d, v in versions.items())
    made.graph.name = report.chain.name
    parts = {n: compose.add_prefix(m, f"{n}/") for n, m in whole.items()}
    taken = {t for p in parts.values() for t in graph.used_names(p)}
    fed = {(e.edge.target, e.edge.input): e for e in report.edges}
    used = {(e.edge.source, e.edge.output) for e in report.edges}
    frees = [(n, v) for n, m in whole.items() for v in _inputs(m) if (n, v.name) not in fed]
    ends = [(n, v) for n, m in whole.items() for v in m.graph.output if (n, v.name) not in used]
    names = _names([*frees, *ends], taken)
    for i, (stage, value) in enumerate(frees):
        _boundary(made.graph.input, value, names[i])
        made.graph.node.append(_identity(names[i], f"{stage}/{value.name}"))
    for stage in tensors.order(report.chain, [e.ends for e in report.edges]):
        for (target, tensor), e in fed.items():
            if target == stage:
                made.graph.node.extend(
                    _adapter(made, e, f"{e.edge.source}/{e.edge.output}", f"{target}/{tensor}", taken)
                )
        part = parts[stage].graph
        made.graph.node.extend(part.node)
        made.graph.initializer.extend(part.initializer)
        made.graph.sparse_initializer.extend(part.sparse_initializer)
        made.graph.value_info.extend(part.value_info)
        made.graph.quantization_annotation.extend(part.quantization_annotation)
        made.functions.extend(parts[stage].functions)
    for (stage, value), name in zip(ends, names[len(frees) :], strict=True):
        _boundary(made.graph.output, value, name)
        if value.type.HasField("tensor_type"):
            made.graph.node.append(_identity(f"{stage}/{value.name}", name))
        else:  # sequences and maps, which Identity takes late or never
            _rename(made, f"{stage}/{value.name}", name)
    inputs = {names[i]: (s, v.name) for i, (s, v) in enumerate(frees)}
    outputs = {names[len(frees) + i]: (s, v.name) for i, (s, v) in enumerate(ends)}
    _record(made, models, {**inputs, **outputs})
    adapted = tuple(e for e in report.edges if e.verdict == DIFFERS)
    notes = [f"{e.edge.prose()}: {'; '.join(e.reasons)}" for e in report.edges if e.verdict == checking.UNKNOWN]
    return Merged(report, made, inputs, outputs, models, adapted, tuple(notes))


def _rename(made: onnx.ModelProto, old: str, new: str) -> None:
    graph.rewire(made.graph, old, new, keep_shape_readers=False)
    for node in made.graph.node:
        for i, name in enumerate(node.output):
            if name == old:
                node.output[i] = new


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    held = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in held]


def _names(values: Sequence[tuple[str, onnx.ValueInfoProto]], taken: set[str]) -> list[str]:
    """The own name of each where no other has it, else the stage and the name."""
    plain = [v.name for _, v in values]
    return [v.name if plain.count(v.name) == 1 and v.name not in taken else f"{s}.{v.name}" for s, v in values]


def _boundary(values: Any, value: onnx.ValueInfoProto, name: str) -> None:
    values.add().CopyFrom(value)
    values[-1].name = name


def _identity(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [target], name=f"onnxscale/{source} to {target}")


def _adapter(made: onnx.ModelProto, e: Checked, source: str, target: str, taken: set[str]) -> list[onnx.NodeProto]:
    """The nodes from one stage's tensor to the next one's, in float64 where values change on the way."""
    if e.adapter is None or not e.adapter.steps:
        return [_identity(source, target)]
    spec = e.ends.taken.spec
    assert spec is not None
    axis = e.ends.given.space.axis if e.ends.given.space.axis is not None else e.ends.taken.space.axis
    writer = Writer(made, taken, target, np.float64, spec, -1 if axis is None else axis)
    x = writer.node("Cast", source, to=np.float64)
    for step in e.adapter.steps:
        x = OPERATORS[step.op].nodes(writer, x, step)
    last = helper.make_node("Cast", [x], [target], name=writer.name("Cast"), to=ELEMENTS[spec.dtype])
    made.graph.initializer.extend(writer.initializers)
    return [*writer.nodes, last]


def _record(
    made: onnx.ModelProto, models: Mapping[str, onnx.ModelProto], boundary: Mapping[str, tuple[str, str]]
) -> None:
    """What the stages' records say of the tensors that are still inputs and outputs, so that inspect and lock can say it."""
    names = {(stage, tensor): name for name, (stage, tensor) in boundary.items()}
    kept, digests = list[dict[str, Any]](), dict[str, str]()
    for stage, model in models.items():
        content = model.SerializeToString(deterministic=True)
        digests[stage] = hashlib.sha256(content).hexdigest()
        held: dict[str, Any] = next((json.loads(e.value) for e in model.metadata_props if e.key == recognition.KEY), {})
        for scaler in held.get("scalers", []):
            name = names.get((stage, str(scaler.get("tensor"))))
            if name is not None:
                seam = {"seam": f"{stage}/{scaler['seam']}"} if "seam" in scaler else {}
                kept.append({**scaler, "tensor": name, **seam})
    if not kept:
        return
    whole = hashlib.sha256("".join(digests.values()).encode()).hexdigest()
    size = sum(m.ByteSize() for m in models.values())
    record = {
        "format": FORMAT, "tool": {"name": "onnxscale", "version": metadata.version("onnxscale")}, "scalers": kept,
        "original": {"sha256": whole, "size": size}, "not_kept": size, "chain": digests,
    }  # fmt: skip
    made.MergeFromString(entry(record))


def refuse(merged: Merged) -> None:
    """Raises VerificationError where the merged model was run and is not the chain."""
    c = merged.comparison
    if c is not None and not c.verified:
        raise VerificationError(f"{c.verdict}: {c.reason}. Nothing was written")
