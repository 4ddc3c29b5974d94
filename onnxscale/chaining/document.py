"""chain.yaml: stages, each a model or a service with a contract, and the edges between their tensors. Paths are relative to it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxscale.errors import ChainError, StatisticsError, names
from onnxscale.sources import yamls

LARGEST = 1 << 20
STAGES = 1000
_STAGE = ("model", "contract", "inputs", "outputs")


@dataclass(frozen=True)
class Stage:
    """A step of a chain. model, contract: the path of one of the two, the other is "". inputs, outputs: what is declared of its
    tensors, by name: "raw", or the path of statistics by which they are scaled."""

    name: str
    model: str
    contract: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.model or self.contract


@dataclass(frozen=True)
class Edge:
    """An output that feeds an input. A tensor is "" where the file names none and the stage has one that is free."""

    source: str
    output: str
    target: str
    input: str

    def prose(self) -> str:
        ends = ((self.source, self.output), (self.target, self.input))
        return " -> ".join(f"{stage}.{tensor}" if tensor else stage for stage, tensor in ends)


@dataclass(frozen=True)
class Chain:
    """A chain as its file says it. folder: what its paths are relative to."""

    name: str
    folder: Path
    stages: Mapping[str, Stage]
    edges: tuple[Edge, ...]

    def at(self, path: str) -> str:
        """A path of the file, from here; a URL as it is."""
        return path if "://" in path else str(self.folder / path)


def read(path: str | os.PathLike[str]) -> Chain:
    """The chain in a YAML file. Raises ChainError naming the place where it is not one."""
    file = Path(path)
    if not file.is_file():
        raise ChainError(f"{file}: no such file; expected a chain as YAML")
    if file.stat().st_size > LARGEST:
        raise ChainError(f"{file}: {file.stat().st_size:,} bytes; a chain has at most {LARGEST:,}")
    try:
        content = yamls.read(file.read_bytes())
    except StatisticsError as error:
        raise ChainError(f"{file}: {error}") from None
    try:
        return _chain(content, file)
    except ChainError as error:
        raise ChainError(f"{file}: {error}") from None


def _chain(content: Any, file: Path) -> Chain:
    top = _mapping(content, "the file", ("stages", "edges", "description"))
    listed = top.get("stages")
    if not isinstance(listed, Mapping) or not listed:
        raise ChainError("stages: expected an object of stages by name")
    if len(listed) > STAGES:
        raise ChainError(f"stages: {len(listed)} of them; a chain has at most {STAGES}")
    stages = {str(n): _stage(str(n), s) for n, s in listed.items()}
    edges = top.get("edges") or []
    if not isinstance(edges, list):
        raise ChainError("edges: expected a list such as 'a.y -> b.x'")
    return Chain(file.name, file.parent, stages, tuple(_edge(e, stages) for e in edges))


def _stage(name: str, content: Any) -> Stage:
    where = f"stages.{name}"
    if not name or "." in name or "->" in name or name != name.strip():
        raise ChainError(f"{where}: a stage's name has no dot, no arrow and no blanks around it")
    held = _mapping(content, where, _STAGE)
    model, contract = (held.get(k, "") for k in ("model", "contract"))
    for key, value in (("model", model), ("contract", contract)):
        if not isinstance(value, str):
            raise ChainError(f"{where}.{key}: expected a path, got {str(value)[:60]!r}")
    if bool(model) == bool(contract):
        raise ChainError(f"{where}: has {'both' if model else 'neither'}; expected a model, or a contract of a service")
    return Stage(name, model, contract, *(_declared(held.get(k), f"{where}.{k}") for k in ("inputs", "outputs")))


def _declared(content: Any, where: str) -> dict[str, str]:
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ChainError(f"{where}: expected an object of tensors, each 'raw' or the path of statistics")
    odd = next((k for k, v in content.items() if not isinstance(v, str) or not v), None)
    if odd is not None:
        raise ChainError(f"{where}.{odd}: expected 'raw' or the path of statistics, got {str(content[odd])[:60]!r}")
    return {str(k): str(v) for k, v in content.items()}


def _edge(text: Any, stages: Mapping[str, Stage]) -> Edge:
    parts = [p.strip() for p in text.split("->")] if isinstance(text, str) else []
    if len(parts) != 2 or not all(parts):
        raise ChainError(f"edges: {str(text)[:80]!r} is no edge; expected 'a.y -> b.x', from an output to an input")
    ends = [p.partition(".") for p in parts]
    for stage, _, _ in ends:
        if stage not in stages:
            raise ChainError(f"edges: {text!r}: there is no stage {stage!r}{nearest(stage, stages)}")
    return Edge(ends[0][0], ends[0][2], ends[1][0], ends[1][2])


def _mapping(content: Any, where: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ChainError(f"{where}: expected an object with {names(known)}, got {type(content).__name__}")
    unknown = next((str(k) for k in content if k not in known), None)
    if unknown is not None:
        raise ChainError(f"{where}: the key {unknown!r} is not known{nearest(unknown, known)}")
    return content


def nearest(word: str, known: Iterable[str]) -> str:
    """What was probably meant, for the end of a message."""
    listed = list(known)
    found = difflib.get_close_matches(word, listed, 1)
    return f"; did you mean {found[0]!r}?" if found else f"; known are {names(listed)}"
