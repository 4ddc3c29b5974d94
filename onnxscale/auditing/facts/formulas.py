"""Functions of constants and of data by name: roots, squares, logarithms, expressions of data frames."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from onnxscale.auditing.facts.answers import NOT_MINE, Answer, Call
from onnxscale.auditing.facts.base import Ref
from onnxscale.auditing.facts.scope import Book, Scope
from onnxscale.auditing.facts.values import Data, Known, Own, Value, lost
from onnxscale.step import Array

_OF: dict[str, Callable[[Array], Array]] = {
    "sqrt": np.sqrt, "square": np.square, "abs": np.abs, "absolute": np.abs, "log": np.log, "log1p": np.log1p, "exp": np.exp,
    "reciprocal": np.reciprocal, "rsqrt": lambda v: 1 / np.sqrt(v), "log10": np.log10, "log2": np.log2, "expm1": np.expm1,
}  # fmt: skip
_BENT = {"log", "log1p", "log10", "log2"}
_FRAMES = {"select", "with_columns", "assign", "pipe", "apply", "map_batches"}
_DECIBELS = {"power_to_db", "amplitude_to_db", "AmplitudeToDB"}


def root(value: Value) -> Value:
    """The square root: of constants, and of a variance by its name."""
    if isinstance(value, Known) and (value.values >= 0).all():
        return Known(np.asarray(np.sqrt(value.values)), value.name)
    if isinstance(value, Ref) and value.role in ("var", "std"):
        return Ref("std", value.text, value.module, value.name, root=value.role == "var")
    return lost(value) if isinstance(value, Data) else value if isinstance(value, Own) else None


def formulas(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """np.sqrt(var), np.log1p(x), x.abs(), frame.select(expressions)."""
    of = c.base if isinstance(c.base, Known | Ref | Own) else c.first if not isinstance(c.base, Data) else c.base
    if c.last == "sqrt":
        return root(of)
    if c.last in _OF:
        if isinstance(of, Known):
            with np.errstate(all="ignore"):
                made = np.asarray(_OF[c.last](of.values))
            return Known(made, of.name) if np.isfinite(made).all() else None
        if isinstance(of, Data) and not of.steps and c.last in _BENT:
            return replace(of, touched=True, before=(*of.before, c.last))
        return of if isinstance(of, Own) else lost(of) if isinstance(of, Data) else NOT_MINE
    if c.last in _FRAMES and isinstance(node.func, ast.Attribute):
        return next((v for v in c.given.values() if isinstance(v, Data) and v.steps), NOT_MINE)
    if c.last in _DECIBELS and isinstance(c.data, Data):
        return Data("decibels", decibels=True)
    return NOT_MINE
