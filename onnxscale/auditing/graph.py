"""Who feeds whom: which code loads which model and which statistics, what code imports what, what is near what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxscale.auditing.comparing import known
from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Facts, Model, Norm, Operand, Ref, Table
from onnxscale.auditing.finding import Where
from onnxscale.step import Array


@dataclass(frozen=True, eq=False)
class Repository:
    """All facts, with what is asked of them by name. code: files of code; modules, names: their paths, and those of models and
    statistics, by the last part of the path; folders: those of models. lived: folders with code or models in or below them."""

    files: Mapping[str, Facts]
    code: tuple[Facts, ...]
    models: Mapping[str, Model]
    tables: Mapping[str, tuple[Table, ...]]
    modules: Mapping[str, tuple[str, ...]]
    names: Mapping[str, tuple[str, ...]]
    folders: Mapping[str, tuple[str, ...]]
    lived: frozenset[str]


def repository(facts: Iterable[Facts]) -> Repository:
    """The graph over what all files said."""
    files = {f.path: f for f in sorted(facts, key=lambda f: f.path)}
    code = tuple(f for f in files.values() if f.kind in ("python", "notebook"))
    models = {p: f.models[0] for p, f in files.items() if f.models}
    tables = {p: f.tables for p, f in files.items() if f.tables}
    modules: dict[str, list[str]] = {}
    for f in code:
        stem = f.path.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2]
        modules.setdefault(stem, []).append(f.path)
    names: dict[str, list[str]] = {}
    folders: dict[str, list[str]] = {}
    for path in (*models, *tables):
        names.setdefault(path.rpartition("/")[2], []).append(path)
    for path in models:
        folders.setdefault(folder(path), []).append(path)
    parts = [p.split("/") for p in (*models, *(f.path for f in code))]
    lived = frozenset("/".join(p[:i]) for p in parts for i in range(1, len(p)))
    by_stem, by_name, by_folder = ({k: tuple(v) for k, v in d.items()} for d in (modules, names, folders))
    return Repository(files, code, models, tables, by_stem, by_name, by_folder, lived)


def folder(path: str) -> str:
    return path.rpartition("/")[0]


def nearness(a: str, b: str) -> int:
    """How many folders two paths share from the top."""
    one, two = folder(a).split("/"), folder(b).split("/")
    return next((i for i, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), min(len(one), len(two)))


def related(a: str, b: str) -> bool:
    """Whether two files may be of one project: one lies in a folder above the other, or where their folders part, one of the
    two is named for what it holds (training, serving, models, src, ...). Folders with names of their own are projects."""
    one, two = folder(a).split("/"), folder(b).split("/")
    rest = next(((x, y) for x, y in zip(one, two, strict=False) if x != y), None)
    if rest is None or not folder(a) or not folder(b):
        return True
    return any(w in words.ROLES or w in words.GENERIC for part in rest for w in words.words(part))


def nearest(path: str, others: Iterable[tuple[str, Norm]]) -> list[Norm]:
    """Of what lies at several places of a project, that which shares the most folders with `path`."""
    listed = [(p, n) for p, n in others if related(path, p)]
    most = max((nearness(path, p) for p, _ in listed), default=0)
    return [n for p, n in listed if nearness(path, p) == most]


def located(repo: Repository, by: str, name: str) -> str:
    """The file that a name in the file `by` means; "" where none does, or several would."""
    parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    if not parts:
        return ""
    home = folder(by)
    while True:  # beside it, or in a folder above
        here = "/".join((home, *parts)) if home else "/".join(parts)
        if here in repo.models or here in repo.tables:
            return here
        if not home:
            break
        home = folder(home)
    found = repo.names.get(parts[-1], ())
    for count in range(len(parts), 0, -1):
        ending = "/".join(parts[-count:])
        fitting = [p for p in found if p == ending or p.endswith("/" + ending)]
        if fitting:
            best = max(nearness(by, p) for p in fitting)
            close = [p for p in fitting if nearness(by, p) == best]
            beside = [p for p in close if folder(p) == folder(by)]
            return close[0] if len(close) == 1 else beside[0] if len(beside) == 1 else ""
    return ""


def modules_of(repo: Repository, code: Facts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Files of the repository that a file imports, and the names it takes from them, () for the module itself."""
    for module, taken in code.imports:
        stem = module.strip(".").rpartition(".")[2]
        wanted = [(stem, tuple(t for t in taken if t))] if stem else []
        wanted += [(t, ()) for t in taken if t]  # from package import module
        for name, names in wanted:
            fitting = [p for p in repo.modules.get(name, ()) if p != code.path]
            if fitting:
                yield max(fitting, key=lambda p: nearness(code.path, p)), names


def reads(repo: Repository, code: Facts) -> Iterator[str]:
    """Paths of models and statistics that a file, or what it imports, names without writing them."""
    reached = [code, *(repo.files[p] for p, _ in modules_of(repo, code))]
    written = {m.name for f in reached for m in f.mentions if m.how == "writes"}
    for f in reached:
        for m in f.mentions:
            if m.how == "loads":
                for config in ("preprocessor_config.json", "processor_config.json"):
                    found = located(repo, f.path, f"{m.name}/{config}")
                    if found and folder(found).endswith(m.name.strip("./")):
                        yield found
            elif m.how == "served":
                yield from _served(repo, f.path, m.name)
            elif m.how == "folder":
                home = "/".join(p for p in (folder(f.path), m.name.strip("./")) if p) + "/"
                yield from (p for p in repo.tables if p.startswith(home))
            elif m.how != "writes" and m.name not in written:
                found = located(repo, f.path, m.name)
                if found:
                    yield found


