"""Two places normalize the same input: code and the model, a runtime's settings and the model, or code and code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from onnxscale.auditing import comparing, graph
from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Facts, Model, Norm, Operand, Ref, Table
from onnxscale.auditing.facts.values import rescales
from onnxscale.auditing.finding import Finding
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

RULE = Rule(
    "scaled-twice", "error", "two places normalize the same input: code or settings scale what the model scales itself",
    "feed the model raw values: take the scaling out of one of the two (onnxscale unbake takes it out of a baked model)",
)  # fmt: skip


def check(repo: Repository) -> Iterator[Finding]:
    trained = {p for c in repo.code if c.role in ("train", "serve") for p, _ in graph.modules_of(repo, c)}
    for code in repo.code:
        if code.role != "test":
            yield from _code(repo, code)
            yield from _itself(repo, code)
            yield from _after_import(repo, code)
            yield from _neutral(repo, code, trained)
    for path, tables in repo.tables.items():
        for table in tables:
            if table.config and comparing.known(table.norm) is not None:
                yield from _settings(repo, path, table)


def _code(repo: Repository, code: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for run in code.runs:  # what is known of one call: the model, and what was done to what it is fed
        path = graph.located(repo, code.path, run.model) if run.model else ""
        model = repo.models.get(path)
        if model is not None and model.spaces and run.steps and run.role != "train":
            done = next((n for n in code.norms if n.where == run.at), None)
            made = Norm(run.at or run.where, run.steps, "code", done.text if done else run.text, run.function, run.role)
            found = next(iter(_clash(graph.resolved(repo, code, made), model)), None)
            if found is not None:
                seen.add(run.at or run.where)
                yield found
    models = graph.models_of(repo, code)
    if not models or not all(m.spaces for m in models):
        return
    raw = {r.function for r in code.runs if r.steps == () and r.root and not r.touched}
    raw -= {r.function for r in code.runs if r.steps != () or r.touched}
    for norm in graph.norms_of(repo, code):
        mine = norm.where.path == code.path
        if (
            norm.role == "train"
            or code.role == "train"
            or (mine and norm.function and (norm.function in seen or norm.function in raw))
            or norm.where in seen
        ):
            continue
        for model in models:
            found = next(iter(_clash(norm, model)), None)
            if found is not None:
                seen.add(norm.where)
                yield found
                break


def _clash(norm: Norm, model: Model) -> Iterator[Finding]:
    for inside in comparing.carried(model):
        wide, other = comparing.width(norm), comparing.width(inside)
        if norm.steps and (wide <= 1 or other <= 1 or wide == other) and comparing.clashes(norm, inside):
            name = model.where.path
            yield RULE.at(
                norm.where,
                f"scales what {name} scales itself ({model.how})",
                f"{norm.text}  ~  {name}: {inside.text}",
                model.where,
            )


def _itself(repo: Repository, code: Facts) -> Iterator[Finding]:
    """The same step twice on the same data, in one file."""
    for raw in code.norms:
        norm = graph.resolved(repo, code, raw)
        for i, (op, v) in enumerate(norm.steps):
            if op in ("Sub", "Div", "Mul") and any(_again(op, v, o, w) for o, w in norm.steps[:i]):
                what = (
                    "by the range of pixels" if isinstance(v, np.ndarray) and v.size == 1 else "with the same constants"
                )
                yield RULE.at(
                    norm.where, f"the same data are scaled twice {what}", norm.text, fix="leave one of the two away"
                )
                break


def _after_import(repo: Repository, code: Facts) -> Iterator[Finding]:
    """What an imported function of this repository has scaled already is scaled again here."""
    for raw in code.norms:
        if not raw.after:
            continue
        norm = graph.resolved(repo, code, raw)
        for path, names in graph.modules_of(repo, code):
            if raw.after not in names:
                continue
            other = repo.files[path]
            for before in (graph.resolved(repo, other, n) for n in other.norms if n.function == raw.after):
                both = comparing.known(norm) is not None and comparing.known(before) is not None
                if (both and not comparing.differs(before, norm)) or (comparing.is_rescale(norm) and _divides(before)):
                    message = f"scales again what {raw.after} of {path} has scaled"
                    seen = f"{norm.text}  ~  {before.text}"
                    yield RULE.at(norm.where, message, seen, before.where, fix="leave one of the two away")


def _divides(norm: Norm) -> bool:
    return any(isinstance(v, np.ndarray) and v.size == 1 and rescales(op, float(v.ravel()[0])) for op, v in norm.steps)


_NEUTRAL = {
    "model",
    "models",
    "net",
    "network",
    "export",
    "convert",
    "module",
    "layers",
    "arch",
    "data",
    "losses",
    "compare",
    "check",
}


def _neutral(repo: Repository, code: Facts, trained: set[str]) -> Iterator[Finding]:
    """Code whose name says neither training nor serving, beside the only model there is, which training does not import."""
    home = repo.folders.get(graph.folder(code.path), ())
    alone = len(home) == 1 and len(repo.models) == 1 and not code.mentions and code.path not in trained
    if not alone or code.role or code.fits or set(words.words(code.path.rpartition("/")[2])) & _NEUTRAL:
        return
    model = repo.models[home[0]]
    for norm in code.norms:
        clash = next(iter(_clash(graph.resolved(repo, code, norm), model)), None)
        if clash is not None:
            yield replace(clash, severity="warning")


def _again(op: str, v: Operand, before: str, w: Operand) -> bool:
    if isinstance(v, Ref) or isinstance(w, Ref):  # a fitted scaler's own attributes: other names may mean anything
        return op == before and v == w and isinstance(v, Ref) and v.text.endswith("_")
    if v.size == 1 and w.size == 1:
        a, b = float(v.ravel()[0]), float(w.ravel()[0])
        return rescales(op, a) and rescales(before, b)
    return op == before and op != "Mul" and v.shape == w.shape and bool(np.allclose(v, w, rtol=1e-4))


def _settings(repo: Repository, path: str, table: Table) -> Iterator[Finding]:
    one = comparing.known(table.norm)
    if one is None or ((one[0] == 0).all() and (one[1] == 1).all()):
        return
    named = graph.located(repo, path, table.model) if table.model else ""
    home = graph.folder(path)
    beside = list(repo.folders.get(home, ())) or [
        m
        for f, paths in repo.folders.items()
        if home and graph.folder(f) == home
        for m in paths  # Triton: name/1/model.onnx
    ]
    for name in [named] if named else beside:
        model = repo.models.get(name)
        if model is None or not model.spaces or (not named and len(beside) > 1):
            continue
        clash = next(iter(_clash(table.norm, model)), None)
        if clash is not None:
            source = any(s.source.sha256 == table.digest and table.digest for s in model.spaces.values())
            yield RULE.at(
                table.where,
                f"{table.kind}: a runtime that follows it scales what {name} scales itself",
                f"{table.norm.text}  ~  {name}",
                model.where,
                severity="note" if source else "",
                fix="set the settings to identity, or serve the bare model with them",
            )
