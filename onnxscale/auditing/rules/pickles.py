"""Loads that execute what a file says, and files that say it."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscale.auditing.finding import Finding
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

EXECUTED = Rule(
    "pickle-executed", "warning", "a pickle is executed when it is loaded",
    "keep statistics as plain numbers: onnxscale convert FILE stats.json reads the pickle without running it; or bake them in",
)  # fmt: skip
UNSAFE = Rule(
    "unsafe-pickle", "error", "a pickle file names code that would run when it is loaded",
    "do not load it; find out who put it there",
)  # fmt: skip


def check(repo: Repository) -> Iterator[Finding]:
    for facts in repo.files.values():
        if facts.role == "test":
            continue
        for load in facts.unsafe:
            said = (
                "executes what it loads"
                if load.sure
                else "executes what it loads, before torch 2.6, where weights_only is not True"
            )
            yield EXECUTED.at(load.where, said, load.text, severity="" if load.sure else "note")
        for trouble in facts.troubles:
            if trouble.unsafe:
                yield UNSAFE.at(trouble.where, "the pickle would run code when it is loaded", trouble.reason)
