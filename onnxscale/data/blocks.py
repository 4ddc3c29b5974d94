"""Files in pieces of some megabytes, as one frame of Polars: by itself it maps text and Arrow files into memory, or unpacks them
there, as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxscale.data import compressed

BLOCK = 1 << 22  # bytes of text


def blocks(path: str, system: Any = None, *, quote: bytes = b"") -> Iterator[bytes]:
    """Whole lines of a file, some megabytes at a time. quote: between two of these a line goes on behind its end, as a cell of CSV
    may. Raises DataError where the file cannot be read."""
    with compressed.opened(path, system) as file:
        kept: list[bytes] = []
        inside = False
        while more := file.read(BLOCK):
            end, inside = _last(more, quote, inside)
            if end:
                yield b"".join([*kept, more[:end]])
                kept = []
            kept.append(more[end:])
        if rest := b"".join(kept):
            yield rest


def _last(text: bytes, quote: bytes, inside: bool) -> tuple[int, bool]:
    """Where the last whole line ends, 0 where none does, and whether the text ends inside quotes. inside: whether it begins there."""
    if not quote or quote not in text:
        return (0 if inside else text.rfind(b"\n") + 1), inside
    codes = np.frombuffer(text, np.uint8)
    within = (np.cumsum(codes == quote[0], dtype=np.uint8) + inside) & 1  # 256 quotes are as even as none
    ends = np.flatnonzero((codes == ord("\n")) & (within == 0))
    return (int(ends[-1]) + 1 if ends.size else 0), bool(within[-1])


def frame(schema: Mapping[str, Any], pieces: Callable[[Sequence[str]], Iterator[Any]]) -> Any:
    """A polars LazyFrame of this schema. pieces: the data from their beginning, as frames of polars with these columns at least."""
    from polars.io.plugins import register_io_source

    def read(columns: list[str] | None, condition: Any, most: int | None, size: int | None) -> Iterator[Any]:
        del size
        wanted = list(schema) if columns is None else columns  # those of the condition are among them
        for piece in pieces(wanted):
            rows = piece.lazy().select(wanted)
            if condition is not None:
                rows = rows.filter(condition)
            found = rows.collect() if most is None else rows.head(most).collect()
            yield found
            if most is not None:
                most -= found.height
                if most <= 0:
                    return

    return register_io_source(read, schema=dict(schema))
