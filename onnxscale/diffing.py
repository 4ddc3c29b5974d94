"""Two models, two statistics files, or one of each: does the same normalization stand before (and behind) the model, and
if not, what changed. Nothing is run, and of a model behind a URL little is read; effects.py runs both on your rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from onnxscale import changes, modelfile, origins, ports, remote, saving
from onnxscale.changes import Changed
from onnxscale.effects import Effect, effects
from onnxscale.errors import PlanError, names
from onnxscale.ports import Port
from onnxscale.spaces import Difference, Space, settled
from onnxscale.statistics import Reading

SAME, DIFFERS, UNSCALED = "same", "differs", "not scaled"


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two. name: of the file. kind: "model" or "statistics". size: bytes of a model's file, else 0."""

    name: str
    kind: str
    ports: tuple[Port, ...]
    size: int = 0


@dataclass(frozen=True, eq=False)
class Compared:
    """One tensor of A and of B; None where only the other has it. verdict: "same", "differs" or "not scaled" (nothing in
    either says how its values are scaled). reason: in words, how they differ. features: those that changed."""

    role: str
    a: Port | None
    b: Port | None
    verdict: str
    reason: str = ""
    features: tuple[Changed, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Diff:
    """What differs between A and B. tensors: every pair that was compared. outputs: what it does to the outputs, where rows
    were given. tolerance: in sigmas, None for "to 9 significant digits". notes: what is not judged."""

    a: Side
    b: Side
    tensors: tuple[Compared, ...]
    outputs: tuple[Effect, ...] = ()
    tolerance: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing that was compared differs."""
        return all(t.verdict != DIFFERS for t in self.tensors) and all(o.holds for o in self.outputs)


def diff(
    a: object, b: object, *, data: str | os.PathLike[str] | None = None, tolerance: float | None = None, input: str = "",
    output: str = "", reading: Reading | None = None, seconds: float = 300,
) -> Diff:  # fmt: skip
    """Compare the normalization of two models (paths, URLs, bytes, ModelProto), of two statistics, or of one of each.

    data: raw rows (npy, npz, csv, parquet) on which both models are run, in a process of their own. tolerance: in sigmas;
    by default functions are the same where they are to 9 significant digits, or as far as float32 tells where constants
    were read back from a graph. input, output: the tensor that unnamed statistics are for.
    Raises ModelError or StatisticsError for what cannot be read, PlanError where nothing says what is to be compared.
    """
    one, two = (_side(x, i, reading, input, output) for x, i in ((a, "A"), (b, "B")))
    if data is not None and not one.kind == two.kind == "model":
        raise PlanError("--data runs two models on the same rows; one of the two given is statistics")
    tensors = tuple(_compared(one, two, p, q, tolerance) for p, q in _pairs(one, two))
    if not tensors:
        raise PlanError(f"{one.name} and {two.name} have no tensor in common that could be compared")
    made = Diff(one, two, tensors, (), tolerance, _notes(a, b, one, two, tensors))
    if data is None:
        return made
    renamed = {t.a.name: t.b.name for t in tensors if t.a is not None and t.b is not None and t.a.name and t.b.name}
    found, notes = effects(a, b, one.ports, renamed, data, seconds)
    return replace(made, outputs=found, notes=(*made.notes, *notes))


def _side(source: object, label: str, reading: Reading | None, input: str, output: str) -> Side:
    if origins.is_model(source) or _called_model(source):
        with modelfile.open_model(source) as model:  # type: ignore[arg-type]
            name = label if model.name == "the model" else model.name
            return Side(name, "model", ports.of_model(model), len(model.data))
    found = origins.read(source, reading)
    named = ports.of_statistics(found)
    if output and all(p.role == "input" and p.name is None for p in named):
        named = tuple(replace(p, role="output", name=output) for p in named)
    elif input:
        named = tuple(replace(p, name=input) if p.role == "input" and p.name is None else p for p in named)
    return Side(found.source.path or label, "statistics", named)


def _called_model(source: object) -> bool:
    """A file that is called a model is read as one, so that what is wrong with it is said of a model."""
    return isinstance(source, str | os.PathLike) and not remote.is_url(source) and Path(source).suffix == ".onnx"


def _pairs(a: Side, b: Side) -> list[tuple[Port | None, Port | None]]:
    """Ports of the same role: those of one name; then the one that unnamed statistics fit; then those left over, one each."""
    found: list[tuple[Port | None, Port | None]] = []
    for role in ("input", "output"):
        mine, yours = ([p for p in s.ports if p.role == role] for s in (a, b))
        for p in list(mine):
            q = next((q for q in yours if q.name == p.name), None)
            if q is not None:
                found.append((p, q))
                mine.remove(p)
                yours.remove(q)
        for unnamed, others, first in ((mine, yours, True), (yours, mine, False)):
            for p in [p for p in unnamed if p.name is None]:
                q = _fitting(p, others, a if not first else b)
                if q is not None:
                    found.append((p, q) if first else (q, p))
                    unnamed.remove(p)
                    others.remove(q)
        if len(mine) == len(yours) == 1 and (a.kind == b.kind or _scaled(mine[0]) == _scaled(yours[0])):
            found.append((mine.pop(), yours.pop()))
        found += [(p, None) for p in mine if _tells(p, b)] + [(None, q) for q in yours if _tells(q, a)]
    return found


def _scaled(port: Port) -> bool:
    return port.inside.transform is not None


def _tells(port: Port, other: Side) -> bool:
    """Whether it says something that the other side has no tensor for: statistics need not speak of all of a model's."""
    return other.kind == "model" or (port.spec is None and _scaled(port))


def _fitting(port: Port, others: Sequence[Port], side: Side) -> Port | None:
    """The port of a model that unnamed statistics are for. Raises PlanError where several would do."""
    shape = () if port.inside.transform is None else port.inside.transform.shape
    for fits in (_scaled, lambda q: q.spec is None or q.spec.dtype.startswith(("float", "uint8", "bfloat"))):
        some = [q for q in others if fits(q)]
        close = [q for q in some if q.inside.transform is None or q.inside.transform.shape in ((), shape)]
        if len(some) == 1 or len(close) == 1:
            return some[0] if len(some) == 1 else close[0]
        if len(some) > 1:
            listed = names(q.name for q in some)
            raise PlanError(f"{side.name}: the statistics fit {listed}; say which with --input or --output")
    return None


def _compared(one: Side, two: Side, a: Port | None, b: Port | None, tolerance: float | None) -> Compared:
    port = a or b
    assert port is not None
    if a is None or b is None:
        where, absent = ("A", two.name) if b is None else ("B", one.name)
        what = f"is scaled in {where} ({port.inside.prose()})" if _scaled(port) else f"is only in {where}"
        return Compared(port.role, a, b, DIFFERS, f"{what}; {absent} has no such tensor")
    notes = _beside(a, b)
    a, b = _taken(a, b, tolerance), _taken(b, a, tolerance)
    if not _scaled(a) and not _scaled(b):
        return Compared(a.role, a, b, UNSCALED, notes=notes)
    if not _scaled(a) or not _scaled(b):
        return Compared(a.role, a, b, DIFFERS, _left(one, two, a, b), notes=notes)
    here, there = _settled(a, b), _settled(b, a)
    found = changes.differs(here, there, tolerance)
    wrong, note = changes.renamed(here, there)
    turned = changes.reordered(here, there) if found is not None else ""
    if note:
        notes = (*notes, note)
    if found is not None:
        reason = turned or found.reason.replace("the first", "A").replace("the second", "B")
        return Compared(a.role, a, b, DIFFERS, reason, changes.changed(here, there, found), notes)
    return Compared(a.role, a, b, DIFFERS, wrong, notes=notes) if wrong else Compared(a.role, a, b, SAME, notes=notes)


NEAR = 0.5  # sigmas, within which what a graph begins with is meant to be what the other side says


def _taken(port: Port, other: Port, tolerance: float | None) -> Port:
    """A bare input whose graph starts with what the other side says, or feature by feature with nearly that (an epsilon that a
    BatchNormalization adds), taken for it: the nodes alone would not tell a scaler from a model's own arithmetic."""
    if _scaled(port) or port.maybe is None or not _scaled(other):
        return port
    read = replace(port, inside=port.maybe, how="recognized")
    here, there = _settled(read, other), _settled(other, read)
    found = changes.differs(here, there, tolerance)
    shaped = here.transform is not None and here.transform.shape not in ((), (1,))
    if found is None or (shaped and max((c.sigmas for c in changes.changed(here, there, found)), default=1.0) <= NEAR):
        return read
    return port


def _settled(port: Port, other: Port) -> Space:
    """The space inside, with its axis counted from the start where the rank is known: of a statistics file, the model's."""
    return settled(port.inside, _rank(port) or _rank(other))


def _left(one: Side, two: Side, a: Port, b: Port) -> str:
    """One of the two scales, of the other nothing is known."""
    port, there, bare, other = (a, "A", "B", two) if _scaled(a) else (b, "B", "A", one)
    said = port.inside.prose()
    takes = "takes" if port.role == "input" else "gives"
    maybe = (b if there == "A" else a).maybe
    begins = "" if maybe is None else f"; the graph of {bare} begins with another function ({maybe.prose()})"
    if other.kind == "model" and (one if there == "A" else two).kind == "statistics":
        where = f"the normalization is not in the graph of {bare} ({other.name}), which {takes} scaled values"
        return f"{where}; {there} says {said}{begins}"
    moved = "left" if there == "A" else "came into"
    return (
        f"the normalization {moved} the graph: {there} has {said}; {bare} {takes} values that are scaled elsewhere, "
        f"or not at all{begins}"
    )


def _beside(a: Port, b: Port) -> tuple[str, ...]:
    """What changed of a tensor that is no function of its values."""
    found = []
    if a.name and b.name and a.name != b.name:
        found.append(f"called {a.name!r} in A, {b.name!r} in B")
    if a.spec is not None and b.spec is not None:
        for what, x, y in (("type", a.spec.dtype, b.spec.dtype), ("rank", _rank(a), _rank(b))):
            if x != y and x is not None and y is not None:
                found.append(f"{what} {x} in A, {y} in B")
    found += [f"{letter}: {p.note}" for letter, p in (("A", a), ("B", b)) if p.note]
    found += _laid(a, b)
    s, t = a.inside.source, b.inside.source
    if s.ddof is not None and t.ddof is not None and s.ddof != t.ddof:
        found.append(f"ddof {s.ddof} in A, {t.ddof} in B")
    if s.zero_variance and t.zero_variance and s.zero_variance != t.zero_variance:
        found.append(f"constant features: {s.zero_variance} (A); {t.zero_variance} (B)")
    return tuple(found)


def _laid(a: Port, b: Port) -> list[str]:
    """What the two say of the order of their dimensions, where it is not one."""
    found = []
    orders = [None if p.inside.transform is None else p.inside.transform.order for p in (a, b)]
    if orders[0] != orders[1] and a.spec is not None and b.spec is not None:
        said = [
            f"{w} takes them {'as the model has them' if o is None else f'to be put in the order {o} first'}"
            for o, w in zip(orders, "AB", strict=True)
        ]
        found.append(f"the dimensions of what the app feeds are in another order: {'; '.join(said)}")
    m, n = (_settled(p, q).axis for p, q in ((a, b), (b, a)))
    if m is not None and n is not None and (m < 0) != (n < 0):
        found.append(
            f"features at axis {m} in A, at axis {n} in B: one and the same only in a tensor of {max(m, n) - min(m, n)} dimensions"
        )
    return found


def _rank(port: Port) -> int | None:
    return None if port.spec is None or port.spec.shape is None else len(port.spec.shape)


def _notes(a: object, b: object, one: Side, two: Side, tensors: Sequence[Compared]) -> tuple[str, ...]:
    """What the verdict does not say: files whose normalization is the same may differ in all else."""
    notes = []
    if all(t.verdict == UNSCALED for t in tensors):
        notes.append("neither carries a normalization that can be read, so none was compared")
    local = [Path(x) for x in (a, b) if isinstance(x, str | os.PathLike) and not remote.is_url(x)]
    if one.kind == two.kind == "model" and any(t.verdict != DIFFERS for t in tensors):
        files = len(local) == 2 and all(p.is_file() for p in local)
        if one.size != two.size or (files and not saving.equal_files(*local)):
            notes.append("the files differ in more than that (weights, nodes or metadata); --data shows what it does")
    return tuple(notes)


def label(port: Port | None, side: Side) -> str:
    """What to call a port: how its normalization is known, and from where."""
    if port is None:
        return f"{PurePosixPath(side.name).name}: no such tensor"
    source = port.inside.source
    origin = " ".join(w for w in (source.format, source.path, source.framework, source.version) if w)
    ddof = "" if source.ddof is None else f", ddof {source.ddof}"
    how = {"bare": "nothing in the graph scales it", "declared": "statistics"}.get(port.how, port.how)
    return f"{PurePosixPath(side.name).name}: {how}{f', {origin}' if origin else ''}{ddof}"


__all__ = ["DIFFERS", "SAME", "UNSCALED", "Compared", "Diff", "Difference", "Side", "diff", "label"]
