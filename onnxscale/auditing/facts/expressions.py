"""What an expression of Python source stands for: constants, data with the arithmetic done to it, objects that scale."""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np

from onnxscale.auditing.facts import applying, calls, making, words
from onnxscale.auditing.facts.answers import Call
from onnxscale.auditing.facts.base import Ref
from onnxscale.auditing.facts.formulas import root
from onnxscale.auditing.facts.scope import Book, Scope, dotted
from onnxscale.auditing.facts.values import Data, Held, Known, Made, Own, Text, Value, arithmetic, listed

_OPS = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Div: "Div"}


def value(book: Book, node: ast.AST | None, scope: Scope) -> Value:
    """The value of an expression, noting what it normalizes on the way. Raises RecursionError on hostile nesting."""
    if node is None:
        return None
    row = _ROWS.get(type(node))
    if row is not None:
        return row(book, node, scope)  # type: ignore[operator, no-any-return]
    for child in ast.iter_child_nodes(node):
        value(book, child, scope)
    return Data("")


def _constant(book: Book, node: ast.Constant, scope: Scope) -> Value:
    del book, scope
    if isinstance(node.value, str):
        return Text(node.value)
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        return None
    try:
        made = np.asarray(float(node.value))
    except OverflowError:
        return None
    return Known(made) if np.isfinite(made) else None


def _list(book: Book, node: ast.List | ast.Tuple, scope: Scope) -> Value:
    items = [value(book, e, scope) for e in node.elts]
    made = listed(items)
    if made is not None:
        return made
    if any(isinstance(i, Made) for i in items):
        return making.composed([i for i in items if isinstance(i, Made)], "list")
    inner = [i for i in items if isinstance(i, Held) and any(isinstance(v, Made) for v in i.items.values())]
    if inner:  # a pipeline's pairs of a name and an object
        return making.composed([v for i in inner for v in i.items.values() if isinstance(v, Made)], "list")
    return next((i for i in items if isinstance(i, Data) and i.root), Held({str(i): v for i, v in enumerate(items)}))


def _dict(book: Book, node: ast.Dict, scope: Scope) -> Value:
    made: dict[str, object] = {}
    for at, (key, item) in enumerate(zip(node.keys, node.values, strict=True)):
        name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else f"#{at}"
        made[name] = value(book, item, scope)
    return Held(made)


def _name(book: Book, node: ast.Name, scope: Scope) -> Value:
    if node.id in scope.names:
        return scope.names[node.id]
    if node.id in book.imported:
        module, name = book.imported[node.id]
        if name in calls.CONSTANTS and module.partition(".")[0] in ("timm", "transformers", "torchvision"):
            return Known(np.asarray(calls.CONSTANTS[name]), node.id)
        role = words.part(node.id)
        return Ref(role, node.id, module, name) if role else None
    role = words.part(node.id)
    return Ref(role, node.id) if role else Data(node.id)


def _attribute(book: Book, node: ast.Attribute, scope: Scope) -> Value:
    name = dotted(node)
    if name in scope.names:
        return scope.names[name]
    base = value(book, node.value, scope)
    if isinstance(base, Held):
        found = base.items.get(node.attr)
        if isinstance(found, Data | Known | Made | Held | Ref | Text):
            return found
    if node.attr in ("T", "values", "data", "numpy") and isinstance(base, Data):
        return base
    role = words.part(node.attr)
    if role:
        head = name.split(".")[0]
        module, taken = book.imported.get(head, ("", ""))
        inner = ".".join(p for p in (taken, *name.split(".")[1:]) if p)
        return Ref(role, name or node.attr, module, inner if module else "")
    return Data(name or node.attr)


def _subscript(book: Book, node: ast.Subscript, scope: Scope) -> Value:
    head = dotted(node.value)
    taken = book.imported.get(head) if head not in scope.names else None
    base = value(book, node.value, scope) if taken is None else Ref("", head, *taken)
    key = value(book, node.slice, scope) if not isinstance(node.slice, ast.Slice) else None
    if isinstance(key, Text):
        if isinstance(base, Held) and key.value in base.items:
            found = base.items[key.value]
            return found if isinstance(found, Data | Known | Made | Held | Ref | Text) else None
        if isinstance(base, Data) and base.steps:
            return base
        role = words.part(key.value)
        if isinstance(base, Ref) and base.module:
            return Ref(role, f"{base.text}.{key.value}", base.module, f"{base.name}.{key.value}")
        return (
            Ref(role, f"{dotted(node.value) or '...'}[{key.value!r}]")
            if role
            else Data(f"{dotted(node.value)}[{key.value}]")
        )
    if isinstance(base, Known):
        if (
            isinstance(key, Known)
            and key.values.ndim == 0
            and base.values.ndim
            and abs(int(key.values)) < len(base.values)
        ):
            return Known(np.asarray(base.values[int(key.values)]), base.name)
        return base
    if isinstance(base, Data) and base.partial:
        return replace(base, steps=(), own=False, serial=0, partial=False)  # maybe others of its columns
    return base if isinstance(base, Data | Ref | Own | Made) else Data("")


