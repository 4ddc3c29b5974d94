"""A file described as pieces of another: byte ranges to copy and bytes to write. What makes a bake a copy, and an
unbake exact: the description of an edit can be turned round."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from onnxscale.errors import ModelError


class Copy(NamedTuple):
    """`length` bytes of the source from `offset`, as they are."""

    offset: int
    length: int


LARGEST = 1 << 31
Piece = Copy | bytes
Pieces = list[Piece]


def size(pieces: Iterable[Piece]) -> int:
    """How many bytes the pieces make."""
    return sum(p.length if isinstance(p, Copy) else len(p) for p in pieces)


def joined(pieces: Iterable[Piece]) -> Pieces:
    """The same bytes in as few pieces as possible."""
    out: Pieces = []
    for piece in pieces:
        last = out[-1] if out else None
        if isinstance(piece, Copy) and isinstance(last, Copy) and last.offset + last.length == piece.offset:
            out[-1] = Copy(last.offset, last.length + piece.length)
        elif isinstance(piece, bytes) and isinstance(last, bytes):
            out[-1] = last + piece
        elif size([piece]):
            out.append(piece)
    return out


def inverted(pieces: Sequence[Piece], length: int, read: Callable[[int, int], bytes]) -> Pieces:
    """The pieces that make the source again out of the file that `pieces` make of it.

    length: of the source. read(offset, length): bytes of the source; asked only for what `pieces` dropped.
    """
    placed, at = [], 0
    for piece in pieces:
        if isinstance(piece, Copy) and piece.length:
            placed.append((piece.offset, piece.length, at))
        at += size([piece])
    out: Pieces = []
    done = 0
    for offset, count, target in sorted(placed):
        if offset > done:
            out.append(read(done, offset - done))
        skip = max(0, done - offset)  # a range copied twice serves once
        if count > skip:
            out.append(Copy(target + skip, count - skip))
            done = offset + count
    if done < length:
        out.append(read(done, length - done))
    return joined(out)


def to_json(pieces: Iterable[Piece]) -> list[Any]:
    """Pieces as JSON: [offset, length] for a copy, base64 for bytes, {"zlib": base64} where that is shorter."""
    return [[*p] if isinstance(p, Copy) else _text(p) for p in pieces]


def literal(pieces: Iterable[Piece]) -> int:
    """How many bytes the pieces hold themselves."""
    return sum(len(p) for p in pieces if isinstance(p, bytes))


def _text(data: bytes) -> str | dict[str, str]:
    packed = zlib.compress(data, 6) if len(data) > 512 else data
    if len(packed) < 0.9 * len(data):
        return {"zlib": base64.b64encode(packed).decode()}
    return base64.b64encode(data).decode()


def _unpacked(text: str) -> bytes:
    inflate = zlib.decompressobj()
    data = inflate.decompress(base64.b64decode(text, validate=True), LARGEST)
    if inflate.unconsumed_tail or not inflate.eof:
        raise ModelError("the record's undo list is damaged: what it packs is cut off or too large")
    return data


def from_json(content: object) -> Pieces:
    """The reverse of `to_json`. Raises ModelError where the content is not that."""
    if not isinstance(content, list):
        raise ModelError("the record's undo list is damaged")
    out: Pieces = []
    for item in content:
        if isinstance(item, list) and len(item) == 2 and all(type(v) is int and v >= 0 for v in item):
            out.append(Copy(*item))
        elif isinstance(item, str):
            try:
                out.append(base64.b64decode(item, validate=True))
            except ValueError:
                raise ModelError("the record's undo list is damaged: not base64") from None
        elif isinstance(item, dict) and isinstance(item.get("zlib"), str):
            try:
                out.append(_unpacked(item["zlib"]))
            except (ValueError, zlib.error):
                raise ModelError("the record's undo list is damaged: not zlib") from None
        else:
            raise ModelError(f"the record's undo list is damaged at {str(item)[:60]!r}")
    return out
