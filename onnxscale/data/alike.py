"""Files of one table: they may have their columns in another order, or some in another type; which they have is the same, unless
the columns are named that are meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from onnxscale.data.base import Selection
from onnxscale.errors import DataError, names

_NUMBER = re.compile(r"u?int\d*|(half)?float\d*|double|decimal.*|bool(ean)?|number|null", re.IGNORECASE)


class Layout(Protocol):
    """What is in files of one kind. columns: names in order. types: of each, in the words of who reads them."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def types(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Schema:
    """The layout of files that say themselves what is in them; without columns where only reading tells."""

    columns: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """Files of one table. groups: those of one layout. columns: that all have, in the order of the first file; () where only
    reading tells. numbers, texts: columns that are of several types: read as float64, or as text where one is no number."""

    groups: tuple[tuple[list[str], Any], ...]
    columns: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()

    @property
    def paths(self) -> list[str]:
        """All files that hold anything."""
        return [p for paths, _ in self.groups for p in paths]


def files(layouts: Mapping[str, Layout], chosen: Selection) -> tuple[Files, Selection]:
    """Files by their layouts, and the selection without columns to exclude that are not in all of them. Raises DataError where
    the columns differ, and none are named."""
    for path, one in layouts.items():
        if len(set(one.columns)) < len(one.columns):
            twice = {n for n in one.columns if one.columns.count(n) > 1}
            raise DataError(f"{path}: has several columns of the name {names(sorted(twice))}; rename them")
    first = next(iter(layouts))
    known = layouts[first].columns
    everywhere = set(known).intersection(*(one.columns for one in layouts.values()))
    differing = {n: p for p, one in layouts.items() for n in set(known) ^ set(one.columns)}
    meant = set(chosen.columns or differing) - set(chosen.exclude)
    bad = [n for n in differing if n in meant or n in (*chosen.target, chosen.group)]
    if bad:
        path = differing[bad[0]]
        own = layouts[path].columns
        lacks, more = [n for n in bad if n not in own], [n for n in bad if n in own and n not in known]
        said = [f"has no column {names(lacks)}, which {first} has"] if lacks else []
        said += [f"has {names(more)}, which {first} has not"] if more else []
        raise DataError(f"{path}: {', and '.join(said)}; name those that all files have with --columns")
    columns = tuple(n for n in known if n in everywhere)
    _no_folders([*chosen.columns, *chosen.exclude, *chosen.target, chosen.group], columns, layouts)
    types: dict[str, set[str]] = {}
    for one in layouts.values():
        for name, type_ in zip(one.columns, one.types, strict=True):
            types.setdefault(name, set()).add(type_)
    mixed = [n for n in columns if len(types.get(n, ())) > 1]
    numbers = frozenset(n for n in mixed if all(map(_NUMBER.fullmatch, types[n])))
    grouped: dict[Layout, list[str]] = {}
    for path, one in layouts.items():
        grouped.setdefault(one, []).append(path)
    groups = tuple((paths, one) for one, paths in grouped.items())
    left = tuple(n for n in chosen.exclude if n in everywhere or n not in differing)
    return Files(groups, columns, numbers, frozenset(mixed) - numbers), replace(chosen, exclude=left)


def _no_folders(asked: Sequence[str], columns: Sequence[str], paths: Iterable[str]) -> None:
    """Raises DataError where a column that is asked for is the name of folders, as in day=3/part.parquet."""
    for name in asked:
        path = next((p for p in paths if f"/{name}=" in f"/{p}"), "") if name and name not in columns else ""
        if path and columns:
            raise DataError(
                f"{path}: {name!r} is a name of folders and no column of the files; choose by a pattern, such as '{name}=.../*'"
            )
