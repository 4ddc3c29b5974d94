"""What differs between two models or statistics files, as text for a terminal or as JSON values."""

from __future__ import annotations

import math
from typing import Any

from onnxscale import diffing
from onnxscale.changes import Changed, digit
from onnxscale.diffing import DIFFERS, SAME, UNSCALED, Compared, Diff
from onnxscale.effects import Effect
from onnxscale.ports import Port
from onnxscale.reporting.clean import clean
from onnxscale.reporting.plain import value
from onnxscale.spaces import fingerprint

MOST = 40


def text(d: Diff) -> str:
    """The verdict, each tensor that differs with its features, and what it does to the outputs."""
    what = "to 9 significant digits" if d.tolerance is None else f"within {d.tolerance:g} sigmas"
    if (
        d.same
        and d.tolerance is None
        and any(p.inside.rounding for t in d.tensors for p in (t.a, t.b) if p is not None)
    ):
        what = "as far as the float32 constants of a graph tell"
    head = f"the normalization is the same {what}" if d.same else f"the normalization is not the same {what}"
    if not d.same and all(t.verdict != DIFFERS for t in d.tensors):
        head = f"the normalization is the same {what}, the outputs are not"
    if d.same and all(t.verdict == UNSCALED for t in d.tensors):
        head = "neither carries a normalization that can be read; none was compared"
    lines = [
        f"{'SAME' if d.same else 'DIFFERS'}: {head}",
        f"  A {d.a.name} ({d.a.kind})",
        f"  B {d.b.name} ({d.b.kind})",
    ]
    for t in d.tensors:
        lines += _tensor(d, t)
    for o in d.outputs:
        lines += _output(o)
    lines += [f"  note: {n}" for n in d.notes]
    return "\n".join(map(clean, lines))


def _tensor(d: Diff, t: Compared) -> list[str]:
    lines = [f"  {t.role} {_name(t)}: {t.reason if t.verdict == DIFFERS else t.verdict}"]
    if t.verdict != DIFFERS:
        if t.verdict == SAME and t.a is not None:
            lines[0] += f" ({t.a.inside.prose()})"
        return lines + [f"    note: {n}" for n in t.notes]
    for letter, port, side in (("A", t.a, d.a), ("B", t.b, d.b)):
        lines.append(f"    {letter} {diffing.label(port, side)}")
    if t.features:
        worst = max(t.features, key=lambda f: f.sigmas)
        count = f"{len(t.features)} feature(s) changed, the first is {_called(t.features[0])}"
        lines.append(f"    {count}, the largest difference {_number(worst.sigmas)} sigmas at {_called(worst)}")
    lines += features(t.features)
    return lines + [f"    note: {n}" for n in t.notes]


def _name(t: Compared) -> str:
    named = [repr(p.name) for p in (t.a, t.b) if p is not None and p.name]
    return named[0] if named else "(unnamed)"


def _called(f: Changed) -> str:
    return f"feature {f.where}{f' {f.name!r}' if f.name else ''}"


def _number(v: float) -> str:
    return f"{v:.3g}" if math.isfinite(v) else "beyond all"


def features(listed: tuple[Changed, ...]) -> list[str]:
    """A table of the features that changed: constants in A and B, the first digit that moved, the size in sigmas."""
    keys = [k for k in ("mean", "std", "low", "high") if any(k in f.constants for f in listed)]
    named = any(f.name for f in listed)
    titles = ["feature", *(["name"] if named else [])]
    for k in keys:
        titles += [f"{k} A", f"{k} B"]
    table = [[*titles, "digit", "sigmas"]]
    for f in listed[:MOST]:
        row = [f.where, *([f.name] if named else [])]
        for k in keys:
            row += [f"{v:.10g}" for v in f.constants[k]] if k in f.constants else ["=", "="]
        moved: list[int] = [digit(*pair) for pair in f.constants.values()]
        table.append([*row, str(min(moved)) if all(moved) and moved else "-", _number(f.sigmas)])
    if not listed:
        return []
    widths = [max(len(clean(r[i])) for r in table) for i in range(len(table[0]))]
    lines = ["    " + "  ".join(clean(c).rjust(w) for c, w in zip(r, widths, strict=True)) for r in table]
    return lines + ([f"    ... {len(listed) - MOST} more features (--json has all)"] if len(listed) > MOST else [])


def _output(o: Effect) -> list[str]:
    if o.problem:
        return [f"  output {o.name!r}: {o.problem}" if o.name else f"  outputs: {o.problem}"]
    if o.kind == "exact":
        return [f"  output {o.name!r}: {o.decisions} of {o.rows} decisions changed"]
    said = "the same" if o.holds else "changed"
    lines = [
        f"  output {o.name!r}: {said} on {o.rows} rows; largest change {o.largest:.3g} ({o.share:.3g} of the largest value, "
        f"tolerance {o.tolerance:.2g}), {o.decisions} decision(s) changed"
    ]
    if not o.holds and o.worst is not None:
        lines.append(f"    most at row {o.worst.row}: {_short(o.worst.expected)} in A, {_short(o.worst.got)} in B")
    return lines


def _short(item: Any, most: int = 120) -> str:
    shown = str(item)
    return shown if len(shown) <= most else shown[:most] + " ..."


def plain(d: Diff) -> dict[str, Any]:
    """What `diff --json` prints."""
    return {
        "same": d.same,
        "tolerance": d.tolerance,
        "a": {"name": d.a.name, "kind": d.a.kind},
        "b": {"name": d.b.name, "kind": d.b.kind},
        "tensors": [
            {
                "role": t.role,
                "verdict": t.verdict,
                "reason": t.reason,
                "a": port(t.a),
                "b": port(t.b),
                "features": value(t.features),
                "notes": list(t.notes),
            }
            for t in d.tensors
        ],
        "outputs": value(d.outputs),
        "notes": list(d.notes),
    }


def port(p: Port | None) -> dict[str, Any] | None:
    """A port as JSON values."""
    if p is None:
        return None

    space = p.inside
    return {
        "role": p.role,
        "name": p.name,
        "how": p.how,
        "space": space.prose(),
        "steps": None if space.transform is None else space.transform.to_json(),
        "fingerprint": fingerprint(space),
        "axis": space.axis,
        "features": list(space.features),
        "units": list(space.units),
        "source": space.source.to_json(),
        "tensor": value(p.spec),
    }


__all__ = ["features", "plain", "port", "text"]
