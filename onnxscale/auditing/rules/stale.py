"""Copies that went apart: a model that carries other statistics than the file it was baked from, two files of one name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from onnxscale import spaces
from onnxscale.auditing import graph
from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Model, Table
from onnxscale.auditing.finding import Finding
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule
from onnxscale.errors import StatisticsError

RULE = Rule(
    "stale-copy", "error", "two copies of the same statistics differ: one of them is old",
    "keep one file and refer to it; bake the model again where it carries the old one",
)  # fmt: skip

MOST = 200  # others that one file is compared with


def check(repo: Repository) -> Iterator[Finding]:
    for path, model in repo.models.items():
        yield from _baked(repo, path, model)
    yield from _together(repo)
    named: dict[str, list[Table]] = {}
    for tables in repo.tables.values():
        if len(tables) == 1:
            named.setdefault(_name(tables[0]), []).append(tables[0])
    for listed in named.values():
        yield from _copies(repo, listed)


def _name(table: Table) -> str:
    """The name that copies share: without the suffix, and without words for a copy."""
    stem = PurePosixPath(table.where.path).stem
    return "_".join(w for w in words.words(stem) if w not in ("copy", "old", "bak", "backup"))


def _baked(repo: Repository, path: str, model: Model) -> Iterator[Finding]:
    for space in model.spaces.values():
        source = space.source
        name = source.path.rpartition("/")[2]
        if model.how != "baked" or not name or not source.sha256:
            continue
        found = graph.located(repo, path, name)
        for table in repo.tables.get(found, ()) if found else ():
            if table.digest == source.sha256 or table.target:
                continue
            difference = _differ(space, table.space)
            if difference:
                yield RULE.at(
                    table.where, f"{path} carries other statistics than this file, which it was baked from",
                    f"{table.norm.text}  ~  {difference}", model.where,
                )  # fmt: skip


_PLAIN = {"stats", "statistics", "scaler", "norm", "normalization", "normalisation", "standardization", "mean", "std",
          "params", "x",
          "input",
          "feature", "features", "preprocessing"}  # fmt: skip


def _together(repo: Repository) -> Iterator[Finding]:
    """Statistics of one width that lie beside one model of one input, under names that only say what they are."""
    beside: dict[str, list[Table]] = {}
    for path, tables in repo.tables.items():
        models = repo.folders.get(graph.folder(path), ())
        stem = set(words.words(PurePosixPath(path).stem))
        if len(tables) == 1 and len(models) == 1 and stem <= _PLAIN and not tables[0].target and not tables[0].config:
            beside.setdefault(models[0], []).append(tables[0])
    for path, listed in beside.items():
        model = repo.models[path]
        known = model.spaces if len(model.inputs) == 1 else {}
        for space in known.values():
            if not space.source.sha256:
                for table in listed:
                    difference = _wide_alike(space, table.space) and _differ(space, table.space)
                    if difference:
                        yield RULE.at(
                            table.where,
                            f"{path} carries other statistics",
                            f"{table.norm.text}  ~  {difference}",
                            model.where,
                        )
        for i, table in enumerate(listed if len(model.inputs) == 1 else ()):
            other = next(
                (o for o in listed[:i] if _name(o) != _name(table) and _wide_alike(o.space, table.space)), None
            )
            difference = other is not None and _differ(other.space, table.space)
            if other is not None and difference:
                message = f"differs from {other.where.path}, which lies beside the same model"
                yield RULE.at(table.where, message, f"{table.norm.text}  ~  {difference}", other.where)


def _wide_alike(one: spaces.Space, two: spaces.Space) -> bool:
    shapes = [s.transform.shape for s in (one, two) if s.transform is not None]
    return len(shapes) == 2 and shapes[0] == shapes[1] != ()


def _copies(repo: Repository, listed: list[Table]) -> Iterator[Finding]:
    """Files of one name and shape that are not the same function. Each is compared with those it may be a copy of: in the same
    folder, beside the same model, and, where one of the two lies beside no model, anywhere in the project."""
    usable = [t for t in listed if t.kind != "npy" and t.space.transform is not None and t.space.transform.shape]
    prints = {t.where.path: spaces.fingerprint(t.space) for t in usable}
    if len(set(prints.values())) < 2:
        return
    groups: dict[object, list[Table]] = {}
    loose = []
    for table in usable:
        home = graph.folder(table.where.path)
        digests = {repo.models[m].digest for m in repo.folders.get(home, ())} - {""}
        for key in (home, *digests):
            groups.setdefault(key, []).append(table)
        if not digests:
            loose.append(table)
    told: set[str] = set()
    pairs = [(t, group) for group in groups.values() for t in group[1:]] + [(t, usable) for t in loose]
    for table, others in pairs:
        different = (o for o in others if o is not table and prints[o.where.path] != prints[table.where.path])
        for other in islice(different, MOST):
            if table.where.path in told or (other.where.path in told and others is usable):
                continue
            difference = _apart(repo, table, other)
            if difference:
                told |= {table.where.path, other.where.path}
                first, copy = sorted(
                    (table, other), key=lambda t: (words.role_of_path(t.where.path) == "serve", t.where)
                )
                message = f"differs from {first.where.path}, which has the same name and shape"
                yield RULE.at(copy.where, message, f"{copy.norm.text}  ~  {difference}", first.where)


def _apart(repo: Repository, table: Table, other: Table) -> str:
    """How two copies differ; "" where they do not, or are no copies."""
    one, two = table.space.transform, other.space.transform
    if one is None or two is None or one.shape != two.shape or table.target != other.target:
        return ""
    return _differ(other.space, table.space) if _same_subject(repo, table, other) else ""


def _same_subject(repo: Repository, one: Table, two: Table) -> bool:
    """Whether two files are for one model: not where each lies beside a model of its own, or names its own features."""
    if one.norm.names and two.norm.names and one.norm.names != two.norm.names:
        return False
    homes = [graph.folder(t.where.path) for t in (one, two)]
    if any(words.held_out(h) for h in homes):
        return False  # statistics of test data are others than those of training data
    if homes[0] == homes[1]:
        return (
            one.where.path.rpartition(".")[0] == two.where.path.rpartition(".")[0]
            or _generation(one)
            or _generation(two)
        )
    mine, yours = (repo.folders.get(h, ()) for h in homes)
    if mine and yours:
        return bool({repo.models[m].digest for m in mine} & {repo.models[m].digest for m in yours} - {""})
    return graph.related(one.where.path, two.where.path) or _data_alone(repo, *homes)


def _data_alone(repo: Repository, one: str, two: str) -> bool:
    """Whether, where two folders part, one of the two holds neither code nor models, and they are no series (run1, run2)."""
    a, b = one.split("/"), two.split("/")
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if at is None or a[at].strip("0123456789._-v") == b[at].strip("0123456789._-v"):
        return False
    return not all("/".join(p[: at + 1]) in repo.lived for p in (a, b))


def _generation(table: Table) -> bool:
    said = set(words.words(PurePosixPath(table.where.path).stem))
    return bool(said & {"copy", "old", "bak", "backup"})


def _differ(one: spaces.Space, two: spaces.Space) -> str:
    try:
        found = spaces.compare(one, two)
    except StatisticsError:
        return ""
    if found is None or one.transform is None or two.transform is None:
        return ""
    first = found.first
    at = (
        f"; feature {first.name or first.feature}: {first.at:.6g} becomes {first.here:.6g} and {first.there:.6g}"
        if first
        else ""
    )
    return f"{found.reason}{at}"
