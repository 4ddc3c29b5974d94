"""How a baked file was made, read from its record: the options for the same plan again, and where its seams are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onnxscale import graph, planning
from onnxscale.modelfile import ModelFile
from onnxscale.plans import Options, Plan
from onnxscale.statistics import Statistics


def as_baked(options: Options, held: dict[str, Any] | None, subject: ModelFile, statistics: Statistics) -> Options:
    specs = {s.name: s.dtype for s in graph.inputs(subject.skeleton)}
    options = replace(options, again=True)
    scalers = [s for s in (held or {}).get("scalers", []) if isinstance(s, dict)]
    first = next((s for s in scalers if s.get("role") == "input"), None)
    if held is not None:
        options = replace(options, form="auto" if any(s.get("form") == "fold" for s in scalers) else "nodes")
    if first is not None:
        dtypes = first.get("dtypes", {})
        fed, guard = first.get("fed", {}), first.get("guard") or {}
        mode = str(guard.get("mode", ""))
        stats = "n" in guard.get("outputs", {})
        options = replace(options, guard="" if mode == "stats" else mode, guard_stats=stats)
        options = replace(options, layout=fed.get("layout", "keep"), channels=fed.get("channels", "keep"))
        options = replace(
            options, precision=str(first.get("precision", "exact")), input_dtype=str(dtypes.get("graph", "keep"))
        )
        if options.axis is None and len(scalers) == 1:
            options = replace(options, axis=int(first.get("axis", -1)) if first.get("steps") else None)
        if not options.input and len(statistics.inputs) == 1 and None in statistics.inputs:
            options = replace(options, input=str(first.get("tensor", "")))
    elif specs:
        floats = [d for d in specs.values() if d in planning.INPUT_DTYPES]
        options = replace(options, input_dtype=floats[0] if len(floats) == 1 else options.input_dtype)
    known = options.input_dtype in planning.INPUT_DTYPES or options.input_dtype is None
    return options if known else replace(options, input_dtype="keep")


def fed(options: Options, held: dict[str, Any] | None) -> Options:
    """The options with the type that the record says the app feeds."""
    first: Mapping[str, Any] = next((s for s in (held or {}).get("scalers", []) if s.get("role") == "input"), {})
    dtype = first.get("dtypes", {}).get("graph")
    return replace(options, input_dtype=str(dtype)) if dtype in ("float32", "float64") else options


def unmatched(held: dict[str, Any] | None, plan: Plan) -> str:
    """In words, scalers of the record that the statistics say nothing of, or the reverse; "" where they match."""
    if held is None:
        return ""
    baked = {(s.get("role"), s.get("tensor")) for s in held.get("scalers", []) if isinstance(s, dict)}
    asked = {(p.role, p.spec.name) for p in plan.placements}
    if baked == asked:
        return ""
    listed = [", ".join(f"{r} {t!r}" for r, t in sorted(map(_strings, s))) or "nothing" for s in (baked, asked)]
    return f"the baked file scales {listed[0]}; the statistics are for {listed[1]} (a target scaler is given with --target)"


def _strings(pair: tuple[object, object]) -> tuple[str, str]:
    return str(pair[0]), str(pair[1])


def seams(held: dict[str, Any] | None) -> dict[tuple[str, str], str]:
    scalers = (held or {}).get("scalers", [])
    found = {(str(s["role"]), str(s["tensor"])): str(s["seam"]) for s in scalers if isinstance(s, dict) and "seam" in s}
    guards = [s["guard"] for s in scalers if isinstance(s, dict) and isinstance(s.get("guard"), dict)]
    return found | {("poisoned", str(k)): str(v) for g in guards for k, v in g.get("unpoisoned", {}).items()}
