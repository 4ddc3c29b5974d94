"""Whether what each stage gives is what the next one takes; where not, how they differ in words, and what would help."""

from __future__ import annotations

from dataclasses import dataclass

from onnxscale.chaining import tensors
from onnxscale.chaining.contracts import Tensor
from onnxscale.chaining.document import Chain, Edge
from onnxscale.chaining.tensors import Ends
from onnxscale.errors import StatisticsError
from onnxscale.spaces import between, compare
from onnxscale.transform import Transform

HOLDS, DIFFERS, UNKNOWN = "holds", "differs", "unknown"


@dataclass(frozen=True, eq=False)
class Checked:
    """An edge. verdict: holds, differs or unknown; reasons: in words. adapter: what would make it hold, None where nothing known
    would. ends: the tensors."""

    edge: Edge
    verdict: str
    reasons: tuple[str, ...]
    ends: Ends
    adapter: Transform | None = None


@dataclass(frozen=True, eq=False)
class Report:
    """A chain, checked. free: inputs that no edge feeds, which the app does. conflicts: declarations that a model contradicts."""

    chain: Chain
    edges: tuple[Checked, ...]
    free: tuple[str, ...]
    conflicts: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """differs where an edge does or a declaration is contradicted; else unknown where an edge is; else holds."""
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
    wrong = [*_sizes(given, taken), *_meaning(given, taken)]
    numbers = not any(t.spec is not None and t.spec.dtype in ("string", "bool") for t in (given, taken))
    if not numbers:
        return Checked(ends.edge, DIFFERS if wrong else HOLDS, tuple(wrong), ends)
    if given.space.transform is None or taken.space.transform is None:
        side = ends.edge.source if given.space.transform is None else ends.edge.target
        name, part = (given.name, "outputs") if given.space.transform is None else (taken.name, "inputs")
        said = f"nothing says how {side}.{name} is scaled: declare it ({part}: {{{name}: raw}}, or statistics), or bake the model"
        return Checked(ends.edge, DIFFERS if wrong else UNKNOWN, (*wrong, *([] if wrong else [said])), ends)
    difference = compare(given.space, taken.space)
    if difference is None:
        return Checked(ends.edge, DIFFERS if wrong else HOLDS, tuple(wrong), ends)
    adapter = _adapter(ends)
    return Checked(ends.edge, DIFFERS, (*wrong, *_scaled(ends, difference.reason, adapter)), ends, adapter)


def _adapter(ends: Ends) -> Transform | None:
    try:
        return between(ends.given.space, ends.taken.space)
    except StatisticsError:
        return None


def _scaled(ends: Ends, reason: str, adapter: Transform | None) -> list[str]:
    given, taken = ends.given, ends.taken
    twice = taken.inside.transform is not None and not taken.inside.raw and compare(given.space, taken.inside) is None
    if twice:
        what = taken.inside.prose()
        said = f"scaled twice: {ends.edge.source} gives it scaled already, and {ends.edge.target} scales it itself ({what})"
    else:
        said = (
            f"{ends.edge.source} gives {given.space.prose()}; {ends.edge.target} takes {taken.space.prose()}: {reason}"
        )
    help_ = "no adapter would do" if adapter is None else f"it needs: {adapter.prose()} (onnxscale chain fix)"
    return [said, help_]


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


def _meaning(given: Tensor, taken: Tensor) -> list[str]:
    found = []
    if given.embedding and taken.embedding and given.embedding != taken.embedding:
        found.append(
            f"{given.name} holds vectors of {given.embedding!r}, {taken.name} expects those of {taken.embedding!r}"
        )
    for what in ("features", "units"):
        a, b = getattr(given.space, what), getattr(taken.space, what)
        if a and b and a != b:
            at = next((i for i, (m, n) in enumerate(zip(a, b, strict=False)) if m != n), min(len(a), len(b)))
            pair = (a[at : at + 1] or ("nothing",))[0], (b[at : at + 1] or ("nothing",))[0]
            kind = "in another order" if sorted(a) == sorted(b) else "others"
            found.append(f"the {what} are {kind}: at {at} it is {pair[0]!r} and {pair[1]!r}")
    return found
