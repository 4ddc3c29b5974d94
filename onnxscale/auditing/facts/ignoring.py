"""Comments that silence a rule at a line: `# onnxscale: ignore[rule]`, or `# onnxscale: ignore` for every rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from onnxscale.auditing.finding import Where

_IGNORE = re.compile(r"onnxscale:\s*ignore(?:\[([\w, -]*)\])?")
_ALONE = re.compile(r"^\s*(#|//|<!--)")


def ignores(text: str, place: Callable[[int], Where]) -> Mapping[tuple[int, int], tuple[str, ...]]:
    """(cell, line) -> rules that a comment there silences, () for all; one that stands alone speaks for the next line."""
    found: dict[tuple[int, int], tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = _IGNORE.search(line)
        if said is not None:
            at = place(number + 1 if _ALONE.match(line) else number)
            found[(at.cell, at.line)] = tuple(r.strip() for r in (said[1] or "").split(",") if r.strip())
    return found
