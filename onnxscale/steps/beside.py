"""Beside: parts side by side, each a sequence of steps on columns of its own: y = [f1(x[c1]), f2(x[c2]), ...].

For what cannot be laid over other columns as one step (bins, one-hot columns): sklearn/compose/_column_transformer.py, hstack.
Operands: part by part, its columns, then the operands of its steps. options: features, the number before; width, after; parts:
JSON, per part a list of [operator, number of operands, options].
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step, constant
from onnxscale.steps.columns import axis_in
from onnxscale.steps.rownorm import axis_of

Part = tuple[Sequence[int], Sequence[Step]]


def beside(parts: Sequence[Part], features: int, width: int) -> Step:
    """The parts as one step."""
    layout = [[[s.op, len(s.operands), dict(s.options)] for s in steps] for _, steps in parts]
    operands = [v for columns, steps in parts for v in (constant(columns), *(o for s in steps for o in s.operands))]
    return Step("Beside", tuple(operands), {"features": features, "width": width, "parts": json.dumps(layout)})


def _parts(step: Step) -> list[list[Step]]:
    """Per part its steps, the Select of its columns first. Raises ValueError where the operands are too few."""
    left = list(step.operands)
    made = []
    for part in json.loads(str(step.options["parts"])):
        steps = [Step("Select", (left.pop(0),), {"features": step.options["features"]})]
        for op, count, options in part:
            steps.append(Step(op, tuple(left.pop(0) for _ in range(count)), options))
        made.append(steps)
    return made


def row(table: Mapping[str, Operator]) -> Operator:
    """The operator, whose parts are made of the steps in `table`."""

    def evaluate(x: Array, step: Step, place: Place) -> Array:
        done = []
        for steps in _parts(step):
            y = x
            for one in steps:
                y = table[one.op].evaluate(y, one, place)
            done.append(y)
        return np.concatenate(done, axis=axis_of(place))

    def nodes(build: Builder, x: str, step: Step) -> str:
        done = []
        for steps in _parts(step):
            y = x
            for one in steps:
                y = table[one.op].nodes(build, y, one)
            done.append(y)
        return build.node("Concat", *done, axis=axis_in(build))

    def prose(step: Step) -> str:
        said = (", then ".join(table[one.op].prose(one) for one in steps) for steps in _parts(step))
        return f"side by side ({'; '.join(said)})"

    return Operator(
        evaluate, nodes, prose,
        shape=lambda step: (int(step.options["features"]),),
        width=lambda step: int(step.options["width"]),
        elementwise=False, continuous=False, parts=_parts,
    )  # fmt: skip
