"""How often `check` is right: confusion matrices over tables, sizes and mistakes, in results/checking.json and docs/checking.md.

Two conditions. population: the training data is 10,000 rows drawn from the table, the sample 256 rows drawn from it. halves: the
training data is a random half of the table, the sample 32 rows of the other half, without replacement. Each with and without the
correlation matrix in the profile. `python -m benchmarks checking --seconds S` runs 25 S trials of each kind on each table.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import faults, measuring
from onnxscale.checking import judging, reference, sample
from onnxscale.checking.reference import Reference
from onnxscale.profile import PROBABILITIES, Profile
from onnxscale.step import Array

TRIALS = 25  # for each second asked for
CONDITIONS = {"population, n = 256": (256, False), "halves, n = 32": (32, True)}
KINDS = (*faults.CLEAN, *faults.GLOBAL, *faults.LOCAL)
DOC = Path(__file__).parent.parent / "docs" / "checking.md"
BEGIN, END = "<!-- matrices: made by python -m benchmarks checking -->", "<!-- matrices end -->"


def main(seconds: float, out: Path | None) -> None:
    trials = max(1, round(seconds * TRIALS))
    rows: list[dict[str, Any]] = []
    asked = [
        (correlated, condition, name)
        for correlated in (False, True)
        for condition in CONDITIONS
        for name in (*faults.TUNED, *faults.OTHERS)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = [
            pool.submit(counted, name, *CONDITIONS[condition], correlated, trials)
            for correlated, condition, name in asked
        ]
        for (correlated, condition, name), result in zip(asked, found, strict=True):
            for kind, verdicts in result.result().items():
                if verdicts:
                    rows.append(
                        {
                            "condition": condition,
                            "correlation": correlated,
                            "table": name,
                            "kind": kind,
                            "verdicts": dict(verdicts),
                        }
                    )
            print(f"{condition}, {name}", flush=True)
    measuring.write("checking", {"trials": trials, "matrices": rows}, out)
    text = documented(rows, trials)
    print(text)
    if out is None:
        told = DOC.read_text(encoding="utf-8")
        before, _, rest = told.partition(BEGIN)
        DOC.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def counted(
    name: str, n: int, halves: bool, correlated: bool, trials: int, seed: int = 2026
) -> dict[str, Counter[str]]:
    """Verdicts by kind."""
    found: dict[str, Counter[str]] = {k: Counter() for k in KINDS}
    for kind, _, verdict in judged(name, n, halves, correlated, trials, seed):
        found[kind][verdict] += 1
    return found


def judged(name: str, n: int, halves: bool, correlated: bool, trials: int, seed: int) -> Iterator[tuple[str, int, str]]:
    held = faults.table(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for trial in range(trials):
            train, rest = faults.parted(held, halves, np.random.default_rng([seed, trial]))
            known = referred(held.rows[train], correlated)
            trained = faults.Trained.of(held.rows[train])
            for at, kind in enumerate(KINDS):
                draw = np.random.default_rng([seed, trial, at])
                got = faults.taken(held, rest, kind, n, halves, trained, draw)
                if got is not None:
                    yield kind, trial, judging.judged(known, sample.drawn([got], got.shape[1])).verdict


def referred(rows: Array, correlated: bool) -> Reference:
    """The reference that `fit` makes of these rows."""
    n, width = rows.shape
    count, none = np.full(width, n), np.zeros(width, np.int64)
    quantiles = np.quantile(rows, PROBABILITIES, axis=0, method="inverted_cdf").T
    whole = (rows == np.round(rows)).all(axis=0)
    correlation = np.corrcoef(rows.T) if correlated else None
    return reference.from_profile(
        Profile(
            n, count, none, none, rows.mean(0), rows.std(0), rows.min(0), rows.max(0), quantiles, whole, correlation
        )
    )


NAMED = {
    **{k: {k} for k in (*faults.GLOBAL, *faults.LOCAL)},
    **{k: {"as expected", "warning", "drift"} for k in faults.CLEAN},
}
GOOD = ("as expected", "warning", "drift", "cannot tell")


def documented(rows: list[dict[str, Any]], trials: int) -> str:
    """The matrices as Markdown: for each condition and group of tables, what was said of what was there."""
    parts = [
        f"{trials} trials of each kind and table, by `python -m benchmarks checking --seconds {trials / TRIALS:g}`."
    ]
    for correlated in (False, True):
        for condition in CONDITIONS:
            for group, tables in (("tuned on", faults.TUNED), ("only measured", faults.OTHERS)):
                some = [
                    r
                    for r in rows
                    if r["condition"] == condition and r["correlation"] == correlated and r["table"] in tables
                ]
                if some:
                    listed = ", ".join(dict.fromkeys(r["table"] for r in some))
                    known = "with" if correlated else "without"
                    title = f"{condition}, {known} correlations, tables {group} ({listed})"
                    parts += [f"\n**{title}**\n", _matrix(some)]
    return "\n".join(parts)


def _matrix(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| there was | trials | a mistake reported | named right | worst table | else it was called |",
        "|---|--:|--:|--:|---|---|",
    ]
    for kind in KINDS:
        here = [r for r in rows if r["kind"] == kind]
        if not here:
            continue
        total: Counter[str] = sum((Counter(r["verdicts"]) for r in here), Counter())
        count = total.total()
        reported = 1 - sum(total[v] for v in GOOD) / count
        right = sum(total[v] for v in NAMED[kind]) / count
        shares = {
            r["table"]: sum(r["verdicts"].get(v, 0) for v in NAMED[kind]) / sum(r["verdicts"].values()) for r in here
        }
        worst = min(shares, key=lambda t: shares[t])
        others = ", ".join(f"{v} {c}" for v, c in total.most_common() if v not in NAMED[kind])
        lines.append(f"| {kind} | {count} | {reported:.1%} | {right:.1%} | {worst} {shares[worst]:.1%} | {others} |")
    return "\n".join(lines)
