"""Results as text for a terminal. Names come from files that anybody may have written: control characters, bidirectional
marks and escapes are shown, never sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxscale.comparing import Comparison, Flip, OutputCheck, SeamCheck, Worst
from onnxscale.folding import Absorption
from onnxscale.looking import Inspection, Selftest
from onnxscale.plans import Converted, Placement, Plan
from onnxscale.reporting.clean import clean
from onnxscale.transform import Transform, decode

MOST_FEATURES = 40


def plan(p: Plan) -> str:
    """The plan in words: per scaler, what goes where, in which arithmetic, and why."""
    lines = [f"Plan for {p.model}", *(_converted(p.converted) if p.converted else [])]
    for x in p.placements:
        lines += _placement(x)
    for spec in p.left:
        lines.append(f"  input {spec.prose()} stays as it is")
    lines += [f"  note: {n}" for n in p.notes]
    lines += [f"  WARNING: {w}" for w in p.warnings]
    return "\n".join(map(clean, lines))


def _converted(c: Converted) -> list[str]:
    origin = " ".join(w for w in (c.source.format, c.source.path, c.source.framework, c.source.version) if w)
    fed = ", ".join(s.prose() for s in c.fed[:6]) + (f" and {len(c.fed) - 6} more" if len(c.fed) > 6 else "")
    return [
        f"  input {c.spec.prose()}",
        f"    by         {c.prose} from {origin}, by way of skl2onnx {c.version}",
        f"    app feeds  {fed}",
        f"    form       nodes in {c.dtype}",
        *(f"    note       {n}" for n in c.notes),
    ]


def _placement(p: Placement) -> list[str]:
    source = p.source
    origin = " ".join(w for w in (source.format, source.path, source.framework, source.version) if w)
    shape = "x".join(map(str, p.transform.shape)) or "one value"
    if p.transform.result != p.transform.shape:
        shape += f" -> {'x'.join(map(str, p.transform.result))}"
    types = (
        p.graph_dtype
        if p.graph_dtype == p.inner_dtype == p.dtype
        else f"{p.graph_dtype} -> {p.dtype} -> {p.inner_dtype}"
    )
    lines = [
        f"  {p.role} {p.spec.prose()}",
        f"    scaler     {p.fitted.scaler.kind} ({shape}) from {origin}",
        f"    steps      {p.transform.prose()}",
        f"    axis       {p.axis} ({p.axis_reason})",
        f"    form       {_form(p, types)}",
    ]
    lines += [
        f"    absorbed   {a.node}: {_absorbed(a)}" for a in (p.fold.absorptions[:8] if p.fold is not None else ())
    ]
    if p.readers:
        lines.append(
            f"    read by    {', '.join(p.readers[:6])}{f' and {len(p.readers) - 6} more' if len(p.readers) > 6 else ''}"
        )
    if p.shape_readers:
        lines.append(f"    raw for    {', '.join(p.shape_readers[:6])} (the shape is the same)")
    return lines + [f"    note       {n}" for n in p.notes]


def _form(p: Placement, types: str) -> str:
    if p.fold is None or p.form == "nodes":
        return f"nodes, precision {p.precision}: {types}"
    left = p.fold.nodes_left
    return f"fold: {f'{left} node(s) left' if left > 0 else 'no node left'}"


def _absorbed(a: Absorption) -> str:
    bound = "" if a.bound is None else ", exactly" if a.bound == 0 else f", error at most {a.bound:.2g} of its output"
    return f"{a.taken}{bound}{f' ({a.reason})' if a.reason else ''}"


def comparison(c: Comparison) -> str:
    """The verdict and what it rests on."""
    lines = [f"{c.verdict}: {c.reason}"]
    lines += [_seam(s) for s in c.seams]
    for o in c.outputs:
        lines += _output(o)
    checks: list[SeamCheck | OutputCheck] = [*c.seams, *c.outputs]
    failed = next((x.worst for x in checks if not x.holds and x.worst), None)
    if failed:
        lines += _worst(failed)
    lines += [_beside(f) for f in dict.fromkeys(f for o in c.outputs for f in o.beside)]
    lines += [f"  note: {n}" for n in c.notes]
    versions = ", ".join(f"{k} {v}" for k, v in c.versions.items())
    lines.append(f"  {c.rows} rows, seed {c.seed}{f', {versions}' if versions else ''}")
    return "\n".join(map(clean, lines))


def _seam(s: SeamCheck) -> str:
    where = "" if s.column is None else f" (feature {s.column})"
    if s.role == "layer":
        if s.bound == 0:
            return f"  layer  {s.tensor!r}: {'the same' if s.holds else 'NOT the same'} on {s.rows} rows"
        return f"  layer  {s.tensor!r}: off by {s.error:.3g} of its output, bound {s.bound:.3g}, {s.rows} rows"
    if s.role == "guard":
        said = "as the reference says" if not s.error else f"off by {s.error:.3g}, bound {s.bound:.3g}"
        return f"  guard  {s.tensor!r}: {said}, {s.rows} values"
    if s.error == 0 and s.ulp == 0:
        return f"  seam   {s.role} {s.tensor!r}: bit-equal with float64 on {s.rows} rows"
    return f"  seam   {s.role} {s.tensor!r}: off by {s.error:.3g}{where}, bound {s.bound:.3g}, {s.ulp:.3g} ULP, {s.rows} rows"


def _output(o: OutputCheck) -> list[str]:
    if o.vacuous:
        why = f"its own noise is {o.noise:.2g} of its largest value" if o.noise else f"the same on all {o.rows} rows"
        return [f"  output {o.name!r}: {why}, which proves nothing"]
    if o.kind == "exact":
        same = f"{o.rows - o.differing - o.unstable} of {o.rows} rows equal"
        more = f", {o.unstable} where the original itself wavers" if o.unstable else ""
        lines = [f"  output {o.name!r}: {same}{more}"]
    else:
        flips = f", argmax differs on {o.flips}" if o.flips else ""
        lines = [
            f"  output {o.name!r}: same as the float64 pipeline within {o.relative:.3g} of the largest value "
            f"({o.absolute:.3g}, {o.ulp:.3g} ULP){flips}; tolerance {o.tolerance:.3g}, noise floor {o.noise:.3g}, {o.rows} rows"
        ]
    if o.host_relative is not None:
        lines.append(
            f"    a float32 host would be {o.host_relative:.3g} away{f', {o.host_flips} labels' if o.host_flips else ''}"
        )
    elif o.host_flips:
        lines.append(f"    a float32 host would answer otherwise on {o.host_flips} rows")
    return lines


def _beside(f: Flip) -> str:
    return (
        f"  row {f.row} of {f.feed!r} is answered otherwise: feature {f.feature} of {f.input!r} is {f.distance:.3g} ULP from "
        f"the threshold {f.threshold:.9g}"
    )


def _worst(w: Worst) -> list[str]:
    lines = [f"  worst row: row {w.row} of {w.feed!r}"]
    lines += [f"    {n} = {_short(v)}" for n, v in w.raw.items()]
    return [*lines, f"    baked    {_short(w.got)}", f"    expected {_short(w.expected)}"]


def _short(item: Any, most: int = 300) -> str:
    text = str(item)
    return text if len(text) <= most else text[:most] + " ..."


def inspection(i: Inspection) -> str:
    """Inputs, outputs, the scalers baked in feature by feature; for a bare model, what its graph starts with."""
    opsets = ", ".join(f"{k} {v}" for k, v in i.opsets.items())
    lines = [f"{i.name}: {i.size:,} bytes, ir {i.ir}, {opsets}"]
    lines += [f"  input  {s.prose()}" for s in i.inputs] + [f"  output {s.prose()}" for s in i.outputs]
    if i.record is None:
        lines.append("  carries no scaler of onnxscale's")
        for name, x in i.leading.items():
            what = f"starts with {x.prose()}" if x.ops else f"goes straight to {x.then or 'nothing'}"
            lines.append(f"  after input {name!r}: {what}{' - looks like a scaler' if x.is_scaler else ''}")
        return "\n".join(map(clean, lines))
    for scaler in i.record.get("scalers", []):
        lines += _scaler(scaler)
    original = i.record.get("original", {})
    lines.append(f"  original   sha256 {original.get('sha256')}, {original.get('size')} bytes")
    held = i.record.get("verification")
    lines.append(f"  verified   {held['verdict']}: {held['reason']}" if held else "  verified   no (--no-verify)")
    golden = i.record.get("golden")
    lines.append(f"  selftest   {'golden vectors inside' if golden else 'no golden vectors'}")
    return "\n".join(map(clean, lines))


def _scaler(s: Mapping[str, Any]) -> list[str]:
    transform = Transform.from_json(s.get("steps", []))
    source = s.get("source", {})
    by = s.get("converted")
    if isinstance(by, Mapping):
        return [
            f"  transformer on {s.get('role')} {s.get('tensor')!r}: {by.get('classes')}, by way of {by.get('by')}",
            f"    takes {', '.join(map(str, by.get('inputs', [])))}",
            f"    source {', '.join(f'{k} {v}' for k, v in source.items())}",
        ]
    dtypes = s.get("dtypes", {})
    types = " -> ".join(str(dtypes.get(k)) for k in ("graph", "arithmetic", "inside"))
    lines = [
        f"  scaler on {s.get('role')} {s.get('tensor')!r}: {s.get('kind')}, {transform.prose()}",
        f"    form {s.get('form')}, precision {s.get('precision')} ({types}), axis {s.get('axis')}",
        f"    source {', '.join(f'{k} {v}' for k, v in source.items())}",
    ]
    if isinstance(seen := s.get("profile"), Mapping):
        known = [k for k in ("quantiles", "correlation") if k in seen]
        lines.append(
            f"    fitted on {seen.get('rows')} rows, whose profile it carries (range, moments{''.join(f', {k}' for k in known)})"
        )
    guard = s.get("guard")
    if isinstance(guard, Mapping):
        lines.append(f"    guard {guard.get('mode')}: {', '.join(map(str, dict(guard.get('outputs', {})).values()))}")
    return lines + _features(s, transform)


def _features(s: Mapping[str, Any], transform: Transform) -> list[str]:
    if len(transform.shape) != 1:
        return []
    count = transform.shape[0]
    columns: list[tuple[str, Sequence[str]]] = [("feature", [str(i) for i in range(count)])]
    if s.get("features"):
        columns.append(("name", [str(n) for n in s["features"]]))
    for step in transform.steps:
        values = (
            np.broadcast_to(step.operands[0], (count,))
            if len(step.operands) == 1 and step.operands[0].ndim <= 1
            else None
        )
        if values is not None:
            columns.append((step.op.lower(), [f"{v:.6g}" for v in values]))
    for key in ("data_min", "data_max"):
        if s.get(key) is not None:
            columns.append((key, [f"{v:.6g}" for v in np.broadcast_to(decode(s[key], key), (count,))]))
    if s.get("units"):
        columns.append(("unit", [str(u) for u in s["units"]]))
    shown = [(title, [title, *cells[:MOST_FEATURES]]) for title, cells in columns if len(cells) == count]
    widths = [max(map(len, cells)) for _, cells in shown]
    rows = [
        "    " + "  ".join(c[i].rjust(w) for (_, c), w in zip(shown, widths, strict=True))
        for i in range(min(count, MOST_FEATURES) + 1)
    ]
    return rows + ([f"    ... {count - MOST_FEATURES} more features (--json has all)"] if count > MOST_FEATURES else [])


def selftest(s: Selftest) -> str:
    lines = [f"{s.verdict}: {s.reason}"]
    lines += [f"  output {n!r}: off by {e:.3g}" for n, e in s.errors.items()]
    versions = ", ".join(f"{k} {v}" for k, v in s.versions.items())
    return "\n".join(map(clean, [*lines, f"  {s.rows} rows{f', {versions}' if versions else ''}"]))
