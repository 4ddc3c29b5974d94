"""Results as JSON values: what `--json` prints. Not-a-number and infinities are spelled, as JSON has no number for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.comparing import Comparison
from onnxscale.looking import Inspection, Selftest
from onnxscale.pipeline import Baked
from onnxscale.plans import Placement, Plan


def value(item: Any) -> Any:
    """Any value as JSON values: arrays as lists, dataclasses as objects."""
    if isinstance(item, np.ndarray):
        return [value(v) for v in item.tolist()] if item.ndim else value(item.item())
    if isinstance(item, np.generic):
        return value(item.item())
    if isinstance(item, bytes):
        return item.decode("utf-8", "backslashreplace")
    if isinstance(item, float):
        return item if math.isfinite(item) else str(item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {f.name: value(getattr(item, f.name)) for f in dataclasses.fields(item) if not f.name.startswith("_")}
    if isinstance(item, Mapping):
        return {str(k): value(v) for k, v in item.items()}
    if isinstance(item, list | tuple | set | frozenset):
        return [value(v) for v in item]
    return item


def plan(p: Plan) -> dict[str, Any]:
    return {
        "model": p.model,
        "placements": [placement(x) for x in p.placements],
        "converted": None
        if p.converted is None
        else {
            "tensor": value(p.converted.spec),
            "inputs": [value(s) for s in p.converted.fed],
            "classes": p.converted.prose,
            "by": f"skl2onnx {p.converted.version}",
            "arithmetic": p.converted.dtype,
            "source": p.converted.source.to_json(),
            "notes": list(p.converted.notes),
        },
        "unscaled_inputs": [value(s) for s in p.left],
        "notes": list(p.notes),
        "warnings": list(p.warnings),
    }


def placement(p: Placement) -> dict[str, Any]:
    return {
        "role": p.role,
        "tensor": value(p.spec),
        "kind": p.fitted.scaler.kind,
        "steps": p.transform.to_json(),
        "axis": p.axis,
        "axis_reason": p.axis_reason,
        "form": p.form,
        "precision": p.precision,
        "absorbed": []
        if p.fold is None
        else [
            {"node": a.node, "taken": a.taken, "reason": a.reason, "bound": value(a.bound)} for a in p.fold.absorptions
        ],
        "dtypes": {"graph": p.graph_dtype, "arithmetic": p.dtype, "inside": p.inner_dtype},
        "readers": list(p.readers),
        "shape_readers": list(p.shape_readers),
        "source": p.source.to_json(),
        "features": list(p.fitted.features),
        "guard": None if p.guard is None else p.guard.to_json(),
        "notes": list(p.notes),
        "warnings": list(p.warnings),
    }


def comparison(c: Comparison | None) -> dict[str, Any] | None:
    return None if c is None else dict(value(c))


def baked(b: Baked, out: str | None) -> dict[str, Any]:
    """What `bake --json` prints. out: where the model was written, None where it was not."""
    return {"out": out, "plan": plan(b.plan), "verification": comparison(b.comparison)}


def inspection(i: Inspection) -> dict[str, Any]:
    leading = {
        n: {"scaler": x.is_scaler, "ops": list(x.ops), "steps": x.transform.to_json(), "then": x.then, "axis": x.axis}
        for n, x in i.leading.items()
    }
    return {
        "model": i.name,
        "size": i.size,
        "ir_version": i.ir,
        "opsets": dict(i.opsets),
        "inputs": value(i.inputs),
        "outputs": value(i.outputs),
        "record": None if i.record is None else {k: v for k, v in i.record.items() if k != "undo"},
        "starts_with": leading,
        "fingerprints": dict(i.fingerprints),
    }


def selftest(s: Selftest) -> dict[str, Any]:
    return dict(value(s))
