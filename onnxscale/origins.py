"""Statistics from all that a bake takes: what sources/ reads, and ONNX models that carry a scaler themselves, the one that
onnxscale recorded or the one that their graph starts with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from onnxscale import graph, modelfile, recognition, remote, sources
from onnxscale.errors import ModelError, StatisticsError
from onnxscale.modelfile import ModelFile
from onnxscale.profile import Profile
from onnxscale.scalers import Steps
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.transform import Transform, decode

_IR_VERSION = b"\x08"  # field 1 of a ModelProto, which every writer puts first; no other format that is read starts so


def read(source: object, reading: Reading | None = None) -> Statistics:
    """As sources.read, and for an ONNX model (a path, bytes, a ModelProto) the scaler that it carries.

    Raises StatisticsError for a model that carries none.
    """
    reading = reading or Reading()
    if not is_model(source):
        return sources.read(source, reading)
    try:
        with modelfile.open_model(source) as model:  # type: ignore[arg-type]
            return sources.linted(_carried(model, reading), reading)
    except ModelError as error:
        raise StatisticsError(str(error)) from None


def is_model(source: object) -> bool:
    """Whether a source is an ONNX model rather than statistics: known by its first byte; a URL by its suffix."""
    if isinstance(source, onnx.ModelProto):
        return True
    if isinstance(source, bytes):
        return source[:1] == _IR_VERSION
    if isinstance(source, str) and remote.is_url(source):
        return source.partition("?")[0].endswith(".onnx")
    if not isinstance(source, str | os.PathLike) or not Path(source).is_file():
        return False
    with Path(source).open("rb") as file:
        return file.read(1) == _IR_VERSION


def _carried(model: ModelFile, reading: Reading) -> Statistics:
    record = recognition.recorded(model)
    if record is not None:
        return _recorded(model, record)
    found = {
        s.name: recognition.leading(model, s.name) for s in graph.inputs(model.skeleton) if s.dtype in graph.FLOATS
    }
    scalers = {name: lead for name, lead in found.items() if lead.is_scaler}
    if not scalers:
        starts = "; ".join(f"after {n!r} comes {x.then or 'nothing'}" for n, x in found.items()) or "no float input"
        raise StatisticsError(f"{model.name}: an ONNX model that carries no scaler ({starts}); expected statistics")
    name, lead = picked(scalers, reading, "inputs with a scaler")
    notes = (f"read back from the nodes after input {name!r} of {model.name}",)
    fitted = Fitted(Steps(lead.transform), axis=lead.axis if lead.transform.shape else None, notes=notes)
    return Statistics({None: fitted}, {}, Source("onnx graph", model.name, model.sha256()))


def _recorded(model: ModelFile, record: Mapping[str, Any]) -> Statistics:
    parts: dict[str, dict[str | None, Fitted]] = {"input": {}, "output": {}}
    listed = [s for s in record.get("scalers", []) if s.get("role") in parts]
    for entry in listed:
        alone = sum(s["role"] == entry["role"] for s in listed) == 1
        parts[entry["role"]][None if alone else str(entry.get("tensor"))] = _fitted(model, entry)
    first: Mapping[str, Any] = next((s.get("source", {}) for s in listed), {})
    source = Source("onnx record", model.name, model.sha256()).told(first)
    return Statistics(parts["input"], parts["output"], source)


def _fitted(model: ModelFile, entry: Mapping[str, Any]) -> Fitted:
    if "converted" in entry:
        raise StatisticsError(
            f"{model.name}: carries a {entry['converted'].get('classes')} that was converted as a whole; take the transformer itself"
        )
    transform = Transform.from_json(entry.get("steps"))
    applied = entry.get("applied") is True
    if entry["role"] == "output" and not applied:  # the record has what was baked: the inverse of the target's scaler
        forward = transform.inverse()
        if forward is None:
            raise StatisticsError(f"{model.name}: the scaler of output {entry.get('tensor')!r} has no inverse")
        transform = forward
    ends = [None if entry.get(k) is None else decode(entry[k], k) for k in ("data_min", "data_max")]
    return Fitted(
        Steps(transform),
        axis=entry.get("axis") if transform.shape else None,
        features=tuple(map(str, entry.get("features", ()))),
        units=tuple(map(str, entry.get("units", ()))),
        data_min=ends[0],
        data_max=ends[1],
        profile=Profile.from_json(entry["profile"]) if "profile" in entry else None,
        notes=(f"the scaler that onnxscale recorded in {model.name}",),
        applied=applied,
    )
