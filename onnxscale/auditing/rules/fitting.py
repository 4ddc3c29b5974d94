"""A scaler fitted on what it must not see, or where nothing may be fitted: test data, all data before a split, serving code."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscale.auditing import comparing, graph
from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Facts
from onnxscale.auditing.finding import Finding, Where
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

ON_TEST = Rule(
    "fit-on-test", "error", "a scaler is fitted on test or validation data",
    "fit on the training data only, and call transform on the rest",
)  # fmt: skip
IN_SERVING = Rule(
    "fit-in-serving", "error", "a scaler is fitted in serving code, or data are scaled by their own mean and std there",
    "load what training fitted and call transform, or bake it into the model (onnxscale bake)",
)  # fmt: skip
BEFORE_SPLIT = Rule(
    "fit-before-split", "warning", "a scaler is fitted on all data before they are split",
    "split first, then fit on the training part",
)  # fmt: skip


def check(repo: Repository) -> Iterator[Finding]:
    for code in repo.code:
        if code.role == "test":
            continue
        for fit in code.fits:
            bad = [n for n in fit.on if words.held_out(n)]
            if bad:
                yield ON_TEST.at(fit.where, f"{fit.of} is fitted on {', '.join(bad)}", fit.text)
            elif fit.role == "serve" or (code.role == "serve" and fit.role != "train"):
                yield IN_SERVING.at(fit.where, f"{fit.of} is fitted while serving", fit.text)
        if code.role != "train":
            yield from _imported(repo, code)
        yield from _before_split(code)
        trains = any("train" in words.words(n.root) for n in code.norms)
        for norm in code.norms:
            if norm.own and trains and words.held_out(norm.root) and len(words.words(norm.root)) > 1:
                yield ON_TEST.at(norm.where, f"{norm.root} is scaled by its own mean and std", norm.text)
            elif norm.own and norm.role == "serve" and _is_fixed(repo, code):
                yield IN_SERVING.at(norm.where, "data are scaled by their own mean and std while serving", norm.text)


def _imported(repo: Repository, code: Facts) -> Iterator[Finding]:
    """Serving calls a function, of a file that is of neither side by its name, which fits."""
    taken = dict(graph.modules_of(repo, code)) if code.role == "serve" else {}
    trained = {p for c in repo.code if c.role == "train" for p, _ in graph.modules_of(repo, c)}
    for path, names in taken.items():
        other = repo.files[path]
        if path in trained or words.role_of_path(path) or any(s.function in names for s in other.splits):
            continue
        for fit in other.fits:
            seen = any("train" in words.words(n) for n in fit.on)
            if fit.function in names and not words.role_of_function(fit.function) and not seen:
                said = f"{fit.of} is fitted in {fit.function}, which {code.path} serves with"
                yield IN_SERVING.at(fit.where, said, fit.text, Where(code.path))


def _is_fixed(repo: Repository, code: Facts) -> bool:
    """Whether what training applied is fitted once, and not anew for each batch."""
    trained = [c for c in repo.code if c.role == "train" and graph.related(c.path, code.path)]
    if any(n.own for c in trained for n in c.norms):
        return False
    fitted = any(c.fits or any(comparing.is_full(n) for n in c.norms) for c in trained)
    return fitted or any(
        not t.target and graph.related(p, code.path) for p, tables in repo.tables.items() for t in tables
    )


def _before_split(code: Facts) -> Iterator[Finding]:
    for norm in code.norms:
        for split in code.splits if norm.own and norm.root else ():
            here, there = norm.where, split.where
            later = split.function == norm.function and (there.cell, there.line) > (here.cell, here.line)
            if later and norm.root in split.of and not {"y", "train", "target"} & set(words.words(norm.root)):
                said = f"{norm.root} is scaled by its own mean and std, and test data are split from it later"
                yield BEFORE_SPLIT.at(here, said, norm.text, there)
    for fit in code.fits:
        for split in code.splits:
            later = split.function == fit.function and (split.where.cell, split.where.line) > (
                fit.where.cell,
                fit.where.line,
            )
            same = {
                n for n in split.of if n in fit.kept[1:] or (n in fit.on and not any(words.held_out(o) for o in fit.on))
            }
            scaled = same - {n for n in same if {"y", "target", "label", "labels"} & set(words.words(n))}
            if later and scaled and not any("train" in words.words(n) for n in (*fit.on,)):
                yield BEFORE_SPLIT.at(
                    fit.where,
                    f"{fit.of} is fitted on {', '.join(fit.on[:3])}, of which test data are split later",
                    fit.text,
                    split.where,
                )
                break
