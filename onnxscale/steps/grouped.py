"""Grouped: constants of the group that a row belongs to, whose key the app feeds in an input of its own.

y[n] = op2(op1(x[n], a[g]), b[g]), g the group of row n; a key that no group has takes the default group, or makes the row NaN.
Operands: one table per operation, float64 of (groups, *features). options: reads, the input with the keys ([N] or [N, 1]);
ops, the operations ("Sub,Div"); keys, a JSON list of integers or strings; default, a JSON key, or absent.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from onnxscale.step import Array, Builder, Companion, Operator, Place, Step, align, given
from onnxscale.steps.rownorm import axis_of

_FUNCTIONS = {"Sub": np.subtract, "Add": np.add, "Mul": np.multiply, "Div": np.divide}
_INVERSE = {"Sub": "Add", "Add": "Sub", "Mul": "Div", "Div": "Mul"}


def _keys(step: Step) -> list[int | str]:
    return list(json.loads(str(step.options["keys"])))


def _tables(step: Step) -> list[Array]:
    """The tables with a last row for keys that no group has."""
    keys = _keys(step)
    last = np.full((1, *step.operands[0].shape[1:]), np.nan)
    if "default" in step.options:
        at = keys.index(json.loads(str(step.options["default"])))
        return [np.concatenate([t, t[at : at + 1]]) for t in step.operands]
    return [np.concatenate([t, last]) for t in step.operands]


def _ops(step: Step) -> list[str]:
    return str(step.options["ops"]).split(",")


def _evaluate(x: Array, step: Step, place: Place) -> Array:
    keys = _keys(step)
    where = {k: i for i, k in enumerate(keys)}
    groups = [where.get(k, len(keys)) for k in np.asarray(given(place, str(step.options["reads"]))).ravel().tolist()]
    for op, table in zip(_ops(step), _tables(step), strict=True):
        rows = table.reshape(len(table), *_one(table, x.ndim, axis_of(place)))
        x = _FUNCTIONS[op](x, rows[groups].astype(x.dtype))
    return x


def _one(table: Array, rank: int, axis: int) -> tuple[int, ...]:
    """The shape of one group's constants on a row of a tensor of `rank` dimensions."""
    laid = align(table[0], rank, axis).shape
    return (1,) * (rank - 1 - len(laid)) + tuple(laid)


def _nodes(build: Builder, x: str, step: Step) -> str:
    keys = _keys(step)
    if build.rank is None:
        raise build.refuse("constants per group need a tensor whose rank the model states")
    words = isinstance(keys[0], str)
    known: dict[str, Any] = {"keys_strings" if words else "keys_int64s": keys, "values_int64s": list(range(len(keys)))}
    ids = str(step.options["reads"])
    ids = ids if words else build.node("Cast", ids, to=np.int64)
    ids = build.node("Reshape", ids, build.tensor(np.array([-1]), "shape"))
    group = build.node("LabelEncoder", ids, domain="ai.onnx.ml", default_int64=len(keys), **known)
    for op, table in zip(_ops(step), _tables(step), strict=True):
        held = build.tensor(
            table.reshape(len(table), *_one(table, build.rank, build.axis)).astype(build.dtype), op.lower()
        )
        x = build.node(op, x, build.node("Gather", held, group, axis=0))
    return x


def _reads(step: Step) -> Companion | None:
    keys = _keys(step)
    words = isinstance(keys[0], str)

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return np.array(keys, dtype=object if words else np.int64)[rng.integers(0, len(keys), shape)]

    return Companion(str(step.options["reads"]), "string" if words else "int64", (0,), draw)


def _prose(step: Step) -> str:
    keys = _keys(step)
    shown = ", ".join(map(str, keys[:4])) + (", ..." if len(keys) > 4 else "")
    named = f"of {len(keys)} ({shown}), named in {step.options['reads']!r}"
    return f"{' and '.join(_ops(step)).lower()} the constants of the row's group, {named}"


def _undo(step: Step) -> tuple[Step, ...]:
    ops = ",".join(_INVERSE[o] for o in reversed(_ops(step)))
    return (Step("Grouped", tuple(reversed(step.operands)), {**step.options, "ops": ops}),)


GROUPED = {
    "Grouped": Operator(
        _evaluate, _nodes, _prose, inverse=_undo, shape=lambda step: step.operands[0].shape[1:], elementwise=False, reads=_reads
    )
}  # fmt: skip
