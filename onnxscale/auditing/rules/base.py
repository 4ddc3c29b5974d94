"""What a rule is: a name, what it says is wrong, how bad that is, the way out, and a function over the whole repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onnxscale.auditing.finding import Finding, Where
from onnxscale.auditing.graph import Repository


@dataclass(frozen=True)
class Rule:
    """name: as in reports and ignores. severity: of most of its findings. what: that it finds. fix: the way out."""

    name: str
    severity: str
    what: str
    fix: str

    def at(self, where: Where, message: str, evidence: str, *also: Where, severity: str = "", fix: str = "") -> Finding:
        """A finding of this rule."""
        return Finding(
            self.name, severity or self.severity, where, message, evidence, fix or self.fix, tuple(dict.fromkeys(also))
        )


Check = Callable[[Repository], Iterator[Finding]]
