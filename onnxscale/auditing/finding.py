"""What an audit finds: a rule, a place, what was seen there, and the way out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, order=True, slots=True)
class Where:
    """A place. path: relative to the audited root, with slashes. line: counted from 1 (1 for binary files). cell: of a
    notebook, counted from 1; 0 elsewhere, and `line` then counts in the cell."""

    path: str
    line: int = 1
    cell: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.cell}:{self.line}" if self.cell else f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """One contradiction. rule: its name in the table of rules. severity: error, warning or note. message: what is wrong.
    evidence: what was seen, there and elsewhere. fix: the way out. also: the other places that take part."""

    rule: str
    severity: str
    where: Where
    message: str
    evidence: str = ""
    fix: str = ""
    also: tuple[Where, ...] = field(default=())

    def key(self) -> str:
        """What identifies the finding although lines shift: the rule, the file, and what was seen, without its numbers
        of lines."""
        seen = " ".join(self.evidence.split())
        others = sorted({w.path for w in self.also})
        return hashlib.sha256("\0".join((self.rule, self.where.path, seen, *others)).encode()).hexdigest()[:32]


def rank(severity: str) -> int:
    """0 for an error, 1 for a warning, 2 for a note."""
    return SEVERITIES.index(severity)
