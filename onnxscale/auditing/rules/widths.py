"""Statistics of another width than the model that they lie beside, or that code feeds with them."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscale.auditing import comparing, graph
from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Facts, Model, Norm, Table
from onnxscale.auditing.finding import Finding, Where
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule

RULE = Rule(
    "wrong-width", "error", "statistics have another number of features than the model's input",
    "take the statistics that this model was trained with (onnxscale inspect MODEL shows its inputs)",
)  # fmt: skip


def check(repo: Repository) -> Iterator[Finding]:
    told: set[str] = set()
    for code in repo.code:
        if code.role == "test":
            continue
        models = graph.models_named(repo, code)
        if len(models) == 1 and not models[0].spaces:
            yield from _code(repo, code, models[0], told)
    for path, tables in repo.tables.items():
        for table in tables:
            if path not in told:
                yield from _beside(repo, path, table)
    for facts in repo.files.values():
        for signed in facts.signatures:
            name = graph.located(repo, facts.path, signed.model)
            model = repo.models.get(name)
            if model is not None and not any(_fits(w, model) for w in signed.widths):
                yield _found(
                    signed.where, f"a signature of {', '.join(map(str, signed.widths))} features", "signature", model
                )


def _code(repo: Repository, code: Facts, model: Model, told: set[str]) -> Iterator[Finding]:
    for table in graph.tables_of(repo, code):
        width = _width(table)
        if not table.target and width > 1 and not _fits(width, model) and not _others(repo, table, model):
            told.add(table.where.path)
            place = next(
                (m.where for m in code.mentions if table.where.path.endswith(m.name.lstrip("./"))), Where(code.path)
            )
            yield _found(place, f"{table.where.path} has {width} features", table.norm.text, model, table.where)
    if code.role == "train":
        return
    for norm in (graph.resolved(repo, code, n) for n in code.norms):
        width = comparing.width(norm)
        if width > 1 and norm.role != "train" and not _fits(width, model) and not _is_target(norm):
            yield _found(norm.where, f"scales {width} features", norm.text, model)


def _is_target(norm: Norm) -> bool:
    return bool({"y", "target", "label", "output"} & set(words.words(norm.root)))


def _beside(repo: Repository, path: str, table: Table) -> Iterator[Finding]:
    width, home = _width(table), graph.folder(path)
    models = [repo.models[m] for m in repo.folders.get(home, ())]
    named = [m for m in models if _stem(m.where.path) and set(_stem(m.where.path)) <= set(_stem(path))]
    models = named if len(named) == 1 and len(models) > 1 else models
    if table.target or width <= 1 or not models or any(_fits(width, m) for m in models):
        return
    if not named and any(_fits(width, m) for m in repo.models.values()) and not _linked(path, models):
        return  # it is another model's
    yield _found(table.where, f"has {width} features", table.norm.text, models[0])


def _stem(path: str) -> tuple[str, ...]:
    return words.words(path.rpartition("/")[2].rpartition(".")[0])


def _linked(path: str, models: list[Model]) -> bool:
    """Whether a statistics file is a model's by its name, or by being alone with it."""
    stem = set(words.words(path.rpartition("/")[2].rpartition(".")[0]))
    return len(models) == 1 and bool(
        stem & {"stats", "scaler", "statistics", "norm", "normalization", "preprocessor", "preprocessing", "mean"}
    )


def _others(repo: Repository, table: Table, model: Model) -> bool:
    """Whether the statistics are for what the model gives out."""
    del repo
    width = _width(table)
    return any(s is not None and any(d == width for d in s[1:]) for s in model.outputs.values())


def _width(table: Table) -> int:
    shape = table.space.transform.shape if table.space.transform is not None else ()
    return max(shape, default=1)


def _fits(width: int, model: Model) -> bool:
    """Whether an input has a dimension of this size, or one that nobody knows."""
    return any(
        s is None or len(s) < 2 or any(not isinstance(d, int) or d == width for d in s[1:])
        for s in model.inputs.values()
    )


def _found(where: Where, what: str, text: str, model: Model, *also: Where) -> Finding:
    shapes = "; ".join(f"{n} {list(s) if s is not None else '?'}" for n, s in model.inputs.items())
    return RULE.at(
        where, f"{what}, which no input of {model.where.path} takes", f"{text}  ~  {shapes}"[:300], model.where, *also
    )
