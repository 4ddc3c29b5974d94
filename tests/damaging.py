"""Damage to files, and what a reader of statistics must make of it: an error of ours with a message, or a scaler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from onnxscale import sources
from onnxscale.errors import StatisticsError


def cut(data: bytes, *, short: int = 0, step: int = 7) -> Iterator[bytes]:
    """The beginnings of a file, up to `short` bytes before its end."""
    return (data[:end] for end in range(1, len(data) - short, step))


def flipped(data: bytes, times: int, *, at_once: int = 1, seed: int = 0) -> Iterator[bytes]:
    """Copies with some bytes changed, anywhere."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), at_once):
            broken[at] ^= int(rng.integers(1, 256))
        yield bytes(broken)


def refused(damaged: Iterable[bytes], path: Path | None = None, source: Path | None = None) -> tuple[int, int]:
    """How many of these contents are refused, and how many there are; any other error than ours is raised.

    path: written to, where the reader wants a file; source: what is read then, by default that file.
    """
    counted = total = 0
    for content in damaged:
        total += 1
        if path is not None:
            path.write_bytes(content)
        given: object = content if path is None else source or path
        counted += _refused(lambda given=given: sources.read(given))  # type: ignore[misc]
    return counted, total


def _refused(read: Callable[[], sources.Statistics]) -> bool:
    try:
        found = read()
        for fitted in (*found.inputs.values(), *found.outputs.values()):
            fitted.transform()
    except StatisticsError as error:
        if not str(error):
            raise AssertionError("an error without a message") from error
        return True
    return False