def _binary(book: Book, node: ast.BinOp, scope: Scope) -> Value:
    left, right = value(book, node.left, scope), value(book, node.right, scope)
    op = _OPS.get(type(node.op))
    if (
        isinstance(node.op, ast.Pow)
        and isinstance(right, Known)
        and right.values.size == 1
        and right.values.max() == 0.5
    ):
        return root(left)
    if op is None:
        if isinstance(node.op, ast.Div | ast.FloorDiv) and isinstance(right, Text | Data) and isinstance(left, Text):
            return right
        return Data("")
    if isinstance(right, Text):  # a path: folder / "file"
        return right
    return followed(book, node, arithmetic(op, left, right), left, scope)


def followed(book: Book, node: ast.AST, made: Value, before: Value, scope: Scope) -> Value:
    """The result of arithmetic, noted where it goes on with a normalization."""
    if isinstance(made, Data) and made.steps and made is not before:
        return book.noted(node, made, scope)
    return made


def _unary(book: Book, node: ast.UnaryOp, scope: Scope) -> Value:
    inner = value(book, node.operand, scope)
    if isinstance(node.op, ast.USub) and isinstance(inner, Known):
        return replace(inner, values=np.asarray(-inner.values))
    return inner if isinstance(node.op, ast.UAdd) else Data("")


def _choice(book: Book, node: ast.IfExp, scope: Scope) -> Value:
    value(book, node.test, scope)
    first, second = value(book, node.body, scope), value(book, node.orelse, scope)
    return first if not (isinstance(second, Data) and second.steps) else second


def _each(book: Book, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: Scope) -> Value:
    inner = scope.inside(dict(scope.names))
    for part in node.generators:
        source = value(book, part.iter, scope)
        if isinstance(part.target, ast.Name):
            inner.names[part.target.id] = source if isinstance(source, Data) else Data(part.target.id)
        elif isinstance(part.iter, ast.Call) and dotted(part.iter.func) == "zip" and isinstance(part.target, ast.Tuple):
            for one, of in zip(part.target.elts, part.iter.args, strict=False):
                if isinstance(one, ast.Name):
                    given = value(book, of, scope)
                    inner.names[one.id] = given if isinstance(given, Data | Known | Ref) else Data(one.id)
    return value(book, node.elt, inner)


def _lambda(book: Book, node: ast.Lambda, scope: Scope) -> Value:
    inner = scope.inside(dict(scope.names))
    for a in node.args.args:
        inner.names[a.arg] = Data(a.arg)
    made = value(book, node.body, inner)
    if not node.args.args and isinstance(made, Known):
        return made  # a default_factory
    return Made("Lambda", made.steps, book.text(node), made.serial) if isinstance(made, Data) and made.steps else None


def _call(book: Book, node: ast.Call, scope: Scope) -> Value:
    name = dotted(node.func)
    base = (
        value(book, node.func.value, scope)
        if isinstance(node.func, ast.Attribute) and not _module(book, node.func, scope)
        else None
    )
    given: dict[str, Value] = {}
    for i, argument in enumerate(node.args):
        given[str(i)] = value(book, argument.value if isinstance(argument, ast.Starred) else argument, scope)
    for keyword in node.keywords:
        found = value(book, keyword.value, scope)
        if keyword.arg is not None:
            given[keyword.arg] = found
        elif isinstance(found, Held):
            given.update({k: v for k, v in found.items.items() if isinstance(v, Data | Known | Ref | Made)})
    last = node.func.attr if isinstance(node.func, ast.Attribute) else name
    if isinstance(node.func, ast.Call | ast.Subscript):
        base, last = value(book, node.func, scope), "__call__"
    return applying.call(book, node, scope, Call(name or last, last, base, given))


def _module(book: Book, node: ast.Attribute, scope: Scope) -> bool:
    """Whether what stands before the dot is an imported module."""
    head = dotted(node.value)
    return head in book.imported and head not in scope.names


_ROWS = {
    ast.Constant: _constant, ast.List: _list, ast.Tuple: _list, ast.Dict: _dict, ast.Name: _name, ast.Attribute: _attribute,
    ast.Subscript: _subscript, ast.BinOp: _binary, ast.UnaryOp: _unary, ast.IfExp: _choice, ast.Lambda: _lambda,
    ast.ListComp: _each, ast.GeneratorExp: _each, ast.SetComp: _each, ast.Call: _call,
    ast.Await: lambda b, n, s: value(b, n.value, s), ast.Starred: lambda b, n, s: value(b, n.value, s),
    ast.NamedExpr: lambda b, n, s: value(b, n.value, s),
}  # fmt: skip
