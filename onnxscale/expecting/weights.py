"""Cue: the weights of a first linear layer. Training gives features of one scale weights of one size; raw features get weights
that undo their units, so that the sizes lie decades apart."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from onnxscale.expecting.base import Evidence, First, Subject, attribute
from onnxscale.step import Array

FEWEST = 3
# mean and std of D, the std over features of log ||w_f||, where the features are of one scale, and where they are not
ALIKE, APART = (0.65, 0.5), (1.7, 1.0)


def weights(subject: Subject) -> Iterator[Evidence]:
    if subject.lead.ops or subject.sort == "picture":
        return
    for first in subject.first:
        norms = _norms(subject, first)
        if norms is None or (norms > 0).sum() < FEWEST:
            continue
        spread = _apart(norms)
        alike, apart = _log(spread, *ALIKE), _log(spread, *APART)
        scores = {
            **dict.fromkeys(("standard", "unit", "symmetric"), alike),
            "raw": apart,
            "pixels": alike,
            "centred": alike,
        }
        says = f"the weights of the first {first.node.op_type} differ by e^{spread:.2g} (std of the log) from feature to feature"
        cue, given = "weights", subject.moments()
        if given is not None and given[1].size == norms.size and (given[1] > 0).all():
            own = _apart(norms * given[1])
            scores["raw"] = _log(own, *ALIKE)
            says += f", those times the std of your columns by e^{own:.2g}"
            cue = "weights on rows"
        yield Evidence(cue, says, scores)
        return


def _apart(norms: Array) -> float:
    return float(np.std(np.log(norms[norms > 0])))


def _log(value: float, mean: float, std: float) -> float:
    return -0.5 * ((value - mean) / std) ** 2 - math.log(std)


def _norms(subject: Subject, first: First) -> Array | None:
    """The size of the weights of each feature."""
    node = first.node
    if node.op_type in ("LinearClassifier", "LinearRegressor"):
        flat = attribute(subject, node, "coefficients")
        width = subject.spec.shape[-1] if subject.spec.shape else None
        if flat is None or not isinstance(width, int) or flat.size % width:
            return None
        return np.asarray(np.linalg.norm(flat.reshape(-1, width).astype(np.float64), axis=0))
    if node.op_type in ("MatMul", "Gemm") and node.input[0] == first.name:
        weight = subject.constant(node.input[1])
        if weight is None or weight.ndim != 2:
            return None
        across = any(a.name == "transB" and a.i for a in node.attribute)
        return np.asarray(np.linalg.norm(weight.astype(np.float64), axis=0 if across else 1))
    return None
