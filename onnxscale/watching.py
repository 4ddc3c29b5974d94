"""The outputs of a guard against its numpy twin, on every feed of a verification."""

from __future__ import annotations

from collections.abc import Sequence

from onnxscale.comparing import SeamCheck
from onnxscale.feeding import Feed
from onnxscale.guarding import TOLERANCE
from onnxscale.plans import Placement
from onnxscale.worker import Answers, Failure


def checks(
    placements: Sequence[Placement], feeds: Sequence[Feed], answers: Sequence[Sequence[Answers]]
) -> list[SeamCheck]:
    """One check for each output of a guard. answers: of the baked model, with optimizations on and off. A guard proves nothing of the
    answers, so its checks are vacuous as to those."""
    made = []
    for p in placements:
        if p.guard is None:
            continue
        for kind, name in p.guard.outputs.items():
            error, rows = 0.0, 0
            for series in answers:
                for feed, answer in zip(feeds, series, strict=True):
                    raw = feed.raw[p.spec.name]
                    if isinstance(answer, Failure) or not raw.size:
                        continue
                    off, count = p.guard.says(raw, answer)[kind]
                    error, rows = max(error, off), rows + count
            bound = TOLERANCE[kind]
            made.append(SeamCheck(name, "guard", rows, error, bound, 0.0, None, error <= bound, vacuous=True))
    return made
