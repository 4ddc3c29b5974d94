"""Cast: round the value to another type and go on. `options["to"]` is a numpy dtype name.

Libraries that scale in float32 (torchvision's ToTensor, Keras) round between two steps; this is that rounding.
Folding keeps clear of it: a rounding is neither affine nor continuous, but it is monotone.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step

TYPES = ("float16", "float32", "float64")


def evaluate(x: Array, step: Step, place: Place) -> Array:
    del place
    return x.astype(str(step.options["to"])).astype(x.dtype)


def nodes(build: Builder, x: str, step: Step) -> str:
    kind = np.dtype(str(step.options["to"]))
    if kind.name not in TYPES:
        raise build.refuse(f"a Cast to {kind.name} in the middle of a scaler; known are {', '.join(TYPES)}")
    if kind.itemsize >= build.dtype.itemsize:
        return x
    narrow = build.node("Cast", x, to=kind)
    return build.node("Cast", narrow, to=build.dtype)


CAST = Operator(
    evaluate,
    nodes,
    lambda step: f"round to {step.options['to']}",
    inverse=lambda step: (),
    slope=lambda step: np.ones(()),
    continuous=False,
)
