"""A model expects scaled input, and the code that serves it scales nothing."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscale.auditing import comparing, graph
from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Facts, Model, Norm
from onnxscale.auditing.finding import Finding, Where
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

RULE = Rule(
    "not-scaled", "error", "a model expects scaled input, and the code that serves it scales nothing",
    "bake the scaler into the model (onnxscale bake MODEL STATS), or apply in serving what training applied",
)  # fmt: skip
_HINTS = {"preprocess", "preprocessing", "preprocessor", "normalize", "normalise", "transform", "transforms", "scaler", "processor",
          "featurize", "standardize", "scale", "prep", "pipeline", "autoprocessor"}  # fmt: skip


def check(repo: Repository) -> Iterator[Finding]:
    for code in repo.code:
        if code.role != "test":
            yield from _raw(repo, code)
        if code.role in ("serve", "") and (code.runs or code.role == "serve"):
            yield from _code(repo, code)


def _raw(repo: Repository, code: Facts) -> Iterator[Finding]:
    """Data that are scaled elsewhere in the same file go raw into a model that does not scale."""
    for run in code.runs:
        named = graph.located(repo, code.path, run.model) if run.model else ""
        model = repo.models.get(named)
        if model is None or model.spaces or run.steps != () or not run.root or run.function:
            continue
        norm = next((n for n in code.norms if n.root == run.root and not n.function and comparing.is_full(n)), None)
        if norm is not None:
            yield RULE.at(
                run.where,
                f"{run.root} goes raw into {named}, and is scaled elsewhere in this file",
                f"{run.text}  ~  {norm.text}",
                norm.where,
            )


def _code(repo: Repository, code: Facts) -> Iterator[Finding]:
    ran = {graph.located(repo, code.path, r.model): r for r in code.runs if r.model and r.role == "serve"}
    named = {
        m.where.path: m for m in (*graph.models_named(repo, code), *(repo.models[p] for p in ran if p in repo.models))
    }
    models = [m for m in named.values() if not m.spaces and m.unscaled]
    if len(models) != 1 or len(named) != 1 or any(r.steps or r.touched for r in code.runs if r.role != "train"):
        return
    norms = [n for n in graph.norms_of(repo, code) if n.by != "statistics" and not _trains(n)]
    tables = [t for t in graph.tables_of(repo, code) if not t.target]
    if norms or tables or _elsewhere(repo, code):
        return
    expected = _expected(repo, code, models[0])
    if expected is not None:
        where, what = expected
        place = (
            code.runs[0].where
            if code.runs
            else next((m.where for m in code.mentions if m.name.endswith(".onnx")), Where(code.path))
        )
        text = code.runs[0].text if code.runs else models[0].where.path
        yield RULE.at(
            place,
            f"{models[0].where.path} expects scaled input, and nothing here scales",
            f"{text}  ~  {what}",
            where,
            models[0].where,
        )


def _trains(norm: Norm) -> bool:
    """Whether the function around it trains, in a file that does both."""
    return norm.role == "train" and bool(norm.function)


def _elsewhere(repo: Repository, code: Facts) -> bool:
    """Whether something that nobody can look into may do the scaling: a function of another package, by its name."""
    own = {n for _, names in graph.modules_of(repo, code) for n in names}
    taken = {n for _, names in code.imports for n in names} - own
    return any(set(words.words(n)) & _HINTS for n in taken)


def _expected(repo: Repository, code: Facts, model: Model) -> tuple[Where, str] | None:
    """Why the model expects scaled input: where training scales, or statistics of its width."""
    found: list[tuple[str, Norm]] = []
    for other in repo.code:
        if other.path == code.path or other.role == "train":
            found += [
                (other.path, n)
                for n in graph.norms_of(repo, other)
                if (_trains(n) if other.path == code.path else n.role != "serve")
                and (comparing.is_full(n) or comparing.is_rescale(n))
            ]
    named = {p for c in repo.code for p in graph.reads(repo, c) if c.role == "train"}
    for path, tables in repo.tables.items():
        home = graph.folder(path) == graph.folder(model.where.path)
        found += [(path, t.norm) for t in tables if not t.target and (home or path in named or t.config)]
    fitting = [(p, n) for p, n in found if _fits(comparing.width(n), model)]
    near = graph.nearest(model.where.path, fitting) or []
    return (near[0].where, near[0].text) if near else None


def _fits(width: int, model: Model) -> bool:
    shapes = [model.inputs.get(n) for n in model.unscaled]
    return any(width <= 1 or s is None or any(not isinstance(d, int) or d == width for d in s[1:]) for s in shapes)
