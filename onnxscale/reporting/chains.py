"""A chain as text for a terminal, or as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxscale.chaining.checking import Report
from onnxscale.chaining.merging import Merged
from onnxscale.reporting.clean import clean
from onnxscale.reporting.plain import comparison
from onnxscale.spaces import Space


def text(r: Report) -> str:
    """Every edge with its verdict and, where it does not hold, why and what would help."""
    count = sum(e.verdict == "holds" for e in r.edges)
    lines = [f"{r.verdict.upper()}: {count} of {len(r.edges)} edge(s) of {r.chain.name} hold"]
    for e in r.edges:
        lines.append(f"  {e.verdict:8}{e.edge.prose()}  ({e.ends.given.space.prose()})")
        lines += [f"          {reason}" for reason in e.reasons]
        lines += [f"          note: {note}" for note in e.notes]
    lines += [] if r.edges else ["  no edges: nothing was compared"]
    lines += [f"  differs {c}" for c in r.conflicts]
    lines += [f"  fed by the app: {', '.join(r.free)}"] if r.free else []
    return "\n".join(map(clean, lines))


def plain(r: Report) -> dict[str, Any]:
    edges = [
        {
            "edge": e.edge.prose(), "verdict": e.verdict, "reasons": list(e.reasons), "notes": list(e.notes),
            "given": _space(e.ends.given.space),
            "taken": _space(e.ends.taken.space), "adapter": None if e.adapter is None else e.adapter.to_json(),
        }
        for e in r.edges
    ]  # fmt: skip
    return {
        "chain": r.chain.name,
        "verdict": r.verdict,
        "edges": edges,
        "inputs": list(r.free),
        "conflicts": list(r.conflicts),
    }


def _space(space: Space) -> dict[str, Any]:
    steps = None if space.transform is None else space.transform.to_json()
    return {"space": space.prose(), "steps": steps, "axis": space.axis}


def merged(m: Merged, out: str | None) -> dict[str, Any]:
    return {
        "out": out, "inputs": {n: ".".join(p) for n, p in m.inputs.items()},
        "outputs": {n: ".".join(p) for n, p in m.outputs.items()}, "adapters": [e.edge.prose() for e in m.adapted],
        "notes": list(m.notes), "verification": comparison(m.comparison),
    }  # fmt: skip


def merged_text(m: Merged, out: Path, size: int) -> str:
    lines = [f"  input  {n!r} is {s}.{t}" for n, (s, t) in m.inputs.items()]
    lines += [f"  output {n!r} is {s}.{t}" for n, (s, t) in m.outputs.items()]
    lines += [f"  adapter {e.edge.prose()}: {e.adapter.prose() if e.adapter else ''}" for e in m.adapted]
    if m.comparison is not None:
        lines.append(f"{m.comparison.verdict}: {m.comparison.reason} ({m.comparison.rows} rows)")
    return "\n".join(map(clean, [*lines, f"wrote {out} ({size:,} bytes)"]))
