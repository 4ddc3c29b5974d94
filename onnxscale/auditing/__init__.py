"""Audit: what a repository says of normalization, and where it contradicts itself.

Three parts: `facts` reads one file (pure, nothing is executed, spread over any executor), `graph` says who feeds whom, `rules` find
contradictions. A new kind of file, or a new rule, is one file and one row of a table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from itertools import islice

from onnxscale.auditing import rules, walking
from onnxscale.auditing.facts import Facts
from onnxscale.auditing.finding import SEVERITIES, Finding, Where, rank
from onnxscale.auditing.graph import Repository, repository
from onnxscale.auditing.reading import facts_of
from onnxscale.auditing.walking import Item
from onnxscale.errors import OnnxscaleError

__all__ = ["SEVERITIES", "Audit", "Finding", "Where", "audit"]

CHUNK, AHEAD = 64, 64
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Audit:
    """What an audit found. findings: by severity, then by place. files: how many were read; models, statistics, code: of these
    that many. silenced: findings that a comment in the file silences."""

    findings: tuple[Finding, ...]
    files: int
    models: int
    statistics: int
    code: int
    silenced: int = 0

    def worst(self, severity: str) -> bool:
        """Whether a finding is as bad as `severity` ("error", "warning" or "note"), or worse."""
        return any(rank(f.severity) <= rank(severity) for f in self.findings)


def audit(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    executor: Executor | None = None,
    *,
    exclude: Sequence[str] = (),
    tell: Tell = lambda count: None,
) -> Audit:
    """Read every file under the paths (folders, files, URLs of a bucket) and report contradictions of normalization.

    executor: any concurrent.futures Executor, of threads, processes or a Dask cluster; by default this process. exclude: patterns
    of paths that are left out. tell: told the number of files after each chunk. Nothing that is read is executed.
    Raises OnnxscaleError for a path that is not there.
    """
    listed = walking.items([paths] if isinstance(paths, str | os.PathLike) else paths, exclude)
    repo = repository(_all(listed, executor, tell))
    found: dict[tuple[str, Where], Finding] = {}
    silenced = 0
    for finding in rules.findings(repo):
        if _ignored(repo, finding):
            silenced += 1
            continue
        held = found.get((finding.rule, finding.where))
        if held is None or rank(finding.severity) < rank(held.severity):
            found[(finding.rule, finding.where)] = finding
    ordered = tuple(sorted(found.values(), key=lambda f: (rank(f.severity), f.where, f.rule)))
    return Audit(ordered, len(listed), len(repo.models), len(repo.tables), len(repo.code), silenced)


def _ignored(repo: Repository, finding: Finding) -> bool:
    """A comment at its place; or one that names the rule at each other place of it, as a JSON file can hold none."""

    def said(at: Where) -> tuple[str, ...] | None:
        facts = repo.files.get(at.path)
        return None if facts is None else facts.ignores.get((at.cell, at.line))

    here = said(finding.where)
    if here is not None and (not here or finding.rule in here):
        return True
    return bool(finding.also) and all(finding.rule in (said(w) or ()) for w in finding.also)


def _all(listed: Sequence[Item], executor: Executor | None, tell: Tell) -> Iterator[Facts]:
    """The facts of all files, a chunk at a time; never more than a few chunks wait for each other."""
    chunks = [listed[i : i + CHUNK] for i in range(0, len(listed), CHUNK)]
    if executor is None:
        for chunk in chunks:
            yield from facts_of(chunk)
            tell(len(chunk))
        return
    waiting: dict[Future[list[Facts]], int] = {}
    rest = iter(chunks)
    try:
        while True:
            for chunk in islice(rest, AHEAD - len(waiting)):
                waiting[executor.submit(facts_of, chunk)] = len(chunk)
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                count = waiting.pop(future)
                yield from future.result()
                tell(count)
    except BrokenExecutor as error:
        raise OnnxscaleError(
            f"a worker of the audit died ({str(error)[:200]}); run it again without --workers to see where"
        ) from None
