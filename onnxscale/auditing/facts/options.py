"""Constants that come by way of a library: options of a command line, fields of settings, namespaces, buffers of a module."""

from __future__ import annotations

import ast

from onnxscale.auditing.facts.answers import NOT_MINE, Answer, Call
from onnxscale.auditing.facts.scope import Book, Scope
from onnxscale.auditing.facts.values import Data, Held, Known, Text, Value

_FIELDS = {"Field", "field", "ib", "attrib", "Parameter", "Option", "Query", "Argument"}
_SPACES = {
    "SimpleNamespace",
    "Namespace",
    "EasyDict",
    "edict",
    "ConfigDict",
    "Box",
    "DotMap",
    "MappingProxyType",
    "DictConfig",
}
_BUFFERS = {"register_buffer", "register_constant"}


def options(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """add_argument and parse_args; Field(default); SimpleNamespace(...); dict(zip(names, values)); register_buffer."""
    if c.last == "add_argument":
        _option(book, c)
        return Data("")
    if c.last == "parse_args" and book.options:
        return Held(dict(book.options))
    if c.last in _FIELDS:
        found = next((c.given[k] for k in ("default", "default_factory", "0") if k in c.given), None)
        return found if isinstance(found, Known | Held | Text) else NOT_MINE
    if c.last in _SPACES or c.name == "OmegaConf.create":
        inner = c.first.items if isinstance(c.first, Held) else {}
        return Held({**inner, **{k: v for k, v in c.given.items() if not k.isdigit()}})
    if c.name == "dict":
        return c.first
    if c.name == "zip":
        return next((v for v in reversed(c.given.values()) if isinstance(v, Known)), Data(""))
    if c.last in _BUFFERS and c.name.startswith("self."):
        name, held = c.given.get("0", c.given.get("name")), c.given.get("1", c.given.get("tensor"))
        if isinstance(name, Text) and isinstance(held, Known):
            scope.names[f"self.{name.value}"] = Known(held.values, name.value)
        return None
    kind = scope.names.get(c.name)
    if isinstance(kind, Held) and c.name in book.fields:  # an instance, of a dataclass or a named tuple
        order = book.fields[c.name]
        given = {order[int(k)] if k.isdigit() and int(k) < len(order) else k: v for k, v in c.given.items()}
        items = {**kind.items, **{k: v for k, v in given.items() if v is not None}}
        return Held(items) if any(isinstance(v, Known) for v in items.values()) else NOT_MINE
    return NOT_MINE


def _option(book: Book, c: Call) -> None:
    flags = [v.value for k, v in c.given.items() if k.isdigit() and isinstance(v, Text)]
    long = next((f for f in flags if f.startswith("--")), flags[0] if flags else "")
    dest = c.given.get("dest")
    name = dest.value if isinstance(dest, Text) else long.lstrip("-").replace("-", "_")
    default: Value = c.given.get("default")
    if name and isinstance(default, Known | Text):
        book.options[name] = Known(default.values, name) if isinstance(default, Known) else default
