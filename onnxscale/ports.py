"""The ports of a model: its inputs and outputs, each with the space of the values that cross the boundary and the space
of what the model itself computes with. Statistics files have ports too: what a tensor is once they scaled it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxscale import graph, modelfile, origins, recognition
from onnxscale.errors import ModelError
from onnxscale.graph import InputSpec
from onnxscale.modelfile import ModelFile
from onnxscale.recognition import Leading
from onnxscale.spaces import RAW, UNKNOWN, Space, compare
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.transform import Transform

_FLOAT32 = 2.0**-24
LIES = "its nodes do not compute what its record says; this is what they compute"


@dataclass(frozen=True, eq=False)
class Port:
    """An input or output. role: "input" or "output". name: of the tensor, None where a statistics file names none.
    outside: what crosses the boundary. inside: what the model's own operators see, or give. spec: None for statistics.
    how: "baked" (a record of ours), "recognized" (read back from leading nodes), "declared" (a file) or "bare".
    note: what contradicts that, or "". maybe: of a bare input, what its graph starts with, which may be a scaler or the
    model's own arithmetic."""

    role: str
    name: str | None
    outside: Space
    inside: Space
    how: str
    spec: InputSpec | None = None
    note: str = ""
    maybe: Space | None = None


def of(source: object, reading: Reading | None = None) -> tuple[Port, ...]:
    """The ports of a model (a path, URL, bytes, ModelProto) or of statistics from any source.

    Raises ModelError or StatisticsError for what cannot be read.
    """
    if origins.is_model(source):
        with modelfile.open_model(source) as model:  # type: ignore[arg-type]
            return of_model(model)
    return of_statistics(origins.read(source, reading))


def of_model(model: ModelFile) -> tuple[Port, ...]:
    """The ports of an open model, from its record, else from what its graph starts with. Runs nothing."""
    odd = [v.name for v in (*model.skeleton.graph.input, *model.skeleton.graph.output) if not isinstance(v.name, str)]
    if odd:  # protobuf gives text that is not UTF-8 as bytes
        raise ModelError(f"{model.name}: the name {odd[0]!r} in its graph is not UTF-8; the model is damaged")
    record = recognition.recorded(model)
    inputs = [_input(model, record, spec) for spec in graph.inputs(model.skeleton)]
    beside = recognition.guard_outputs(model)
    outputs = [_output(model, record, s) for s in graph.outputs(model.skeleton) if s.name not in beside]
    return (*inputs, *outputs)


def of_statistics(statistics: Statistics) -> tuple[Port, ...]:
    """The ports that statistics speak of; their inside is the scaled values."""
    parts = (("input", statistics.inputs), ("output", statistics.outputs))
    return tuple(
        Port(role, name, _raw(space), space, "declared")
        for role, part in parts
        for name, space in ((n, of_fitted(f, statistics.source)) for n, f in part.items())
    )


def of_fitted(fitted: Fitted, source: Source) -> Space:
    """The space of values that a scaler made."""
    return Space(fitted.transform(), fitted.axis, fitted.features, fitted.units, source=source)


def _input(model: ModelFile, record: Mapping[str, Any] | None, spec: InputSpec) -> Port:
    entries = _entries(record, "input", spec.name)
    if any("converted" in e for e in entries):
        return Port("input", spec.name, RAW, UNKNOWN, "baked", spec)
    if entries:
        parts = [Transform.from_json(e.get("steps")) for e in entries]
        given = _given(entries[0])
        recorded = _space(entries, given | _joined(parts), spec)
        found = _contradiction(model, entries[0], parts[0])
        if found is None:
            outside = replace(recorded, transform=given) if given.steps else _raw(recorded)
            return Port("input", spec.name, outside, recorded, "baked", spec)
        nodes = replace(recorded, transform=_joined([found, *parts[1:]]), rounding=_FLOAT32)
        return Port("input", spec.name, RAW, nodes, "recognized", spec, LIES)
    if record is None and spec.dtype in graph.FLOATS:
        lead = recognition.leading(model, spec.name)
        rank = None if spec.shape is None else len(spec.shape)
        if lead.is_scaler:
            return Port("input", spec.name, RAW, _seen(model, lead, rank), "recognized", spec)
        lead = recognition.normalized(model, lead, rank)
        if lead.ops:
            return Port("input", spec.name, UNKNOWN, UNKNOWN, "bare", spec, maybe=_seen(model, lead, rank))
    return Port("input", spec.name, UNKNOWN, UNKNOWN, "bare", spec)


