"""Tree ensembles as readers of a scaled tensor: their thresholds are rewritten exactly (trees.py), by any monotone scaler.

A Cast to a wider type before the ensemble, and arithmetic of the model's own, are part of what the thresholds see; a Cast
to a narrower type rounds raw values where it used to round scaled ones, which no threshold can undo.
"""

from __future__ import annotations

import numpy as np

from onnxscale.folding import trees
from onnxscale.folding.base import EXACT, Change, Refusal, Site, vector
from onnxscale.precision import UNIT


def ensemble(site: Site) -> Change | Refusal:
    carried = site.carried
    units = [UNIT.get(d, 1.0) for d in carried.passed]
    if carried.dtype not in ("float32", "float64"):
        return Refusal(f"a tree ensemble that reads {carried.dtype}")
    if units[-1] > units[0] or max(units) > units[0]:
        return Refusal(f"a Cast from {carried.passed[0]} rounds the raw values before the trees see them")
    index = vector(carried.index, -1)
    if isinstance(index, Refusal):
        return Refusal("the scaler changes from row to row")
    transform = carried.seen or carried.transform
    if index.size == 1:
        features = trees.column({a.name: a for a in site.node.attribute}.get("nodes_featureids"), site.load)
        index = np.full(int(features.max(initial=0)) + 1, index[0])
    made = trees.rewrite(site.node, transform, index, np.dtype(carried.dtype), opset=site.opset, load=site.load)
    return made if isinstance(made, Refusal) else Change(EXACT, node=made)
