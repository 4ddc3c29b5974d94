"""The inputs that a scaler reads beside its own: those that the model has, and those that it gets."""

from __future__ import annotations

from onnxscale import graph
from onnxscale.errors import PlanError, names
from onnxscale.graph import InputSpec
from onnxscale.modelfile import ModelFile
from onnxscale.step import Companion
from onnxscale.transform import Transform


def added(model: ModelFile, transform: Transform, dtype: str, spec: InputSpec) -> tuple[InputSpec, ...]:
    """The inputs that a scaler of the tensor `spec` needs and the model lacks. dtype: of what the app feeds.

    Raises PlanError where the model has an input of that name and of another type or rank.
    """
    known = {s.name: s for s in graph.inputs(model.skeleton)}
    new = []
    for c in transform.reads:
        if c.name in known:
            _fits(c, known[c.name], dtype)
            continue
        if not c.dtype:
            raise PlanError(f"the scaler reads input {c.name!r}, which the model lacks; its inputs are {names(known)}")
        shape = spec.shape or ()
        sizes = tuple(shape[a] if -len(shape) <= a < len(shape) else None for a in c.axes)
        new.append(InputSpec(c.name, c.dtype, sizes))
    return tuple(new)


def _fits(c: Companion, held: InputSpec, dtype: str) -> None:
    if (held.dtype == "string") != (c.dtype == "string"):
        raise PlanError(f"the scaler reads {c.dtype or dtype} from input {held.prose()}, which holds {held.dtype}")
    if not c.axes or held.shape is None or len(held.shape) == len(c.axes):
        return
    column = len(c.axes) == 1 and len(held.shape) == 2 and held.shape[1] == 1
    if not column:
        wanted = "one value per row" if len(c.axes) == 1 else "one value per row and step"
        raise PlanError(f"the scaler reads {wanted} from input {held.prose()}")
