"""Folders that hold a scaler among their files. A new one is one file and one row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxscale.errors import StatisticsError, names
from onnxscale.sources import parquetfolder, spark
from onnxscale.statistics import Reading, Source, Statistics

MEMBERS = ("preprocessor_config.json", "rdf.yaml", "bioimageio.yaml", "modules.json")


@dataclass(frozen=True)
class Folder:
    """A kind of folder. sniff: whether this one is of the kind. read: its scalers; raises StatisticsError."""

    format: str
    sniff: Callable[[Path], bool]
    read: Callable[[Path, Reading, Source], Statistics]


FOLDERS: tuple[Folder, ...] = (
    Folder("Spark ML", spark.is_spark, spark.read),
    Folder("parquet", parquetfolder.is_parquet, parquetfolder.read),
)


def member(path: Path) -> Path | None:
    """The one file of a model's folder that states how its inputs are scaled, or None."""
    return next((path / name for name in MEMBERS if (path / name).is_file()), None)


def read(path: Path, reading: Reading) -> Statistics:
    """The scalers of a folder. Raises StatisticsError where none of the known kinds fits."""
    found = next((f for f in FOLDERS if f.sniff(path)), None)
    if found is None:
        known = [*(f"a folder of {f.format}" for f in FOLDERS), *(f"one with {m}" for m in MEMBERS)]
        raise StatisticsError(f"{path}: a folder; expected a statistics file, or {names(known)}")
    try:
        return found.read(path, reading, Source(found.format, path.name, digest(path)))
    except StatisticsError as error:
        raise StatisticsError(f"{path}: {error}") from None


def digest(path: Path, most: int = 10_000) -> str:
    """The sha256 of a folder: of the names and contents of its files, in the order of their names."""
    total = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
    if len(files) > most:
        raise StatisticsError(f"{path}: holds {len(files):,} files; a folder of statistics has at most {most:,}")
    for file in files:
        total.update(f"{file.relative_to(path).as_posix()}\0{_hashed(file)}\n".encode())
    return total.hexdigest()


def _hashed(file: Path) -> str:
    """The sha256 of a file, in pieces: a predictor beside the scaler may be large."""
    content = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while piece := opened.read(1 << 20):
                content.update(piece)
    except OSError as error:
        raise StatisticsError(f"{file.name}: cannot be read ({error.strerror})") from None
    return content.hexdigest()
