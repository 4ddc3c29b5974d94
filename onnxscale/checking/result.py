"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxscale.errors import OnnxscaleError

LEVELS = ("ok", "warning", "drift", "mismatch", "unknown")
VERDICTS = {
    "as expected": "ok",
    "warning": "warning",
    "drift": "drift",
    "z-scored": "mismatch",
    "min-maxed": "mismatch",
    "minus-one-one": "mismatch",
    "robust-scaled": "mismatch",
    "scaled": "mismatch",
    "half-scaled": "mismatch",
    "twice": "mismatch",
    "x255": "mismatch",
    "/255": "mismatch",
    "log-taken": "mismatch",
    "log-not-taken": "mismatch",
    "permuted": "mismatch",
    "exchanged": "mismatch",
    "bgr": "mismatch",
    "unit": "mismatch",
    "other-statistics": "mismatch",
    "missing": "mismatch",
    "constant": "mismatch",
    "sentinel": "mismatch",
    "cannot tell": "unknown",
}
FAIL_ON = {
    "mismatch": ("mismatch",),
    "drift": ("mismatch", "drift"),
    "warning": ("mismatch", "drift", "warning"),
}


@dataclass(frozen=True)
class Column:
    """One column: what came, what was expected, and how far apart. shift: of the mean, in sigmas of the training data. distance:
    Kolmogorov-Smirnov, 0 to 1; limit: beyond which it drifted. psi: population stability index, its bias removed. said: what
    is wrong with it, or "". None where it could not be measured."""

    name: str
    index: int
    said: str = ""
    expected_mean: float | None = None
    mean: float | None = None
    expected_std: float | None = None
    std: float | None = None
    shift: float | None = None
    distance: float | None = None
    limit: float | None = None
    psi: float | None = None


@dataclass(frozen=True)
class Warned:
    """Something that looks wrong with a column, and is no verdict by itself. rule: its name. column: its name."""

    rule: str
    column: str
    message: str


@dataclass(frozen=True)
class Check:
    """Whether data is what a model expects.

    verdict: a key of VERDICTS. level: ok, warning, drift, mismatch, or unknown where nothing can be said. story: what is
    wrong, in words. todo: what to do about it, or "". columns: those concerned, the worst first. warnings: what else looks
    wrong. evidence: the numbers that decided. also: other verdicts that the data would bear. tested, untested: what was
    asked of this data, and what could not be, in words. rows: rows that were read; used: rows that were looked at one by one.
    input: the model's input. source: where the expectation comes from.
    """

    verdict: str
    story: str
    todo: str = ""
    columns: tuple[Column, ...] = ()
    warnings: tuple[Warned, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    rows: int = 0
    used: int = 0
    width: int = 0
    input: str = ""
    source: str = ""

    @property
    def level(self) -> str:
        base = VERDICTS[self.verdict]
        return "warning" if base == "ok" and self.warnings else base

    @property
    def expected(self) -> bool:
        """Whether the data is as expected; drift and warnings are not."""
        return self.level == "ok"

    def code(self, fail_on: str = "mismatch") -> int:
        """The exit code: 0, 1 where it is as bad as `fail_on` (mismatch, drift, warning) or worse, 2 where nothing can be said."""
        if fail_on not in FAIL_ON:
            raise OnnxscaleError(f"fail_on {fail_on!r}: expected {', '.join(FAIL_ON)}")
        return 2 if self.level == "unknown" else int(self.level in FAIL_ON[fail_on])
