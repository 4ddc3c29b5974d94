"""Scalers side by side, each for columns of its own, written as one sequence of steps over all columns.

    ColumnTransformer:   y = [f1(x[c1]), f2(x[c2]), ...]

First Select takes the columns in the order of the answer. Then the steps of the parts are laid over each other: a step of one
part has the operand that changes nothing in the columns of the others. Bit for bit: x - 0 = x, x / 1 = x, x * 1 = x, x + -0 = x,
max(x, -inf) = x, min(x, inf) = x, and NaN imputed for NaN. What has no such operand must be the same in all parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.step import Step, constant
from onnxscale.steps import OPERATORS
from onnxscale.steps.beside import beside
from onnxscale.transform import Transform

NEUTRAL: dict[str, tuple[float, ...]] = {
    "Sub": (0.0,), "Div": (1.0,), "Mul": (1.0,), "Add": (-0.0,), "Max": (-np.inf,), "Min": (np.inf,), "Impute": (np.nan, np.nan, 0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """label: of the part. columns: of the input that it takes, in order. transform: for that many columns."""

    label: str
    columns: tuple[int, ...]
    transform: Transform

    @property
    def columns_shape(self) -> tuple[int]:
        return (len(self.columns),)


def positions(columns: Any, listed: Sequence[str], width: int) -> tuple[int, ...]:
    """The numbers of the columns that scikit-learn's spelling means: numbers, names, a slice of either, or a mask."""
    if isinstance(columns, slice):
        return _slice(columns, listed, width)
    items = (
        columns.tolist()
        if isinstance(columns, np.ndarray)
        else [columns]
        if isinstance(columns, str | int)
        else columns
    )
    if not isinstance(items, list | tuple):
        raise StatisticsError(f"columns are chosen by {str(columns)[:60]}; expected numbers, names, a slice or a mask")
    if items and all(isinstance(i, bool | np.bool_) for i in items):
        if len(items) != width:
            raise StatisticsError(f"a mask of {len(items)} columns for {width} features")
        return tuple(i for i, on in enumerate(items) if on)
    return tuple(_one(item, listed, width) for item in items)


def _one(item: Any, listed: Sequence[str], width: int) -> int:
    if isinstance(item, str):
        if item not in listed:
            raise StatisticsError(f"the column {item[:60]!r} is none of the features {names(listed)}")
        return list(listed).index(item)
    if isinstance(item, bool) or not isinstance(item, int | np.integer) or not -width <= item < width:
        raise StatisticsError(f"the column {str(item)[:40]} is none of {width}")
    return int(item) % width


def _slice(given: slice, listed: Sequence[str], width: int) -> tuple[int, ...]:
    start, stop = given.start, given.stop
    if isinstance(start, str) or isinstance(stop, str):  # a slice of names takes its end too, as in pandas
        start = None if start is None else _one(start, listed, width)
        stop = None if stop is None else _one(stop, listed, width) + 1
    return tuple(range(*slice(start, stop, given.step).indices(width)))


def side_by_side(blocks: Sequence[Block], width: int) -> Transform:
    """The blocks as one Transform of `width` features. Raises StatisticsError where steps cannot stand side by side."""
    columns = [c for b in blocks for c in b.columns]
    laid = None if any(_alone(b.transform) for b in blocks) else _laid_over(blocks, columns, width)
    if laid is not None:
        return laid
    after = sum((b.transform.result or b.columns_shape)[-1] for b in blocks)
    return Transform((beside([(b.columns, b.transform.steps) for b in blocks], width, after),))


def _laid_over(blocks: Sequence[Block], columns: list[int], width: int) -> Transform | None:
    """The steps of all blocks as one sequence over all columns, or None where a step cannot be laid over other columns."""
    waiting = [list(b.transform.steps) for b in blocks]
    steps: list[Step] = []
    if columns != list(range(width)):
        steps.append(Step("Select", (constant(columns),), {"features": width}))
    while any(waiting):
        op = _next(blocks, waiting)
        merged = _merged(op, blocks, waiting) if op else None
        if merged is None:
            return None
        steps.append(merged)
    return Transform(tuple(steps))


def _alone(transform: Transform) -> bool:
    """Whether it has a step that stands beside others only as a part of its own."""
    rows = [OPERATORS[s.op] for s in transform.steps]
    return any(
        r.width(s) is not None or r.parts(s) or s.op == "Bins" for r, s in zip(rows, transform.steps, strict=True)
    )


def _next(blocks: Sequence[Block], waiting: Sequence[list[Step]]) -> str:
    """The operator to write next: one that every block has next or that can be neutral, the one most blocks wait for; "" where
    there is none."""
    heads = [left[0].op for left in waiting if left]
    able = [op for op in heads if op in NEUTRAL] or [op for op in heads if heads.count(op) == len(blocks)]
    later = {op: sum(any(s.op == op for s in left[1:]) for left in waiting) for op in able}
    return min(able, key=lambda op: (later[op], -heads.count(op)), default="")


def _merged(op: str, blocks: Sequence[Block], waiting: Sequence[list[Step]]) -> Step | None:
    taken = [left.pop(0) if left and left[0].op == op else None for left in waiting]
    given = [s for s in taken if s is not None]
    options = dict(given[0].options)
    if any(dict(s.options) != options or len(s.operands) != len(given[0].operands) for s in given):
        return None
    several = op not in NEUTRAL and any(v.ndim > 1 for s in given for v in s.operands)
    if several or op == "Quantile" or not OPERATORS[op].elementwise:
        return None
    parts = []
    for step, block in zip(taken, blocks, strict=True):
        values = NEUTRAL.get(op, ()) if step is None else step.operands
        parts.append([np.broadcast_to(np.asarray(v, np.float64), block.columns_shape) for v in values])
    return Step(
        op, tuple(np.concatenate([p[i] for p in parts], axis=-1) for i in range(len(given[0].operands))), options
    )
