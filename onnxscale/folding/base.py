"""What an absorber is given and what it answers: values with reasons, never None for something wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why something cannot be folded. The plan prints it; nodes are inserted instead."""

    reason: str
