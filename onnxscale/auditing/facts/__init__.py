"""What is read of a repository: one row per kind of file. A reader is pure, runs nothing and gives plain values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from onnxscale.auditing.facts import models, prose, python, registries, tables
from onnxscale.auditing.facts.base import Facts
from onnxscale.auditing.facts.ignoring import ignores
from onnxscale.auditing.finding import Where

__all__ = ["KINDS", "Facts", "Kind", "kind_of", "of"]

TEXT = 4 << 20
_STATISTICS = re.compile(
    rb"ensemble|mean|std|scale|offset|center|min|max|var|median|mu|sigma|rescale|Norm|steps|inputs|stage", re.IGNORECASE
)
_SETTINGS = re.compile(
    rb"net-scale-factor|pixel-normalization-factor|--mean[_-]values|--scale[_-]values|^\s*offsets\s*=", re.MULTILINE
)


@dataclass(frozen=True)
class Kind:
    """A kind of file. what: in words. ends: how its names end, or whole names. largest: bytes; a larger file is none.
    whole: whether `read` is given the bytes; else it opens the file itself. worth: whether these bytes are worth it."""

    what: str
    ends: tuple[str, ...]
    largest: int
    read: Callable[[str, str, bytes], Facts]
    whole: bool = True
    worth: Callable[[bytes], bool] = bool


KINDS: tuple[Kind, ...] = (
    Kind("ONNX models", (".onnx",), 1 << 50, lambda s, p, d: models.read(s, p), whole=False),
    Kind("Python sources", (".py",), python.LARGEST, lambda s, p, d: python.read(d, p)),
    Kind("Jupyter notebooks", (".ipynb",), 16 << 20, lambda s, p, d: python.read_notebook(d, p)),
    Kind("MLflow models", ("MLmodel",), TEXT, lambda s, p, d: registries.read(d, p)),
    Kind("constants in prose", (".md", ".rst", ".markdown"), TEXT, lambda s, p, d: prose.read(d, p)),
    Kind("statistics and settings in text", (".json", ".jsonl", ".yaml", ".yml", ".toml", ".csv", ".xml", ".pmml", ".pbtxt"),
         TEXT, lambda s, p, d: registries.read_ensemble(d, p) or tables.read(s, p, d),
         worth=lambda d: _STATISTICS.search(d) is not None),
    Kind("settings of runtimes", (".txt", ".cfg", ".ini", ".conf", ".config", ".sh"), 1 << 20, tables.read,
         worth=lambda d: _SETTINGS.search(d) is not None),
    Kind("statistics in binary files", (".joblib", ".pkl", ".pickle", ".skops", ".npz", ".npy", ".safetensors", ".h5", ".hdf5",
         ".keras", ".parquet", ".pt", ".pth"), 32 << 20, lambda s, p, d: tables.read(s, p, None), whole=False),
)  # fmt: skip


def kind_of(path: str) -> Kind | None:
    """The row that reads files of this name, or None."""
    name = path.rpartition("/")[2]
    return next((k for k in KINDS if any(name.lower().endswith(e) if e[0] == "." else name == e for e in k.ends)), None)


def of(kind: Kind, source: str, path: str, data: bytes) -> Facts | None:
    """The facts of one file; None where it says nothing at all."""
    if kind.whole and not kind.worth(data):
        return None
    made = kind.read(source, path, data)
    if kind.whole and b"onnxscale:" in data and not made.ignores:
        made = replace(made, ignores=ignores(data.decode("utf-8", "replace"), lambda line: Where(path, line)))
    empty = Facts(made.path, made.kind, made.role)
    said = any(
        getattr(made, f) != getattr(empty, f) for f in empty.__dataclass_fields__ if f not in ("path", "kind", "role")
    )
    return made if said or made.kind in ("python", "notebook") else None
