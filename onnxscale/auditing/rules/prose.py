"""Constants in a README that nothing in the code agrees with."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscale.auditing import comparing, graph
from onnxscale.auditing.finding import Finding
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

RULE = Rule(
    "docs-differ", "warning", "a document states other constants than the code, the statistics and the models",
    "correct the document",
)  # fmt: skip
ROUNDED = 0.03


def check(repo: Repository) -> Iterator[Finding]:
    used = [(c.path, graph.resolved(repo, c, n)) for c in repo.code if c.role != "test" for n in c.norms]
    used += [(p, t.norm) for p, tables in repo.tables.items() for t in tables]
    used += [(p, n) for p, m in repo.models.items() for n in comparing.carried(m)]
    used = [(p, n) for p, n in used if comparing.known(n) is not None and comparing.is_full(n)]
    for facts in repo.files.values():
        for norm in facts.norms if facts.kind == "prose" else ():
            near = [n for p, n in used if comparing.width(n) == comparing.width(norm) and graph.related(p, facts.path)]
            if near and all(comparing.differs(norm, n, ROUNDED) for n in near):
                other = near[0]
                yield RULE.at(
                    norm.where,
                    f"states other constants than {other.where}",
                    f"{norm.text}  ~  {comparing.shown(other)}",
                    other.where,
                )
