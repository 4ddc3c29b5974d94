"""What each stage of a chain takes and gives: read from its model where it carries a scaler, from its contract, and from what the
chain declares; and every edge with both of its ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from onnxscale import ports
from onnxscale.chaining import contracts
from onnxscale.chaining.contracts import Tensor
from onnxscale.chaining.document import Chain, Edge, Stage, nearest
from onnxscale.errors import ChainError, OnnxscaleError
from onnxscale.ports import Port
from onnxscale.spaces import Space, compare


@dataclass(frozen=True, eq=False)
class Known:
    """A stage with its tensors by name. conflicts: where the chain declares what the model itself says otherwise, in words."""

    stage: Stage
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Ends:
    """An edge and the tensors at its ends."""

    edge: Edge
    given: Tensor
    taken: Tensor


def stages(chain: Chain) -> dict[str, Known]:
    """Every stage of a chain. Raises ChainError for a tensor that a stage does not have, ModelError for a broken model."""
    return {name: _known(chain, stage) for name, stage in chain.stages.items()}


def _known(chain: Chain, stage: Stage) -> Known:
    if stage.contract:
        inputs, outputs = contracts.read(chain.folder / stage.contract)
    else:
        try:
            found = ports.of(chain.at(stage.model))
        except OnnxscaleError as error:
            raise ChainError(f"stage {stage.name!r}: {error}") from None
        if any(p.spec is None for p in found):
            raise ChainError(f"stage {stage.name!r}: {stage.model} holds statistics; expected an ONNX model")
        inputs, outputs = ({str(p.name): _of(p) for p in found if p.role == role} for role in ("input", "output"))
    conflicts = [f"{stage.name}.{t.name} {t.wrong}" for t in (*inputs.values(), *outputs.values()) if t.wrong]
    sides = (("inputs", inputs, stage.inputs), ("outputs", outputs, stage.outputs))
    for part, tensors, said in sides:
        for name, text in said.items():
            if name not in tensors:
                raise ChainError(f"stages.{stage.name}.{part}: no tensor {name!r}{nearest(name, tensors)}")
            where = f"stages.{stage.name}.{part}.{name}"
            held = tensors[name]
            space, wrong = contracts.fitted(contracts.declared(text, where, chain.folder), held.spec)
            conflicts += [f"{stage.name}.{name} {wrong}"] if wrong else []
            if held.space.transform is not None and held.how in ("baked", "contract"):
                if compare(held.space, space) is not None:
                    conflicts.append(f"{stage.name}.{name} is declared as {_contradicted(held, space, stage)}")
                continue
            space = replace(
                space, features=space.features or held.space.features, units=space.units or held.space.units
            )
            tensors[name] = replace(held, space=space, how="declared")
    return Known(stage, inputs, outputs, tuple(conflicts))


def _contradicted(held: Tensor, space: Space, stage: Stage) -> str:
    """What is declared of a tensor that says it otherwise itself, and what to do where both mean the same."""
    who = "model" if stage.model else "contract"
    said = f"{space.prose()}, and the {who} itself says {held.space.prose()}"
    if held.inside.transform is not None and compare(held.inside, space) is None:
        said += (
            "; these statistics are baked into it, so that what crosses its boundary is raw: declare raw, or nothing"
        )
    return said


def _of(port: Port) -> Tensor:
    return Tensor(str(port.name), port.spec, port.outside, port.inside, port.how)


def ends(chain: Chain, known: Mapping[str, Known]) -> list[Ends]:
    """The edges with their tensors. Raises ChainError where one is missing, ambiguous or fed twice, and for a circle."""
    taken = {(e.target, e.input) for e in chain.edges if e.input}
    made: list[Ends] = []
    for edge in chain.edges:
        given = _one(known[edge.source].outputs, edge.output, f"{edge.prose()}: stage {edge.source!r} has", "output")
        free = {n: t for n, t in known[edge.target].inputs.items() if edge.input or (edge.target, n) not in taken}
        into = _one(free, edge.input, f"{edge.prose()}: stage {edge.target!r} has", "input")
        named = Edge(edge.source, given.name, edge.target, into.name)
        if any((m.edge.target, m.edge.input) == (named.target, named.input) for m in made):
            raise ChainError(f"edges: {named.target}.{named.input} is fed twice; an input takes one tensor")
        taken.add((named.target, named.input))
        made.append(Ends(named, given, into))
    order(chain, made)
    return made


def _one(tensors: Mapping[str, Tensor], name: str, where: str, what: str) -> Tensor:
    if name:
        if name not in tensors:
            raise ChainError(f"edges: {where} no {what} {name!r}{nearest(name, tensors)}")
        return tensors[name]
    if len(tensors) != 1:
        raise ChainError(f"edges: {where} {len(tensors)} free {what}s; name one, as in 'a.y -> b.x'")
    return next(iter(tensors.values()))


def order(chain: Chain, made: list[Ends]) -> list[str]:
    """The stages, each after those that feed it. Raises ChainError for a circle."""
    left, done = dict.fromkeys(chain.stages), list[str]()
    while left:
        ready = [s for s in left if all(e.edge.source not in left for e in made if e.edge.target == s)]
        if not ready:
            raise ChainError(_circle(left, made))
        done += ready
        for stage in ready:
            del left[stage]
    return done


def _circle(left: Iterable[str], made: Sequence[Ends]) -> str:
    """The stages of a circle, without those that it only feeds."""
    round_ = list(left)
    while (inner := [s for s in round_ if any(e.edge.source == s and e.edge.target in round_ for e in made)]) != round_:
        round_ = inner
    if len(round_) == 1:
        return f"edges: the stage {round_[0]} feeds itself"
    return f"edges: the stages {', '.join(round_)} feed each other in a circle"
