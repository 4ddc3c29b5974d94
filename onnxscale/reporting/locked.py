"""A lock that was written, and what a check of one found, as text for a terminal or as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxscale.locks import Lock
from onnxscale.moved import Checked
from onnxscale.reporting.clean import clean
from onnxscale.reporting.differences import features
from onnxscale.reporting.plain import value

MOST = 20


def written(lock: Lock, file: str, signature: Path | None) -> str:
    """What is in the lock, a line per file."""
    lines = []
    for e in lock.entries[:MOST]:
        spaces = [f"{t.role}{f' {t.name!r}' if t.name else ''} {t.space}" for t in e.tensors if t.fingerprint]
        lines.append(f"  {e.path}: {'; '.join(spaces) or 'no normalization'}")
    if len(lock.entries) > MOST:
        lines.append(f"  ... {len(lock.entries) - MOST} more")
    count = {k: sum(e.kind == k for e in lock.entries) for k in ("model", "statistics")}
    data = len({d.path for e in lock.entries for d in e.data})
    said = f"{count['model']} model(s), {count['statistics']} statistics file(s), {data} data file(s)"
    signed = [] if signature is None else [f"wrote {signature}: its signature"]
    return "\n".join(map(clean, [*lines, f"wrote {file}: {said}", *signed]))


def text(found: Checked, file: str) -> str:
    """One line per thing that moved, and the features that changed."""
    lines = []
    for f in found.findings:
        lines.append(f"  {f.path}: {f.message}")
        lines += features(f.features) if len(f.features) > 1 else []
    signed = ", signature verified" if found.signed else ""
    head = f"HOLDS: {found.files} file(s) are as {file} has them{signed}"
    if found.findings:
        paths = len({f.path for f in found.findings})
        head = f"MOVED: {paths} path(s) are not as {file} has them ({found.files} file(s) locked{signed})"
    return "\n".join(map(clean, [head, *lines, *(f"  note: {n}" for n in found.notes)]))


def plain(found: Checked) -> dict[str, Any]:
    """What `lock --check --json` prints."""
    return {"holds": found.holds, **value(found)}


def made(lock: Lock, file: Path, signature: Path | None) -> dict[str, Any]:
    """What `lock --json` prints."""
    return {"out": str(file), "signature": None if signature is None else str(signature), "lock": value(lock)}