def _seen(model: ModelFile, lead: Leading, rank: int | None) -> Space:
    """What leading nodes make of an input."""
    axis = lead.axis if rank is None else lead.axis + rank
    known = Source("onnx graph", model.name)
    return Space(lead.transform, axis if lead.transform.shape else None, rounding=_FLOAT32, source=known)


def _given(entry: Mapping[str, Any]) -> Transform:
    """What values are before an adapter, as a function of raw ones; the empty one where they are raw."""
    return Transform.from_json(entry["given"]) if "given" in entry else Transform()


def _joined(parts: Iterable[Transform]) -> Transform:
    return Transform(tuple(s for p in parts for s in p.steps))


def _contradiction(model: ModelFile, entry: Mapping[str, Any], recorded: Transform) -> Transform | None:
    """What the nodes of a bake compute where that is not what its record says; None where they agree, or are not all of a
    kind that can be read back."""
    seam = entry.get("seam")
    if entry.get("form") != "nodes" or not isinstance(seam, str):
        return None
    lead = recognition.leading(model, str(entry.get("tensor")), until=seam)
    if lead.seam != seam or not recorded.elementwise:
        return None
    here, there = (Space(t, rounding=_FLOAT32) for t in (recorded, lead.transform))
    return None if compare(here, there) is None else lead.transform


def _output(model: ModelFile, record: Mapping[str, Any] | None, spec: InputSpec) -> Port:
    entries = _entries(record, "output", spec.name)
    if not entries:
        return Port("output", spec.name, UNKNOWN, UNKNOWN, "bare", spec)
    steps = tuple(s for e in reversed(entries) for s in Transform.from_json(e.get("steps")).steps)
    if entries[0].get("applied") is True:  # what leaves is what the newest bake made of it
        given = _given(entries[0])
        outside = _space(entries, given | Transform.from_json(entries[0].get("steps")), spec)
        return Port("output", spec.name, outside, replace(outside, transform=given), "baked", spec)
    forward = Transform(steps).inverse()
    if forward is None:
        raise ModelError(f"{model.name}: the scaler of output {spec.name!r} has no inverse")
    inside = _space(entries, forward, spec)
    return Port("output", spec.name, _raw(inside), inside, "baked", spec)


def _raw(inside: Space) -> Space:
    """Raw values of the features that a scaler was made for."""
    return replace(RAW, features=inside.features, units=inside.units)


def _entries(record: Mapping[str, Any] | None, role: str, tensor: str) -> list[Mapping[str, Any]]:
    """What was baked onto a tensor, the newest bake first: its steps run before those of earlier ones."""
    if record is None:
        return []
    bakes = [record, *(e for e in record.get("earlier", []) if isinstance(e, Mapping))]
    listed = [s for b in bakes for s in b.get("scalers", []) if isinstance(s, Mapping)]
    return [s for s in listed if s.get("role") == role and s.get("tensor") == tensor]


def _space(entries: list[Mapping[str, Any]], transform: Transform, spec: InputSpec) -> Space:
    entry = entries[0]
    rounding = _FLOAT32 if any(e.get("source", {}).get("format") == "onnx graph" for e in entries) else 0.0
    axis = entry.get("axis") if transform.shape else None
    if axis is not None and axis < 0 and spec.shape is not None:
        axis += len(spec.shape)
    features, units = (tuple(map(str, entry.get(k, ()))) for k in ("features", "units"))
    kept = {k: v for k, v in entry.get("source", {}).items() if k in Source.__dataclass_fields__}
    source = Source(**{"format": "onnx record", **kept})
    return Space(transform, axis, features, units, rounding, source)
