"""How a sample lies in the cells of the training data: counts, and how far location and spread are from what chance would do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxscale.checking.laws import TRUSTED, Cells
from onnxscale.checking.reference import Reference
from onnxscale.checking.sample import Sample
from onnxscale.step import Array

EVIDENCE = 256  # a sample counts as no more rows than this: drift does not shrink with their number
WILD = 5.0  # standard errors beyond which a column weighs no more in a mean: one rare value can be any number of them


@dataclass(frozen=True, eq=False)
class Fit:
    """counts: in the cells, (F, cells), of `rows` (F,) values at most. scores: location and spread in standard errors, (2, F). strain:
    mean of their squares, (F,): 1 by chance, NaN where a column has nothing to say."""

    counts: Array
    rows: Array
    scores: Array
    strain: Array


def fitted(reference: Reference, sample: Sample, columns: Array | None = None, cells_of: Array | None = None) -> Fit:
    """Columns of the sample (all by default) in the cells of these columns of the reference (the same by default)."""
    mine = np.arange(reference.width) if columns is None else columns
    theirs = mine if cells_of is None else cells_of
    cells: Cells = reference.cells
    rows = np.minimum(sample.kept[mine], EVIDENCE).astype(np.float64)
    share = np.empty(cells.edges[theirs].shape)
    for i, (j, k) in enumerate(zip(mine.tolist(), theirs.tolist(), strict=True)):
        n = int(sample.kept[j])
        share[i] = np.searchsorted(sample.ordered[:n, j], cells.edges[k], side="right") / n if n else 0.0
    return measured(cells, reference.rows, share, rows, theirs)


def measured(cells: Cells, trained: Array, share: Array, rows: Array, columns: Array) -> Fit:
    """The fit from shares at or below the edges of these columns' cells, (F, edges)."""
    ends = np.zeros((share.shape[0], 1))
    counts = np.diff(np.concatenate([ends, share, ends + 1.0], axis=1), axis=1) * rows[:, None]
    noise = np.sqrt(np.maximum(rows * (1 + rows / np.minimum(trained[columns], TRUSTED)), 1e-9))
    scores = np.einsum("fc,sfc->sf", counts, cells.scores[:, columns]) / noise
    free = (np.abs(cells.scores[:, columns]) > 0).any(axis=2)
    said = free.sum(axis=0)
    with np.errstate(all="ignore"):
        squares = np.minimum(np.abs(scores), WILD) ** 2
        strain = np.where((said > 0) & (rows > 0), squares.sum(axis=0) / said, np.nan)
    return Fit(counts, rows, scores, strain)
