"""An audit for people, as JSON, and as SARIF 2.1.0, the format that code hosts show beside the lines."""

from __future__ import annotations

from importlib import metadata
from typing import Any
from urllib.parse import quote

from onnxscale.auditing import SEVERITIES, Audit, Finding, Where
from onnxscale.auditing.rules import RULES
from onnxscale.reporting.clean import clean

_LEVELS = {"error": "error", "warning": "warning", "note": "note"}
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def table(found: Audit) -> str:
    """A block for each finding, then a line with the count."""
    lines: list[str] = []
    for f in found.findings:
        lines.append(f"{f.where}: {f.severity} [{f.rule}] {f.message}")
        lines += [f"    seen  {f.evidence}"] if f.evidence else []
        lines += [f"    also  {', '.join(map(str, f.also))}"] if f.also else []
        lines += [f"    fix   {f.fix}"] if f.fix else []
    return "\n".join(map(clean, [*lines, summary(found)]))


def summary(found: Audit) -> str:
    counts = [(s, sum(f.severity == s for f in found.findings)) for s in SEVERITIES]
    said = ", ".join(f"{n} {s}{'s' if n != 1 else ''}" for s, n in counts if n) or "nothing found"
    read = (
        f"{found.files:,} files read: {found.models:,} models, {found.statistics:,} statistics, {found.code:,} of code"
    )
    return f"{said}; {read}{f'; {found.silenced} ignored by comments' if found.silenced else ''}"


def document(found: Audit) -> dict[str, Any]:
    """The audit as JSON values."""
    return {
        "findings": [_finding(f) for f in found.findings],
        "files": found.files,
        "models": found.models,
        "statistics": found.statistics,
        "code": found.code,
        "ignored": found.silenced,
    }


def _finding(f: Finding) -> dict[str, Any]:
    where = {"path": f.where.path, "line": f.where.line, **({"cell": f.where.cell} if f.where.cell else {})}
    also = [{"path": w.path, "line": w.line, **({"cell": w.cell} if w.cell else {})} for w in f.also]
    said = {"rule": f.rule, "severity": f.severity, "message": f.message, "evidence": f.evidence, "fix": f.fix}
    return {**said, **where, "also": also, "key": f.key()}


def sarif(found: Audit) -> dict[str, Any]:
    """The audit as SARIF 2.1.0: one run, a rule for each of ours, a result for each finding."""
    order = {r.name: i for i, r in enumerate(RULES)}
    rules = [
        {
            "id": r.name,
            "shortDescription": {"text": r.what},
            "help": {"text": r.fix},
            "defaultConfiguration": {"level": _LEVELS[r.severity]},
        }
        for r in RULES
    ]
    results = [
        {
            "ruleId": f.rule,
            "ruleIndex": order[f.rule],
            "level": _LEVELS[f.severity],
            "message": {"text": clean(f"{f.message}. Seen: {f.evidence}. Fix: {f.fix}")},
            "locations": [_location(f.where)],
            "partialFingerprints": {"onnxscaleKey/v1": f.key()},
            **({"relatedLocations": [_location(w, i) for i, w in enumerate(f.also, 1)]} if f.also else {}),
        }
        for f in found.findings
    ]
    driver = {"name": "onnxscale", "semanticVersion": metadata.version("onnxscale"), "rules": rules}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _location(where: Where, number: int = 0) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": quote(where.path)}, "region": {"startLine": max(1, where.line)}}
    cell = {"logicalLocations": [{"name": f"cell {where.cell}", "kind": "cell"}]} if where.cell else {}
    return {**({"id": number} if number else {}), "physicalLocation": place, **cell}
