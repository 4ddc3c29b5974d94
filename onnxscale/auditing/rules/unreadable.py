"""Files that are not what their name says: one bad file never hides the others."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscale.auditing.finding import Finding
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

RULE = Rule(
    "unreadable", "warning", "a model or source that cannot be read", "restore the file, or exclude it (--exclude)"
)


def check(repo: Repository) -> Iterator[Finding]:
    for facts in repo.files.values():
        for trouble in facts.troubles:
            if not trouble.unsafe:
                severity = "warning" if facts.kind == "onnx" else "note"
                yield RULE.at(trouble.where, f"cannot be read: {trouble.reason}", facts.kind, severity=severity)
