"""Statistics written for others to read: our own statistics file, and the settings of runtimes that scale themselves.

A target that cannot express the scaler is refused with the reason. A new target is one file and one row of `TARGETS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxscale import origins, remote, saving
from onnxscale.errors import OutputError, names
from onnxscale.statistics import Reading, Statistics
from onnxscale.targets import arrays, huggingface, native, runtimes


@dataclass(frozen=True)
class Target:
    """A target. format: its name for --to. suffix: of files that are meant for it, or "". write: the file's content."""

    format: str
    suffix: str
    write: Callable[[Statistics], bytes]


TARGETS = (
    Target("huggingface", "preprocessor_config.json", huggingface.write),
    Target("stats", ".json", native.write),
    Target("npz", ".npz", arrays.write),
    Target("openvino", "", runtimes.openvino),
    Target("deepstream", "", runtimes.deepstream),
    Target("rknn", "", runtimes.rknn),
    Target("tflite", "", runtimes.tflite),
)


def target(out: str, to: str = "") -> Target:
    """The target that is asked for, or that the name of `out` speaks of. Raises OutputError."""
    found = [w for w in TARGETS if (w.format == to if to else w.suffix and out.endswith(w.suffix))]
    if not found and not to and out == "-":
        found = [w for w in TARGETS if w.format == "stats"]
    if not found:
        what = (
            f"unknown format {to!r}" if to else f"{out}: what to write cannot be told from the name; say it with --to"
        )
        raise OutputError(f"{what}; known are {names([w.format for w in TARGETS])}")
    return found[0]


def content(source: object, out: str, to: str = "", reading: Reading | None = None) -> tuple[Target, bytes, Statistics]:
    """The target, the bytes for it, and what was read. Raises StatisticsError where the target cannot express it."""
    chosen = target(out, to)
    statistics = origins.read(source, reading)
    return chosen, chosen.write(statistics), statistics


def convert(
    source: object, out: str | os.PathLike[str], *, to: str = "", reading: Reading | None = None, force: bool = False
) -> Path:
    """Read statistics from anywhere and write them for `to`, by default what the name of `out` speaks of.

    source: as in `bake`. force: replace a file that is there. Raises StatisticsError, or OutputError; then nothing is
    written.
    """
    _, data, _ = content(source, os.fspath(out), to, reading)
    return save(data, out, source, force=force)


def free(out: str | os.PathLike[str], *, force: bool = False) -> None:
    """Whether `out` may be written, asked before long work is done. Raises OutputError."""
    if os.fspath(out) != "-":
        saving.check(Path(os.path.abspath(out)), replace=force)


def save(data: bytes, out: str | os.PathLike[str], source: object, *, force: bool = False) -> Path:
    """Put what `content` made into a file. source: where it was read from, which is never written over."""
    path = Path(os.path.abspath(out))
    named = isinstance(source, str | os.PathLike) and not remote.is_url(source)
    if named and path.exists() and Path(str(source)).exists() and path.samefile(str(source)):
        raise OutputError(f"{out}: is the file that is read; name another output")
    saving.place(path, lambda target: saving.write(target, data), replace=force)
    return path
