"""The notebook of one reading of Python source: what was found so far, and the names that are known at one place."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Fit, Norm, Pixels, Ref, Run, Split, Unsafe
from onnxscale.auditing.facts.values import Data, Made, Steps, Value
from onnxscale.auditing.finding import Where
from onnxscale.step import Array

MOST_NORMS = 10_000


@dataclass
class Book:
    """What one file gave. place: from a line of the source to a place. functions: by name, methods as Class.name."""

    lines: list[str]
    place: Callable[[int], Where]
    role: str
    rescaled: bool
    norms: dict[int, Norm] = field(default_factory=dict)
    fits: list[Fit] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    unsafe: list[Unsafe] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    pairs: list[tuple[Where, str, Array, Array]] = field(default_factory=list)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    returned: dict[str, Value] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    options: dict[str, Value] = field(default_factory=dict)
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    summarize: Callable[[Book, str], Value] | None = None
    serial: int = 0

    def summary(self, name: str) -> Value:
        """What a function of the file gives, as far as it is known."""
        return None if self.summarize is None else self.summarize(self, name)

    def text(self, node: ast.AST) -> str:
        line = getattr(node, "lineno", 1)
        return self.lines[line - 1].strip()[:160] if 0 < line <= len(self.lines) else ""

    def where(self, node: ast.AST) -> Where:
        return self.place(getattr(node, "lineno", 1))

    def noted(self, node: ast.AST, data: Data, scope: Scope, by: str = "code", old: int = 0) -> Data:
        """Data with a record of its normalization, in the place of the record of what it was before."""
        self.norms.pop(old or data.serial, None)
        serial = self._record(node, data.steps, scope, by, data)
        return replace(data, serial=serial)

    def declared(self, node: ast.AST, made: Made, scope: Scope, by: str = "code") -> Made:
        """The same for an object that was made to normalize."""
        self.norms.pop(made.serial, None)
        of = Data("", unit=made.unit, written=made.written)
        return replace(made, serial=self._record(node, made.steps, scope, by, of))

    def _record(self, node: ast.AST, steps: Steps, scope: Scope, by: str, of: Data) -> int:
        self.serial += 1
        if len(self.norms) < MOST_NORMS:
            self.norms[self.serial] = Norm(
                self.where(node), steps, by, self.text(node), scope.function, scope.role or self.role, of.unit, of.own,
                written=of.written, root=of.root, after=of.foreign, before=of.before, rgb=of.rgb,
            )  # fmt: skip
        return self.serial


@dataclass
class Scope:
    """Names at one place. function: around it; role: what its name says of it; within: the class around it."""

    names: dict[str, Value]
    function: str = ""
    role: str = ""
    within: str = ""
    target: str = ""
    result: Value = None
    depth: int = 0

    def inside(self, names: dict[str, Value]) -> Scope:
        return replace(self, names=names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute; "" where something else is in it."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def named(node: ast.AST) -> tuple[str, ...]:
    """All variables in an expression, and attributes of self."""
    found = (
        n.id if isinstance(n, ast.Name) else n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Name) or (isinstance(n, ast.Attribute) and dotted(n.value) == "self")
    )  # fmt: skip
    return tuple(dict.fromkeys(n for n in found if n != "self"))


def parameter(name: str, default: Value) -> Value:
    """What a parameter is inside its function: a constant where its default is one, a statistic by its name, else data."""
    if default is not None and not isinstance(default, Data):
        return default
    role = words.part(name)
    return Ref(role, name) if role else Data(name)
