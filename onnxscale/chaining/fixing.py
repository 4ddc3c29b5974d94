"""The adapter that an edge needs, A's inverse and then B's scaler as one, written into a model that is named."""

from __future__ import annotations

from dataclasses import replace

from onnxscale import pipeline
from onnxscale.chaining import checking
from onnxscale.chaining.checking import DIFFERS, Checked
from onnxscale.chaining.document import Chain, nearest
from onnxscale.errors import ChainError
from onnxscale.pipeline import Baked
from onnxscale.scalers import Steps
from onnxscale.spaces import Space
from onnxscale.statistics import Fitted, Source, Statistics


def fix(chain: Chain, into: str = "") -> tuple[Baked, tuple[Checked, ...]]:
    """The model of the stage `into` with the adapters of its edges inside, not verified and not saved; and those edges.

    into: by default the stage that takes the values, where all edges that differ have the same one. Raises ChainError where no edge
    differs, where no adapter would do, and where the stage is no model.
    """
    report = checking.check(chain)
    wrong = [e for e in report.edges if e.verdict == DIFFERS]
    if not wrong:
        raise ChainError(f"{chain.name}: no edge differs; there is nothing to fix")
    if into and into not in chain.stages:
        raise ChainError(f"--into {into}: there is no such stage{nearest(into, chain.stages)}")
    if not into:
        targets = dict.fromkeys(e.edge.target for e in wrong)
        if len(targets) > 1:
            raise ChainError(
                f"edges into {', '.join(targets)} differ: say with --into which model is to get its adapter"
            )
        into = next(iter(targets))
    stage = chain.stages[into]
    if not stage.model:
        raise ChainError(f"{into}: a service with a contract; name a model with --into")
    mine = [e for e in wrong if into in (e.edge.source, e.edge.target)]
    if not mine:
        raise ChainError(
            f"--into {into}: none of its edges differs; those that do are {', '.join(e.edge.prose() for e in wrong)}"
        )
    for e in mine:
        if e.adapter is None or len(e.reasons) > 2:
            raise ChainError(f"{e.edge.prose()}: {'; '.join(e.reasons)}")
    source = Source("chain", chain.name)
    inputs: dict[str | None, Fitted] = {e.edge.input: _fitted(e, taking=True) for e in mine if e.edge.target == into}
    outputs: dict[str | None, Fitted] = {}
    for e in mine:
        if e.edge.source == into:
            others = [o for o in report.edges if (o.edge.source, o.edge.output) == (into, e.edge.output) and o is not e]
            if others:
                also = ", ".join(f"{o.edge.target}.{o.edge.input}" for o in others)
                raise ChainError(
                    f"{into}.{e.edge.output} feeds {also} too, which would get other values; fix {e.edge.target} instead"
                )
            outputs[e.edge.output] = _fitted(e, taking=False)
    statistics = Statistics(inputs, outputs, source)
    return pipeline.bake(chain.at(stage.model), statistics, again=True, form="nodes"), tuple(mine)


def _fitted(e: Checked, *, taking: bool) -> Fitted:
    """The adapter as a scaler: on the input of the stage that takes, or behind the output of the one that gives."""
    assert e.adapter is not None
    given: Space = e.ends.given.space
    axis = given.axis if given.axis is not None else e.ends.taken.space.axis
    made = Fitted(Steps(e.adapter), axis, notes=(f"the adapter of {e.edge.prose()}",), given=given.transform)
    return made if taking else replace(made, applied=True)
