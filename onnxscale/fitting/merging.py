"""Parts of a data set: measuring one, which belong together, that each is there once, and their sum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from onnxscale import data
from onnxscale.data import Selection, albums, pictures
from onnxscale.errors import DataError, names
from onnxscale.fitting import images, kinds, rounds
from onnxscale.fitting.measuring import measured
from onnxscale.fitting.rounds import Round
from onnxscale.fitting.scaling import GRID, Tell, fitted, settings_of
from onnxscale.fitting.summary import Summary, total
from onnxscale.statistics import Source, Statistics

ALIKE = ("features", "dtypes", "units")


def shard(
    source: object,
    part: tuple[int, int],
    selection: Selection | None = None,
    *,
    engine: str = "",
    address: str = "",
    correlation: bool = False,
    quantiles: bool = True,
    after: Round | None = None,
    units: Mapping[str, str] | None = None,
    whole_hash: bool = False,
    tell: Tell = lambda rows: None,
) -> Summary:
    """The summary of the i-th of n pieces of the data, part = (i, n), to be merged with the others. quantiles: with a round
    of counts (rounds.py), the first one or that `after` another, which give quantiles to the merged whole. The rest as in `fit`.
    Raises DataError."""
    chosen = replace(selection or Selection(), shard=part)
    if albums.is_pictures(source):
        pictures.refuse(chosen)
        paths = albums.listed(source)
        return images.summary(pictures.counted(paths, tell, shard=part), part, paths)
    with closing(data.opened(source, chosen, engine=engine, address=address, whole_hash=whole_hash)) as opened:
        found = measured(opened, correlation=correlation, units=units, tell=tell)
        if quantiles:
            found = replace(found, counts=rounds.counts(opened, after, tell))
    return found


def merge(parts: Sequence[str | os.PathLike[str] | Summary], kind: str = "standard", **settings: Any) -> Statistics:
    """The statistics of parts that `shard` measured, from their files or as they are. Their counts give quantiles that are exact
    where a column's values or what they have in common are few, else with a known error in rank (about.quantile_rank_error).
    Raises DataError where a shard is missing or there twice, or the parts do not belong together."""
    asked = settings_of(settings)
    row = kinds.kind(kind, asked)
    named = _named(parts)
    picture = images.merged([p for _, p in named])
    if picture is not None:
        _complete(named)
        return Statistics({None: picture}, {}, Source("fit", "", "", "onnxscale", metadata.version("onnxscale"), 0))
    whole = merged(named)
    counts = rounds.together([p for _, p in named])
    found = fitted(whole, row, asked, None, counts=counts)
    version = metadata.version("onnxscale")
    origin = Source(
        "fit", "", "", "onnxscale", version, asked.ddof if "ddof" in row.settings else None, row.zero_variance
    )
    return Statistics({None: found}, {}, origin)


def next_round(
    parts: Sequence[str | os.PathLike[str] | Summary], kind: str = "standard", **settings: Any
) -> Round | None:
    """What the shards have to count next for exact quantiles (`shard(..., after=)`), or None where they have said all. Raises
    DataError as `merge` does, and where the parts have no counts."""
    asked = settings_of(settings)
    named = _named(parts)
    if images.merged([p for _, p in named]) is not None:
        return None
    whole = merged(named)
    counts = rounds.together([p for _, p in named])
    if counts is None:
        raise DataError("the parts have no counts: fit the shards with --quantiles")
    return counts.next((GRID, *kinds.kind(kind, asked).asks(asked, whole.rows)))


def _named(parts: Sequence[str | os.PathLike[str] | Summary]) -> list[tuple[str, Summary]]:
    return [(f"part {i}", p) if isinstance(p, Summary) else (str(p), read(Path(p))) for i, p in enumerate(parts, 1)]


def read(path: Path) -> Summary:
    """A part from its file. Raises DataError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as a part ({error})") from None
    return Summary.from_json(content, str(path))


def merged(parts: Sequence[tuple[str, Summary]]) -> Summary:
    """The sum of named parts. Raises DataError where their columns or rows are not the same kind, a shard is missing or there
    twice, or the data has changed between two shards."""
    if not parts:
        raise DataError("no parts to merge")
    first_name, first = parts[0]
    for name, part in parts[1:]:
        for key in ALIKE:
            if getattr(part, key) != getattr(first, key) or part.width != first.width:
                raise DataError(
                    f"{name}: {key} {names(getattr(part, key))} of {part.width} columns; those of {first_name} are "
                    f"{names(getattr(first, key))} of {first.width}"
                )
        if part.about.get("where") != first.about.get("where"):
            raise DataError(f"{name}: measured on other rows (--where) than {first_name}")
        if (part.cross is None) != (first.cross is None):
            raise DataError(f"{name}: of {name} and {first_name}, one has a correlation and the other none")
    _complete(parts)
    found = total([p for _, p in parts])
    return replace(found, about=_about([p for _, p in parts]))


def _complete(parts: Sequence[tuple[str, Summary]]) -> None:
    """Every data set has each of its shards once."""
    sets: dict[str, dict[int, tuple[str, Summary]]] = {}
    for name, part in parts:
        said = _shard(part)
        key = f"{said['data']} {said['of']} {said['by']}"
        there = sets.setdefault(key, {})
        if said["index"] in there:
            raise DataError(
                f"{name}: shard {said['index']}/{said['of']} of the data that {there[said['index']][0]} has already"
            )
        there[said["index"]] = (name, part)
    for held in sets.values():
        name, part = next(iter(held.values()))
        said = _shard(part)
        missing = [f"{i}/{said['of']}" for i in range(1, said["of"] + 1) if i not in held]
        if missing:
            other = "; another part is of other data (names or sizes of files differ)" if len(sets) > 1 else ""
            raise DataError(f"shard {', '.join(missing[:8])} of the data of {name} is missing{other}")
        if said["by"] == "rows":
            changed = [n for n, p in held.values() if p.about.get("files") != part.about.get("files")]
            if changed:
                raise DataError(f"{names(changed)}: the data had changed since {name} was measured; measure both again")


def _shard(part: Summary) -> dict[str, Any]:
    said = part.about.get("shard")
    if isinstance(said, Mapping) and {"of", "index", "by", "data"} <= set(said):
        return dict(said)
    files = part.about.get("files")
    unique = json.dumps(files, sort_keys=True) if files else repr(part.to_json())
    return {"of": 1, "index": 1, "by": "rows", "data": hashlib.sha256(unique.encode()).hexdigest()}


def _about(parts: Sequence[Summary]) -> dict[str, Any]:
    files: list[Any] = []
    for part in parts:
        files += [f for f in part.about.get("files", []) if f not in files]
    engines = sorted({str(p.about.get("engine", "numpy")) for p in parts})
    found: dict[str, Any] = {"parts": len(parts), "engine": " and ".join(engines)}
    for key in ("where", "onnxscale"):
        if key in parts[0].about:
            found[key] = parts[0].about[key]
    return found | ({"files": files, "bytes": sum(int(f.get("size", 0)) for f in files)} if files else {})
