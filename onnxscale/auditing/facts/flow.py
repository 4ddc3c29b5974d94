"""Python source, statement by statement: each function once, branches side by side, loops once. Nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Ref, Split
from onnxscale.auditing.facts.expressions import followed, value
from onnxscale.auditing.facts.scope import Book, Scope, dotted, parameter
from onnxscale.auditing.facts.values import Data, Held, Known, Made, Text, Value, alike, arithmetic
from onnxscale.step import Array

_OPS = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Div: "Div"}
Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_ROUTES = {"route", "get", "post", "put", "websocket", "on_event", "endpoint", "api_view", "batch", "entry", "task"}


def walk(book: Book, tree: ast.Module) -> dict[str, Value]:
    """Read a whole module; gives the names it defines. Raises RecursionError on hostile nesting."""
    module = Scope({})
    book.summarize = lambda b, name: _summary(b, name, module)
    _declare(book, tree.body, "")
    _block(book, tree.body, module)
    for name in list(book.functions):
        _summary(book, name, module)
    return module.names


def _declare(book: Book, body: Sequence[ast.stmt], within: str) -> None:
    for node in body:
        if isinstance(node, Function):
            book.functions.setdefault(f"{within}.{node.name}" if within else node.name, node)
        elif isinstance(node, ast.ClassDef):
            _declare(book, node.body, node.name)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            _declare(book, node.body, within)
    for node in body:
        for part in ast.walk(node) if not within else ():
            if isinstance(part, ast.Import):
                for alias in part.names:
                    book.imported[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0],
                        "",
                    )
            elif isinstance(part, ast.ImportFrom):
                for alias in part.names:
                    book.imported[alias.asname or alias.name] = ("." * part.level + (part.module or ""), alias.name)


def _summary(book: Book, name: str, module: Scope) -> Value:
    """What a function returns; its body is read the first time it is asked for."""
    if name in book.returned:
        return book.returned[name]
    book.returned[name] = None  # a function that calls itself gives nothing known
    node = book.functions[name]
    within = name.rpartition(".")[0]
    if within and f"{within}.__init__" in book.functions and not name.endswith(".__init__"):
        _summary(book, f"{within}.__init__", module)
    names = dict(module.names)
    names.update({k.partition("::")[2]: v for k, v in module.names.items() if within and k.startswith(f"{within}::")})
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    defaults = [None] * (len(node.args.posonlyargs) + len(node.args.args) - len(node.args.defaults))
    given = [*defaults, *node.args.defaults, *node.args.kw_defaults]
    for argument, default in zip(arguments, given, strict=False):
        constant = value(book, default, module) if default is not None else None
        if not (argument.arg in ("self", "cls") and within):
            names[argument.arg] = parameter(
                argument.arg, constant if isinstance(constant, Known | Text | Held) else None
            )
    scope = Scope(names, name, _role(node), within)
    _block(book, node.body, scope)
    for known, held in scope.names.items():
        if known.startswith("self."):
            module.names[f"{within}::{known}"] = held
    book.returned[name] = scope.result
    return scope.result


def _role(node: Function) -> str:
    routed = any(isinstance(d, ast.Call) and dotted(d.func).rpartition(".")[2] in _ROUTES for d in node.decorator_list)
    return "serve" if routed else words.role_of_function(node.name)


def _nested(book: Book, node: Function, scope: Scope) -> None:
    """A function inside a function sees what is known around it; those of modules and classes are read by `walk`."""
    if not scope.function:
        return
    parameters = {a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    names = {**scope.names, **{p: parameter(p, None) for p in parameters}}
    inner = Scope(names, f"{scope.function}.{node.name}", _role(node) or scope.role, scope.within)
    _block(book, node.body, inner)
    made = inner.result
    if isinstance(made, Data) and made.steps and made.root in parameters:
        scope.names[node.name] = Made("Lambda", made.steps, book.text(node), made.serial, written=made.written)


def _block(book: Book, body: Sequence[ast.stmt], scope: Scope) -> None:
    for node in body:
        row = next((r for kinds, r in _ROWS if isinstance(node, kinds)), None)
        if row is not None:
            row(book, node, scope)


def _assign(book: Book, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    scope.target = dotted(targets[0])
    made = value(book, node.value, scope)
    scope.target = ""
    cut = _cut(targets[0], node.value)
    if cut:
        book.splits.append(Split(book.where(node), (cut,), scope.function))
    for target in targets:
        if (
            isinstance(target, ast.Tuple | ast.List)
            and isinstance(node.value, ast.Tuple | ast.List)
            and len(target.elts) == len(node.value.elts)
        ):
            for one, item in zip(target.elts, node.value.elts, strict=True):
                _bind(one, value(book, item, scope), scope)
        elif isinstance(target, ast.Tuple | ast.List):
            for at, one in enumerate(target.elts):
                _bind(one, _part(made, at, len(target.elts), dotted(one)), scope)
        else:
            _bind(target, made, scope)


def _cut(target: ast.expr, source: ast.expr | None) -> str:
    """What is cut by rows into training data and the rest: `train = x[:n]`, `train, test = x[:n], x[n:]`; "" for nothing."""
    one = target.elts[0] if isinstance(target, ast.Tuple | ast.List) and target.elts else target
    part = source.elts[0] if isinstance(source, ast.Tuple | ast.List) and source.elts else source
    rows = part.slice if isinstance(part, ast.Subscript) else None
    first = rows.elts[0] if isinstance(rows, ast.Tuple) and rows.elts else rows
    of = dotted(part.value).removesuffix(".iloc") if isinstance(part, ast.Subscript) else ""
    cuts = isinstance(first, ast.Slice) and first.upper is not None and first.step is None
    return of if cuts and "train" in words.words(dotted(one)) and "train" not in words.words(of) else ""


def _part(made: Value, at: int, size: int, name: str) -> Value:
    """One of several variables that are assigned at once."""
    if isinstance(made, Data) and (made.steps or made.out):
        return made
    if isinstance(made, Known) and made.values.ndim and len(made.values) == size:
        return Known(np.asarray(made.values[at]))
    if isinstance(made, Ref) and made.module:
        return Ref(words.part(name), name, made.module, f"{made.name}#{at}")
    return parameter(name, None)


def _bind(target: ast.expr, made: Value, scope: Scope) -> None:
    name = dotted(target)
    if name:
        if isinstance(made, Known):
            made = Known(made.values, name)
        elif isinstance(made, Data) and not made.steps:
            role = words.part(name)
            made = parameter(name, None) if role and not (made.unit or made.out) else replace(made, root=name, serial=0)
        scope.names[name] = made
    elif isinstance(target, ast.Subscript):
        of = dotted(target.value)
        held = scope.names.get(of)
        if isinstance(held, Held) and isinstance(target.slice, ast.Constant):
            scope.names[of] = Held({**held.items, str(target.slice.value): made})
        elif of and isinstance(made, Data) and made.steps:
            scope.names[of] = replace(made, partial=True)


def _augmented(book: Book, node: ast.AugAssign, scope: Scope) -> None:
    left, right = value(book, node.target, scope), value(book, node.value, scope)
    op = _OPS.get(type(node.op))
    if op is None:
        return
    _bind(node.target, followed(book, node, arithmetic(op, left, right), left, scope), scope)


def _return(book: Book, node: ast.Return, scope: Scope) -> None:
    made = value(book, node.value, scope)
    if scope.result is None or (isinstance(made, Data) and made.steps):
        scope.result = made


def _branches(book: Book, node: ast.If, scope: Scope) -> None:
    value(book, node.test, scope)
    first, second = (scope.inside(dict(scope.names)) for _ in range(2))
    _block(book, node.body, first)
    _block(book, node.orelse, second)
    before = dict(scope.names)
    for name, made in first.names.items():
        other = second.names.get(name)
        if (
            made is not other
            and isinstance(made, Data)
            and isinstance(other, Data)
            and made.steps
            and alike(made.steps, other.steps)
        ):
            book.norms.pop(other.serial, None)  # both branches do the same
    for body, branch in ((node.orelse, second), (node.body, first)):
        if not (
            body and isinstance(body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)
        ):  # else nothing goes on from it
            scope.names.update({k: v for k, v in branch.names.items() if v is not before.get(k)})
    scope.result = next(
        (s.result for s in (first, second, scope) if isinstance(s.result, Data) and s.result.steps), None
    ) or (first.result or second.result or scope.result)


def _loop(book: Book, node: ast.For | ast.AsyncFor | ast.While, scope: Scope) -> None:
    if isinstance(node, ast.While):
        value(book, node.test, scope)
    else:
        source = value(book, node.iter, scope)
        for part in ast.walk(node.target):
            if isinstance(part, ast.Name):
                scope.names[part.id] = source if isinstance(source, Data) and source.steps else Data(part.id)
    _block(book, [*node.body, *node.orelse], scope)


def _with(book: Book, node: ast.With | ast.AsyncWith, scope: Scope) -> None:
    for item in node.items:
        made = value(book, item.context_expr, scope)
        if isinstance(item.optional_vars, ast.Name):
            scope.names[item.optional_vars.id] = made if isinstance(made, Made | Text) else Data(item.optional_vars.id)
    _block(book, node.body, scope)


def _try(book: Book, node: ast.Try, scope: Scope) -> None:
    for handler in node.handlers:
        _block(book, handler.body, scope.inside(dict(scope.names)))
    _block(book, [*node.body, *node.orelse, *node.finalbody], scope)


def _class(book: Book, node: ast.ClassDef, scope: Scope) -> None:
    inner = scope.inside(dict(scope.names))
    _block(book, [n for n in node.body if not isinstance(n, Function)], inner)
    items: dict[str, object] = {k: v for k, v in inner.names.items() if v is not scope.names.get(k)}
    scope.names[node.name] = Held(items)
    book.fields[node.name] = tuple(dotted(n.target) for n in node.body if isinstance(n, ast.AnnAssign))
    for name, made in items.items():
        if isinstance(made, Known | Made | Held | Text):
            scope.names[f"{node.name}::self.{name}"] = made


def _plain(book: Book, node: ast.stmt, scope: Scope) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and not (isinstance(node, ast.Expr) and isinstance(child, ast.Constant)):
            value(book, child, scope)


def _match(book: Book, node: ast.Match, scope: Scope) -> None:
    value(book, node.subject, scope)
    for case in node.cases:
        _block(book, case.body, scope.inside(dict(scope.names)))


_ROWS: tuple[tuple[tuple[type[ast.stmt], ...], Callable[[Book, Any, Scope], None]], ...] = (
    ((ast.Assign, ast.AnnAssign), _assign), ((ast.AugAssign,), _augmented), ((ast.Return,), _return), ((ast.If,), _branches),
    ((ast.For, ast.AsyncFor, ast.While), _loop), ((ast.With, ast.AsyncWith), _with), ((ast.Try,), _try),
    ((ast.ClassDef,), _class), (_FUNCTIONS, _nested), ((ast.Match,), _match), ((ast.Expr, ast.Assert, ast.Raise, ast.Delete), _plain),
)  # fmt: skip


def constants(names: dict[str, Value]) -> dict[str, Array]:
    """Module-level numbers by name, those of classes and dictionaries as Name.key."""
    found: dict[str, Array] = {}
    listed: list[tuple[str, object, int]] = [(name, held, 0) for name, held in names.items()]
    while listed:
        name, held, depth = listed.pop()
        if isinstance(held, Known):
            found[name] = held.values
        elif isinstance(held, Held) and depth < 3:
            listed += [(f"{name}.{k}", v, depth + 1) for k, v in held.items.items()]
    return {k: v for k, v in found.items() if v.size <= 4096}
