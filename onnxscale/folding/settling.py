"""Where nodes stand for the readers that take nothing: as early as they can, and once.

A passage (a node that only moves values) after which nobody absorbs reads scaled values itself, so that one run of nodes
serves all that follows. The same holds where nodes after it cannot be written, or where its result is an output of the
graph. A passage that mixes raw and scaled values cannot be: where one of its inputs is scaled, all are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnxscale.folding.base import Refusal
from onnxscale.folding.choosing import Absorption, Judge, Verdict
from onnxscale.folding.nodes import placed
from onnxscale.folding.walk import Leaf, Passage, Trail
from onnxscale.graph import Reader
from onnxscale.precision import UNIT


@dataclass(frozen=True, eq=False)
class Settled:
    """verdicts: what is really done, node by node. absorptions: the same in words, for every reader met. passing: the
    nodes that move raw values. composed: those whose arithmetic is done by composed nodes behind them."""

    verdicts: tuple[Verdict, ...]
    absorptions: tuple[Absorption, ...]
    passing: tuple[Passage, ...]
    composed: tuple[Passage, ...]


def settle(judge: Judge, trail: Trail) -> Settled:
    """What every reader takes, with the passages that have to read scaled values among them."""
    verdicts = [judge.verdict(trail, leaf) for leaf in trail.leaves]
    collapsed: dict[int, str] = {}
    while True:
        raw, passing, acting = _valid(trail, collapsed)
        live = [v for v in verdicts if raw.intersection(v.leaf.sources)]
        found, composed = _collapsible(trail, passing, acting, live)
        if found is None:
            break
        collapsed[id(found[0])] = found[1]
    kept = {id(v) for v in live}
    said = [v.absorption if id(v) in kept or v.change is None else _dropped(v) for v in verdicts]
    said += [
        Absorption(Reader(p.node, "").prose(), "nothing", why)
        for p in trail.passages
        if (why := collapsed.get(id(p), ""))
    ]
    done = [v if v.change is not None else replace(v, leaf=_only(v.leaf, raw)) for v in live]
    for passage in acting:
        ports = tuple(i for i, n in enumerate(passage.node.input) if n in raw)
        done.append(Verdict(Leaf(passage.node, ports, ()), Absorption(passage.node.op_type, "nothing")))
    for passage in composed:
        error = judge.composed(trail.carried[passage.results[0]])
        said.append(Absorption(Reader(passage.node, "").prose(), "all", "composed with the scaler", error))
    return Settled(tuple(done), tuple(said), tuple(passing), tuple(composed))


def _valid(trail: Trail, collapsed: dict[int, str]) -> tuple[set[str], list[Passage], list[Passage]]:
    """The tensors that hold raw values; the passages that move them on; those that read scaled ones instead."""
    raw, passing, acting = {trail.start}, [], []
    for passage in trail.passages:
        have = raw.intersection(passage.sources)
        if have and (id(passage) in collapsed or len(have) < len(passage.sources)):
            acting.append(passage)
        elif have:
            raw.update(passage.results)
            passing.append(passage)
    return raw, passing, acting


def _collapsible(
    trail: Trail, passing: list[Passage], acting: list[Passage], live: list[Verdict]
) -> tuple[tuple[Passage, str] | None, list[Passage]]:
    """A passage that has to read scaled values, and why where it is worth saying; and those to compose with."""
    composed: list[Passage] = []
    absorbing: dict[int, bool] = {}
    for passage in reversed(passing):
        results = set(passage.results)
        writes = passage.composes and trail.carried[passage.results[0]].affine() is not None
        if results & trail.outputs and not writes:
            return (passage, "its result is an output of the model"), composed
        readers = [v for v in live if results.intersection(v.leaf.sources)]
        onward = [p for p in passing if results.intersection(p.sources)]
        absorbs = any(v.change is not None for v in readers) or any(absorbing[id(p)] for p in onward)
        absorbing[id(passage)] = absorbs
        in_need = {s for v in readers if v.change is None for s in v.leaf.sources}
        in_need.update(s for p in acting for s in p.sources)
        needed = results & (in_need | trail.outputs)
        why = next(filter(None, (_unwritable(trail, n) for n in sorted(needed))), "")
        if needed and writes and not why and (not absorbs or results & trail.outputs):
            absorbing[id(passage)] = True
            composed.append(passage)
        elif needed and (why or not absorbs):
            return (passage, why), composed
    return None, composed


def _unwritable(trail: Trail, name: str) -> str:
    """Why nodes cannot stand after this tensor; "" where they can."""
    carried = trail.carried[name]
    units = [UNIT.get(d, 1.0) for d in carried.passed]
    if max(units) > units[0]:
        return f"a Cast to {carried.dtype} would round the raw values"
    found = placed(carried)
    return found.reason if isinstance(found, Refusal) else ""


def _dropped(verdict: Verdict) -> Absorption:
    return Absorption(verdict.absorption.node, "nothing", "other readers of the same values need them scaled before")


def _only(leaf: Leaf, raw: set[str]) -> Leaf:
    ports = tuple(p for p in leaf.ports if leaf.node.input[p] in raw)
    return replace(leaf, ports=ports, captured=tuple(n for n in leaf.captured if n in raw))
