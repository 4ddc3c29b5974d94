"""The objects inside a document of a framework, wherever they stand, under a limit of how many are looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST, DEPTH = 5000, 10


def objects(content: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """(where, object) of every object inside, the outer ones first."""
    left, queue = MOST, deque([("", content, 0)])
    while queue and left > 0:
        left -= 1
        name, item, depth = queue.popleft()
        if isinstance(item, Mapping):
            yield name, item
        if depth >= DEPTH or not isinstance(item, Mapping | list):
            continue
        pairs = item.items() if isinstance(item, Mapping) else enumerate(item)
        inside = [(f"{name}.{k}" if name else str(k), v, depth + 1) for k, v in pairs if isinstance(v, Mapping | list)]
        queue.extend(inside[:left])


def groups(content: Any, of: Callable[[Mapping[Any, Any]], Mapping[Any, Any] | None]) -> dict[str, Mapping[Any, Any]]:
    """What `of` finds in the objects of a document, by where it stands; what says the same twice is there once."""
    found: dict[str, Mapping[Any, Any]] = {}
    for name, item in objects(content):
        group = of(item)
        if group is not None and group not in found.values():
            found[name or "document"] = group
    return found
