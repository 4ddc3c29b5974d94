"""Our own statistics file (schemas/stats.schema.json): every float64 reads back bit-equal."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Fitted, Source, Statistics
from onnxscale.transform import Transform, encode


def write(statistics: Statistics) -> bytes:
    """The content of a statistics file. Raises StatisticsError where reading it back would not give the same scaler."""
    said = statistics.source
    about = {"source": _source(said)}
    if not statistics.outputs and set(statistics.inputs) == {None}:
        ddof = {} if said.ddof is None else {"ddof": said.ddof}
        scaler = _scaler(statistics.inputs[None])
        document = {**scaler, **({} if "ddof" in scaler else ddof), **about}
    else:
        if None in statistics.inputs or None in statistics.outputs:
            raise StatisticsError(
                "holds scalers of inputs and of outputs without their names; write each on its own, or name the tensors"
            )
        parts = (("inputs", statistics.inputs), ("outputs", statistics.outputs))
        document = {k: {str(n): _scaler(f) for n, f in v.items()} for k, v in parts if v} | about
    return (_laid_out(document) + "\n").encode()


def _source(said: Source) -> dict[str, object]:
    """Where the numbers come from: the file that was read, or what that file itself was made from."""
    known = {k: v for k, v in said.to_json().items() if k not in ("format", "path", "sha256")}
    read = " ".join(w for w in (said.format, said.path, said.sha256 and f"sha256:{said.sha256}") if w)
    return {"origin": read, **known}


def _laid_out(document: dict[str, Any]) -> str:
    """JSON to read and to compare: a value a line, but each profile, 65 quantiles for each column, on one."""
    texts: list[str] = []

    def cut(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = {k: cut(v) for k, v in value.items() if k != "profile"}
        if "profile" in value:
            texts.append(json.dumps(value["profile"], allow_nan=False, ensure_ascii=False))
            found["profile"] = len(texts) - 1
        return found

    whole = json.dumps(cut(document), indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r'(?m)^( *"profile": )(\d+)(,?)$', lambda m: f"{m[1]}{texts[int(m[2])]}{m[3]}", whole)


def _scaler(fitted: Fitted) -> dict[str, Any]:
    """By its kind where that reads back, else by its steps, which always do."""
    about = _about(fitted)
    fields = {f.name: _plain(getattr(fitted.scaler, f.name)) for f in dataclasses.fields(fitted.scaler)}  # type: ignore[arg-type]
    by_kind = {"kind": fitted.scaler.kind, **{k: v for k, v in fields.items() if v is not None}, **about}
    by_steps = {"kind": "steps", "steps": fitted.transform().to_json(), **about}
    for document in (by_kind, by_steps):
        if _reads_back(document, fitted.transform()):
            return document
    raise StatisticsError(f"a {fitted.scaler.kind} scaler of this form cannot be written as a statistics file")


def _about(fitted: Fitted) -> dict[str, Any]:
    found: dict[str, Any] = {} if fitted.axis is None else {"axis": fitted.axis}
    found |= {"applied": True} if fitted.applied else {}
    found |= {k: list(v) for k, v in (("features", fitted.features), ("units", fitted.units)) if v}
    own = {f.name for f in dataclasses.fields(fitted.scaler)}  # type: ignore[arg-type]
    known = (("data_min", fitted.data_min), ("data_max", fitted.data_max))
    found |= {k: v.tolist() for k, v in known if v is not None and k not in own}
    return found | ({} if fitted.profile is None else {"profile": fitted.profile.to_json()})


def _reads_back(document: dict[str, Any], transform: Transform) -> bool:
    try:
        text = json.dumps(document, allow_nan=False)
        found = sources.read(json.loads(text)).inputs[None]
    except (ValueError, TypeError, StatisticsError):
        return False
    return found.transform().to_json() == transform.to_json()


def _plain(value: Any) -> Any:
    if isinstance(value, Transform):
        return value.to_json()
    if isinstance(value, np.ndarray):
        return encode(value)
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
