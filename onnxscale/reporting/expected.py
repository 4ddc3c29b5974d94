"""What the inputs of a model expect, as text for a terminal or as JSON values."""

from __future__ import annotations

from typing import Any

from onnxscale.expecting import CANNOT_TELL, Answer, Expectation
from onnxscale.expecting.hypotheses import BY_NAME
from onnxscale.reporting.clean import clean
from onnxscale.reporting.plain import value

SHOWN = 0.03  # a hypothesis less probable than this is left out, but for the first two
LOOKS = {
    "raw": "raw values", "pixels": "pixels of 0 to 255", "standard": "z-scored already", "unit": "within 0 to 1 already",
    "symmetric": "within -1 to 1 already",
}  # fmt: skip


def text(e: Expectation) -> str:
    """A verdict for each input, its hypotheses with what speaks for and against them, and what to feed."""
    lines = [f"{e.model}: what its inputs expect"]
    for a in e.answers:
        lines += _answer(a)
    lines += [f"  note: {n}" for n in e.notes]
    return "\n".join(map(clean, lines))


def _answer(a: Answer) -> list[str]:
    lines = [f"{a.verdict.upper()}: input {a.input.prose()}: {a.reason}"]
    shown = [r for i, r in enumerate(a.ranked) if i < 2 or r.probability >= SHOWN]
    for r in shown if len(a.ranked) > 1 else ():
        lines.append(f"  {r.probability:4.0%}  {r.name:<10} {r.says}")
        if r is shown[0]:
            lines += [f"        for      {line}" for line in r.pro] + [f"        against  {line}" for line in r.con]
    if a.given:
        lines.append(f"  your rows look like {LOOKS[a.given]}{_advice(a)}")
    elif a.answered and a.ranked:
        lines.append(
            f"  to do: {a.ranked[0].feed}" if a.verdict != "scaled" else "  to do: find the statistics of the training"
        )
    if a.verdict == CANNOT_TELL and not a.given:
        lines.append("  to do: give raw rows as DATA, or ask whoever trained it")
    return lines


def _advice(a: Answer) -> str:
    best = a.ranked[0].name
    if not a.answered:
        return ""
    if a.verdict == "scaled":
        return ", and the model expects scaled values" if a.given in ("raw", "pixels") else ""
    if a.given == best:
        return ", which is what the model expects"
    return f": {BY_NAME[best].feed}"


def plain(e: Expectation) -> dict[str, Any]:
    """JSON values of the same."""
    return {"model": e.model, "answered": e.answered, "inputs": [value(a) for a in e.answers], "notes": list(e.notes)}