def _served(repo: Repository, by: str, name: str) -> list[str]:
    """The model files of a server's model by its name: Triton's NAME/1/model.onnx."""
    found = [p for p in repo.models if name in p.split("/")[-3:-1] and p.split("/")[-2].isdigit()]
    most = max((nearness(by, p) for p in found), default=0)
    return [p for p in found if nearness(by, p) == most]


def models_named(repo: Repository, code: Facts) -> list[Model]:
    """The models that a file names itself."""
    return list({p: repo.models[p] for p in reads(repo, code) if p in repo.models}.values())


def models_of(repo: Repository, code: Facts) -> list[Model]:
    """The models that a file runs: those it names; else those beside or below it; else the only one there is."""
    named = models_named(repo, code)
    if named or code.role != "serve":
        return named
    home = folder(code.path)
    if home.rpartition("/")[2].isdigit() and code.path.endswith("/model.py"):  # Triton's NAME/1/model.py
        name = folder(home).rpartition("/")[2]
        fed = {b for f in repo.files.values() for a, b in f.feeds if a == name}
        return [repo.models[p] for b in sorted(fed) for p in _served(repo, code.path, b)]
    beside = [m for f, paths in repo.folders.items() if f == home or (home and f.startswith(home + "/")) for m in paths]
    if not beside and len(repo.models) == 1:
        beside = list(repo.models)
    return [repo.models[p] for p in beside]


def tables_of(repo: Repository, code: Facts) -> list[Table]:
    """The statistics that a file names."""
    return [t for p in dict.fromkeys(reads(repo, code)) for t in repo.tables.get(p, ())]


def pairs_of(facts: Facts) -> Iterator[tuple[Where, str, Array, Array]]:
    """What calls are given as a mean and a std; named constants of a module: MEAN and STD, CFG.mean and CFG.std."""
    yield from facts.pairs
    for name, mean in facts.constants.items():
        if words.part(name) != "mean":
            continue
        rest = [w for w in words.words(name) if words.part(w) != "mean"]
        for other, std in facts.constants.items():
            if words.part(other) == "std" and [w for w in words.words(other) if words.part(w) != "std"] == rest:
                m, s = (v.ravel() for v in (mean, std))
                if m.size == s.size > 1:
                    yield Where(facts.path), f"{name}, {other}", m, s


def norms_of(repo: Repository, code: Facts) -> list[Norm]:
    """The normalizations of a file and of what it imports by name, with constants looked up where they are."""
    found = [resolved(repo, code, n) for n in code.norms]
    for path, names in modules_of(repo, code):
        other = repo.files[path]
        for norm in other.norms:
            if not names or "*" in names or norm.function.split(".")[0] in names or not norm.function:
                found.append(replace(resolved(repo, other, norm), role=norm.role or code.role))
    return found


def resolved(repo: Repository, code: Facts, norm: Norm) -> Norm:
    """A normalization with its constants from the modules and statistics files that its file names, where they are there."""
    if not any(isinstance(v, Ref) for _, v in norm.steps):
        return norm
    tables = [t for t in tables_of(repo, code) if not t.target and known(t.norm) is not None]
    table = tables[0] if len(tables) == 1 else None
    return replace(norm, steps=tuple((op, _resolved(repo, code, v, table)) for op, v in norm.steps))


def _resolved(repo: Repository, code: Facts, operand: Operand, table: Table | None) -> Operand:
    if not isinstance(operand, Ref):
        return operand
    if operand.module:
        stem = operand.module.strip(".").rpartition(".")[2]
        heads = dict.fromkeys((stem, operand.name.split(".")[0], operand.text.split(".")[0]))
        for path in (p for h in heads for p in repo.modules.get(h, ())):
            held = repo.files[path].constants
            for called in (operand.name, operand.text, operand.name.rpartition(".")[2]):
                name, _, at = called.partition("#")
                found = held.get(name)
                if found is not None and (not at or (found.ndim and int(at) < len(found))):
                    one = _flat(found[int(at)] if at else found)
                    return np.sqrt(one) if operand.root else one
        return operand
    kept = known(table.norm) if table is not None and not operand.text.endswith("()") else None
    if kept is None or operand.role not in ("mean", "std"):
        return operand
    values = kept[0] if operand.role == "mean" else kept[1]
    if operand.text.endswith((".image_mean", ".image_std")) and table is not None and table.space.transform is not None:
        first = table.space.transform.steps[0]  # the file's own numbers are for what its rescale gives
        if first.op == "Mul" and first.operands[0].size == 1:
            return values * float(first.operands[0].ravel()[0])
    return values


def _flat(values: Array) -> Array:
    return values.reshape([d for d in values.shape if d != 1] or ())
