"""What a bake leaves in the model's metadata, as JSON: the scalers bit by bit, where they come from, how to undo it, and a
few rows with their answers. The published schema is schemas/record.schema.json. Nothing in it depends on time or place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from onnxscale import baking, recognition
from onnxscale.baking import Edited
from onnxscale.comparing import Comparison
from onnxscale.errors import ModelError
from onnxscale.folding import Absorption
from onnxscale.guarding import Guard
from onnxscale.modelfile import ModelFile
from onnxscale.plans import Converted, Placement, Plan
from onnxscale.step import Array
from onnxscale.transform import encode
from onnxscale.verifying import Golden

FORMAT = "onnxscale-record/1"


def version() -> str:
    return metadata.version("onnxscale")


def make(
    model: ModelFile, plan: Plan, edited: Edited, comparison: Comparison | None, golden: Golden | None, sha256: str
) -> dict[str, Any]:
    """The record of one bake. comparison: what verification found, None where it was left out. sha256: of the model."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "tool": {"name": "onnxscale", "version": version()},
        "scalers": [
            *([] if plan.converted is None else [_converted(plan.converted, edited.seams)]),
            *(_scaler(p, edited.seams) for p in plan.placements),
        ],
        "original": {"sha256": sha256, "size": len(model.data)},
        **baking.undo(model, edited, plan.keep_original),
    }
    before = recognition.recorded(model)
    if before is not None:
        earlier = {k: v for k, v in before.items() if k not in ("undo", "earlier")}
        older = before.get("earlier")
        record["earlier"] = [earlier, *(older if isinstance(older, list) else [])]
    else:
        met = [_met(model, p) for p in plan.placements if p.role == "input"]
        if any(met):
            record["earlier"] = [{"scalers": [m for m in met if m]}]
    if comparison is not None:
        record["verification"] = {
            "verdict": comparison.verdict,
            "reason": comparison.reason,
            "seed": comparison.seed,
            "how": comparison.how,
            "versions": dict(comparison.versions),
        }
    if golden is not None:
        record["golden"] = {
            "inputs": {n: _array(v) for n, v in golden.raw.items()},
            "outputs": {n: _array(v) for n, v in golden.outputs.items()},
            "tolerance": dict(golden.tolerance),
        }
    return record


def _scaler(p: Placement, seams: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    f = p.fitted
    known = {
        "features": list(f.features),
        "units": list(f.units),
        "data_min": None if f.data_min is None else encode(f.data_min),
        "data_max": None if f.data_max is None else encode(f.data_max),
        "seam": seams.get((p.role, p.spec.name)),
    }
    return {
        "role": p.role,
        "tensor": p.spec.name,
        "kind": f.scaler.kind,
        "steps": p.transform.to_json(),
        "axis": p.axis,
        "form": p.form,
        "precision": p.precision,
        "dtypes": {"graph": p.graph_dtype, "arithmetic": p.dtype, "inside": p.inner_dtype},
        **({"absorbed": [_absorbed(a) for a in p.fold.absorptions]} if p.fold is not None and p.form == "fold" else {}),
        **{k: v for k, v in known.items() if v not in (None, [])},
        **({"fed": dict(p.fed)} if p.fed else {}),
        **({} if f.profile is None else {"profile": f.profile.to_json(packed=True)}),
        **({} if p.guard is None else {"guard": _guard(p.guard, seams)}),
        **({"applied": True} if f.applied else {}),
        **({"given": f.given.to_json()} if f.given is not None and f.given.steps else {}),
        "source": p.source.to_json(),
    }


def _guard(guard: Guard, seams: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    unpoisoned = {n: seams["poisoned", n] for n in guard.poisons}
    return guard.to_json() | ({"unpoisoned": unpoisoned} if unpoisoned else {})


def _met(model: ModelFile, p: Placement) -> dict[str, Any] | None:
    """The scaler of somebody else's with which the model starts already, as an entry of its own; a fold may absorb it too."""
    found = recognition.leading(model, p.spec.name)
    if not found.is_scaler:
        return None
    source = {"format": "onnx graph", "path": model.name}
    return {
        "role": "input",
        "tensor": p.spec.name,
        "kind": "steps",
        "steps": found.transform.to_json(),
        "axis": found.axis,
        "source": source,
    }


def _converted(c: Converted, seams: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """A transformer that no steps stand for: what it is, and what the app feeds it."""
    return {
        "role": "input", "tensor": c.spec.name, "kind": "sklearn", "steps": [], "axis": 1, "form": "nodes",
        "precision": "exact" if c.dtype == "float64" else "single",
        "dtypes": {"graph": c.fed[0].dtype, "arithmetic": c.dtype, "inside": c.spec.dtype},
        "converted": {"by": f"skl2onnx {c.version}", "classes": c.prose, "inputs": [s.name for s in c.fed]},
        "features": [col.name for col in c.columns],
        "seam": seams["input", c.spec.name],
        "source": c.source.to_json(),
    }  # fmt: skip


def _absorbed(a: Absorption) -> dict[str, Any]:
    known = {"reason": a.reason, "bound": a.bound if a.bound is None or math.isfinite(a.bound) else None}
    return {"node": a.node, "taken": a.taken, **{k: v for k, v in known.items() if v not in ("", None)}}


def _array(values: Array) -> dict[str, Any]:
    flat = encode(values.ravel().astype(np.float64)) if values.dtype.kind == "f" else values.ravel().tolist()
    return {"dtype": values.dtype.name, "shape": list(values.shape), "values": flat}


def array(content: Any, where: str) -> Array:
    """The reverse of what the record holds an array as. Raises ModelError naming the place."""
    try:
        spelled = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
        values = [spelled.get(v, v) if isinstance(v, str) else v for v in content["values"]]
        return np.asarray(np.array(values).astype(np.dtype(content["dtype"])).reshape(content["shape"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the record is damaged at {where}: {error}") from None


def golden_of(record: Mapping[str, Any]) -> Golden | None:
    """The golden vectors of a record, or None where it has none. Raises ModelError where they are damaged."""
    content = record.get("golden")
    if content is None:
        return None
    try:
        raw = {n: array(v, f"golden.inputs.{n}") for n, v in content["inputs"].items()}
        outputs = {n: array(v, f"golden.outputs.{n}") for n, v in content["outputs"].items()}
        return Golden(raw, outputs, {n: float(v) for n, v in content["tolerance"].items()})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"the record is damaged at golden: {error}") from None
