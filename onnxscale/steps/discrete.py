"""Steps that give whole numbers: above a threshold, the number of a bin, equal to a value. All jump.

Binarize: 1 where x > c, else 0.                     sklearn/preprocessing/_data.py, binarize
Bins:     how many of the rising edges are <= x.     sklearn/preprocessing/_discretization.py, KBinsDiscretizer.transform:
                                                     numpy.searchsorted(inner edges, x, side="right")
Equal:    1 where x == c, else 0.                    one-hot columns are Bins, Select (each column as often as it has bins), Equal

Edges have the shape (B, *features); a feature with fewer edges is filled up with infinity, which does not count.
NaN stays NaN: scikit-learn refuses it here, and hiding it behind a bin would be a guess.
"""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array, Builder, Operator, Place, Step
from onnxscale.steps.arithmetic import brief
from onnxscale.steps.functions import equals, flat, keep_nan, look_up, search


def _binarize(x: Array, step: Step, place: Place) -> Array:
    return np.where(np.isnan(x), x, (x > place(step.operands[0])).astype(x.dtype))


def _binarize_nodes(build: Builder, x: str, step: Step) -> str:
    above = build.node("Greater", x, build.constant(step.operands[0], "threshold"))
    return keep_nan(build, build.node("Cast", above, to=build.dtype), x)


def _equal(x: Array, step: Step, place: Place) -> Array:
    return np.where(np.isnan(x), x, (x == place(step.operands[0])).astype(x.dtype))


def _equal_nodes(build: Builder, x: str, step: Step) -> str:
    return keep_nan(build, build.node("Cast", equals(build, x, step.operands[0]), to=build.dtype), x)


def _started(step: Step) -> Array:
    """The edges with -infinity in front, so that every value has one below it."""
    edges = step.operands[0]
    return np.concatenate([np.full((1, *edges.shape[1:]), -np.inf), edges])


def _counts(step: Step) -> Array:
    return np.asarray(np.isfinite(step.operands[0]).sum(axis=0), np.float64)


def _bins(x: Array, step: Step, place: Place) -> Array:
    at, start = look_up(x, _started(step), place)
    return np.where(np.isnan(x), x, np.minimum((at - start).astype(x.dtype), place(_counts(step))))


def _bins_nodes(build: Builder, x: str, step: Step) -> str:
    table = _started(step)
    at, start = search(build, x, table, build.tensor(flat(table).astype(build.dtype), "edges"))
    found = build.node("Cast", build.node("Sub", at, start), to=build.dtype)
    if not np.isfinite(step.operands[0]).all():
        found = build.node("Min", found, build.constant(_counts(step), "bins"))
    return keep_nan(build, found, x)


DISCRETE = {
    "Binarize": Operator(
        _binarize,
        _binarize_nodes,
        lambda step: f"1 above {brief(step.operands[0])}, else 0",
        slope=lambda step: np.ones_like(step.operands[0]),
        continuous=False,
    ),
    "Bins": Operator(
        _bins,
        _bins_nodes,
        lambda step: f"number of the bin among {brief(_counts(step) + 1)}",
        slope=lambda step: np.ones(step.operands[0].shape[1:]),
        shape=lambda step: step.operands[0].shape[1:],
        continuous=False,
    ),
    "Equal": Operator(
        _equal,
        _equal_nodes,
        lambda step: f"1 where equal to {brief(step.operands[0])}, else 0",
        continuous=False,
    ),
}
