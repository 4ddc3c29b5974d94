"""Sets of faults, each beside the same repository without it."""

from __future__ import annotations

from typing import Any

from tests import planted as P
from tests.teams import fill, filled


class Twins(dict[str, tuple[frozenset[str], P.Files, P.Files]]):
    """By name: the rules of which one must be reported, the files with the fault, the files without it."""

    def pair(self, name: str, rule: str, bad: P.Files, good: P.Files, base: P.Files) -> None:
        assert name not in self
        self[name] = (frozenset(rule.split()), filled({**base, **bad}), filled({**base, **good}))

    def swap(self, name: str, rule: str, path: str, text: str, bad: Any, good: Any, base: P.Files) -> None:
        self.pair(name, rule, {path: fill(text, **{"?": bad})}, {path: fill(text, **{"?": good})}, base)
