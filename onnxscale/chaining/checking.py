"""Whether what each stage gives is what the next one takes; where not, how they differ in words, and what would help."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxscale import changes
from onnxscale.chaining import tensors
from onnxscale.chaining.contracts import Tensor
from onnxscale.chaining.document import Chain, Edge
from onnxscale.chaining.tensors import Ends
from onnxscale.errors import StatisticsError
from onnxscale.spaces import TOLERANCE, between, canonical, compare, worded
from onnxscale.steps.arithmetic import brief
from onnxscale.transform import Transform

HOLDS, DIFFERS, UNKNOWN = "holds", "differs", "unknown"


@dataclass(frozen=True, eq=False)
class Checked:
    """An edge. verdict: holds, differs or unknown; reasons: in words. adapter: what would make it hold, None where nothing known
    would. ends: the tensors. notes: what is no contradiction and worth a look."""

    edge: Edge
    verdict: str
    reasons: tuple[str, ...]
    ends: Ends
    adapter: Transform | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """A chain, checked. free: inputs that no edge feeds, which the app does. conflicts: declarations that a model contradicts."""

    chain: Chain
    edges: tuple[Checked, ...]
    free: tuple[str, ...]
    conflicts: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """differs where an edge does or a declaration is contradicted; else unknown where an edge is, or where there is none;
        else holds."""
        if not self.edges and not self.conflicts:
            return UNKNOWN
        met = {e.verdict for e in self.edges} | ({DIFFERS} if self.conflicts else set())
        return next((v for v in (DIFFERS, UNKNOWN) if v in met), HOLDS)


def check(chain: Chain) -> Report:
    """Read every stage and compare the ends of every edge. Nothing is run. Raises ChainError, ModelError."""
    known = tensors.stages(chain)
    made = tensors.ends(chain, known)
    fed = {(e.edge.target, e.edge.input) for e in made}
    free = tuple(f"{s}.{n}" for s, k in known.items() for n in k.inputs if (s, n) not in fed)
    conflicts = tuple(c for k in known.values() for c in k.conflicts)
    return Report(chain, tuple(_checked(e) for e in made), free, conflicts)


def _checked(ends: Ends) -> Checked:
    given, taken = ends.given, ends.taken
    meant, notes = _meaning(given, taken)
    wrong = (*_sizes(given, taken), *meant)
    verdict = DIFFERS if wrong else HOLDS
    if any(t.spec is not None and t.spec.dtype in ("string", "bool") for t in (given, taken)):
        return Checked(ends.edge, verdict, wrong, ends, None, notes)
    if given.space.transform is None or taken.space.transform is None:
        side = ends.edge.source if given.space.transform is None else ends.edge.target
        name, part = (given.name, "outputs") if given.space.transform is None else (taken.name, "inputs")
        said = f"nothing says how {side}.{name} is scaled: declare it ({part}: {{{name}: raw}}, or statistics), or bake the model"
        return Checked(ends.edge, DIFFERS if wrong else UNKNOWN, wrong or (said,), ends, None, notes)
    difference = changes.differs(given.space, taken.space, TOLERANCE)
    if difference is None:
        return Checked(ends.edge, verdict, wrong, ends, None, notes)
    said = _scaled(ends, difference.reason)
    if wrong:
        return Checked(ends.edge, DIFFERS, (*wrong, said), ends, None, notes)
    adapter = _adapter(ends)
    help_ = "no adapter would do" if adapter is None else f"the edge needs: {_shortest(adapter)} (onnxscale chain fix)"
    return Checked(ends.edge, DIFFERS, (said, help_), ends, adapter, notes)


def _adapter(ends: Ends) -> Transform | None:
    try:
        return between(ends.given.space, ends.taken.space)
    except StatisticsError:
        return None


def _shortest(adapter: Transform) -> str:
    form = canonical(adapter)
    return min((worded(form), form.prose()), key=len)


def _scaled(ends: Ends, reason: str) -> str:
    given, taken = ends.given, ends.taken
    source, target = ends.edge.source, ends.edge.target
    inside = taken.inside.transform
    itself = inside is not None and not taken.inside.raw and taken.space.raw and not given.space.raw
    if inside is not None and itself and compare(given.space, taken.inside) is None:
        known = changes.constants(inside)
        by = f"with mean {brief(known['mean'])}, std {brief(known['std'])}" if known else f"({taken.inside.prose()})"
        return f"scaled twice {by}: {source} gives it scaled already, and {target} scales it itself"
    called = {"A": source, "B": target, "the first": source, "the second": target}
    reason = re.sub(r"\b(?:A|B|the first|the second)\b", lambda m: called[m[0]], reason)
    more = f"; {target} then scales it itself ({taken.inside.prose()}), which makes it scaled twice" if itself else ""
    return f"{source} gives {given.space.prose()}; {target} takes {taken.space.prose()}: {reason}{more}"


def _sizes(given: Tensor, taken: Tensor) -> list[str]:
    a, b = given.spec, taken.spec
    if a is None or b is None:
        return []
    found = []
    if a.dtype and b.dtype and a.dtype != b.dtype:
        found.append(f"{given.name} is {a.dtype}, {taken.name} is {b.dtype}")
    if a.shape is not None and b.shape is not None:
        if len(a.shape) != len(b.shape):
            found.append(f"{a.prose()} has {len(a.shape)} dimensions, {b.prose()} has {len(b.shape)}")
        elif any(isinstance(m, int) and isinstance(n, int) and m != n for m, n in zip(a.shape, b.shape, strict=True)):
            found.append(f"the shapes do not fit: {a.prose()}, {b.prose()}")
    return found


def _meaning(given: Tensor, taken: Tensor) -> tuple[list[str], tuple[str, ...]]:
    """What the names say that contradicts the edge, and what may."""
    found = list[str]()
    notes = list[str]()
    if given.embedding and taken.embedding and given.embedding != taken.embedding:
        found.append(
            f"{given.name} holds vectors of {given.embedding!r}, {taken.name} expects those of {taken.embedding!r}"
        )
    for what in ("features", "units"):
        a, b = getattr(given.space, what), getattr(taken.space, what)
        if not a or not b or a == b:
            continue
        at = next((i for i, (m, n) in enumerate(zip(a, b, strict=False)) if m != n), min(len(a), len(b)))
        pair = (a[at : at + 1] or ("nothing",))[0], (b[at : at + 1] or ("nothing",))[0]
        kind = "in another order" if sorted(a) == sorted(b) else "others"
        said = f"the {what} are {kind}: at {at} it is {pair[0]!r} in {given.name}, {pair[1]!r} in {taken.name}"
        renamed = what == "features" and not set(a) & set(b) and len(a) == len(b) and "baked" in (given.how, taken.how)
        (notes if renamed else found).append(said)
    return found, tuple(notes)
