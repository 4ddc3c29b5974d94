"""A call as it is asked about, and what a row that is not about it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from onnxscale.auditing.facts.values import Data, Value


@dataclass(frozen=True, eq=False)
class Call:
    """name: as written, dotted; last: its last part; base: what stands before the dot; given: arguments by place or name."""

    name: str
    last: str
    base: Value
    given: dict[str, Value]

    @property
    def first(self) -> Value:
        return self.given.get("0")

    @property
    def data(self) -> Data | None:
        return next((v for v in self.given.values() if isinstance(v, Data)), None)


class Pass:
    """What a row answers for a call that is none of its own."""


NOT_MINE = Pass()
Answer: TypeAlias = Value | Pass
