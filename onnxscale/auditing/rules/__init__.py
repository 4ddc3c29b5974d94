"""The rules of an audit. A new rule is one file and one row of `CHECKS`; `RULES` says what they are called."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscale.auditing.finding import Finding
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules import constants, fitting, missing, pickles, prose, skew, stale, twice, unreadable, widths
from onnxscale.auditing.rules.base import Check, Rule

__all__ = ["CHECKS", "RULES", "Rule", "findings"]

RULES: tuple[Rule, ...] = (
    twice.RULE, missing.RULE, skew.SKEW, skew.ORDER, skew.UNIT, widths.RULE, stale.RULE, constants.NEAR, constants.ODD,
    fitting.ON_TEST, fitting.IN_SERVING, fitting.BEFORE_SPLIT, pickles.EXECUTED, pickles.UNSAFE, prose.RULE, unreadable.RULE,
)  # fmt: skip
CHECKS: tuple[Check, ...] = (
    twice.check, missing.check, skew.check, widths.check, stale.check, constants.check, fitting.check, pickles.check, prose.check,
    unreadable.check,
)  # fmt: skip


def findings(repo: Repository) -> Iterator[Finding]:
    """All that the rules find, in no order; the same thing may be found twice."""
    for check in CHECKS:
        yield from check(repo)
