"""Cue: rows of the training data that the model keeps: support vectors, and the rows that neighbours are looked for among."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from onnxscale import walk
from onnxscale.expecting.base import Evidence, Subject, attribute
from onnxscale.expecting.moments import scored, text
from onnxscale.step import Array

FEWEST = 5
DISTANCES = ("Scan", "CDist", "Sub")


def prototypes(subject: Subject) -> Iterator[Evidence]:
    for first in subject.first:
        if first.node.op_type in ("SVMClassifier", "SVMRegressor"):
            found = _vectors(subject, first.node)
            if found is not None:
                yield from _evidence(subject, found, "support vectors")
        elif first.node.op_type in DISTANCES:
            for rows in _kept(subject, first.node):
                yield from _evidence(subject, rows, "rows of the training data for its neighbours")
                break


def _width(subject: Subject) -> int | None:
    size = subject.spec.shape[-1] if subject.spec.shape else None
    return size if isinstance(size, int) else None


def _vectors(subject: Subject, node: onnx.NodeProto) -> Array | None:
    """Support vectors as rows; a linear machine keeps its coefficients there instead."""
    flat = attribute(subject, node, "support_vectors")
    count = attribute(subject, node, "vectors_per_class")
    many = attribute(subject, node, "n_supports")
    rows = int(count.sum()) if count is not None else int(many) if many is not None else 0
    if flat is None or rows < FEWEST or flat.size % rows:
        return None
    return flat.reshape(rows, -1).astype(np.float64)


def _kept(subject: Subject, node: onnx.NodeProto) -> Iterator[Array]:
    """Constant rows of the input's width that a distance is taken to."""
    width = _width(subject)
    named = [*node.input, *(n for g in walk.subgraphs(node) for inner in g.node for n in inner.input)]
    for name in dict.fromkeys(named):
        held = subject.constant(name)
        if (
            held is not None
            and held.dtype.kind == "f"
            and held.ndim >= 2
            and held.shape[-1] == width
            and held.size // held.shape[-1] >= FEWEST
        ):
            yield held.reshape(-1, held.shape[-1]).astype(np.float64)


def _evidence(subject: Subject, rows: Array, what: str) -> Iterator[Evidence]:
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    back = subject.undone(centre, spread)
    if back is None:
        return
    scores = scored(subject, *back, 0.3, rows if not subject.lead.ops else None)
    if scores:
        yield Evidence("training rows", f"the model keeps {len(rows)} {what}, of {text(*back)}", scores)
