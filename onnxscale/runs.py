"""Runs of one repeated field: a list of a million numbers lies in a protobuf file as a million fields, one behind the other.

    floats    tag, 4 bytes         ints    tag, varint         strings    tag, length, bytes

Here such a run is found and read with numpy, a block at a time, instead of field by field. A list may also be packed: one
field that holds all its numbers. Source: the protobuf encoding guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxscale.errors import ModelError
from onnxscale.wire import FIXED32, LENGTH, VARINT, Buffer, Field, fields, varint

Array = npt.NDArray[Any]
BLOCK, REACH = 1 << 20, 1 << 15
SHORT = 200  # bytes that are as quickly read with others
_MOST = 10  # bytes of a varint
_FIELD = 130  # bytes of the longest field of a run: what may be left of a block


def grouped(data: Buffer, start: int, end: int, numbers: frozenset[int]) -> Iterator[Field]:
    """As wire.fields; but a run of equal fields of these numbers is one, from the first one's start to the last one's end.

    A run may come in several parts. Raises ModelError where the message is broken.
    """
    at = start
    while at < end:
        field = next(fields(data, at, end))
        stop = _end(data, field, end) if field.number in numbers and field.number < 16 else field.end
        yield field._replace(end=stop)
        at = stop


def _end(data: Buffer, field: Field, end: int) -> int:
    """Where the run that starts with `field` ends, or at least that field. Every field up to there is a whole one."""
    tag, at = field.number << 3 | field.wire, field.start
    whole = {VARINT: _varints, FIXED32: _fixed, LENGTH: _strings}.get(field.wire)
    while whole is not None and at < end:
        stop = min(end, at + BLOCK)
        block = np.frombuffer(data[at:stop], np.uint8)
        count = whole(block, tag)
        at += count
        if count == 0 or (stop - at > _FIELD):
            break
    return max(at, field.end)


def _uniform(block: Array, tag: int, at: int) -> int:
    """How many bytes from `at` are fields of a varint as long as that of the first one, within a short reach."""
    window = block[at : at + REACH]
    if window.size < 2 or window[0] != tag:
        return 0
    size = 1 + int((window[1 : 1 + _MOST] < 0x80).argmax()) + 1
    cells = window[: window.size // size * size].reshape(-1, size)
    good = (cells[:, 0] == tag) & (cells[:, -1] < 0x80)
    for place in range(1, size - 1):
        good &= cells[:, place] >= 0x80
    return size * (len(good) if good.all() else int(good.argmin()))


def _varints(block: Array, tag: int) -> int:
    """How many bytes of the block are whole fields: a tag of one byte, a varint."""
    at = 0
    while (count := _uniform(block, tag, at)) > SHORT:
        at += count
    return at + _chained(*_split(block[at:]), block[at:], tag)


def _split(block: Array) -> tuple[Array, Array]:
    """Starts and ends of tags and varints that take turns: a byte below 128 is the last of either."""
    last = np.flatnonzero(block < 0x80)
    starts, ends = last[: last.size & ~1 : 2], last[1::2]
    short = ends - starts <= _MOST
    count = starts.size if short.all() else int(short.argmin())
    return starts[:count], ends[:count] + 1


def _fixed(block: Array, tag: int) -> int:
    good = block[: block.size // 5 * 5 : 5] == tag
    return 5 * (good.size if good.all() else int(good.argmin()))


def _strings(block: Array, tag: int) -> int:
    return _chained(*_places(block, tag), block, tag)


def _places(block: Array, tag: int) -> tuple[Array, Array]:
    """Starts and ends of strings below 128 bytes. One that holds the tag's byte ends the run: a caller reads on there."""
    starts = np.flatnonzero(block[:-1] == tag)
    long = block[starts + 1]
    ends = starts + 2 + long
    short = (long < 0x80) & (ends <= block.size)
    count = starts.size if short.all() else int(short.argmin())
    return starts[:count], ends[:count]


def _chained(starts: Array, ends: Array, block: Array, tag: int) -> int:
    """Where the first of the fields that do not follow one another ends."""
    if not starts.size:
        return 0
    good = block[starts] == tag
    good &= np.append(0, ends[:-1]) == starts
    count = starts.size if good.all() else int(good.argmin())
    return int(ends[count - 1]) if count else 0


def floats(run: bytes) -> Array:
    """The numbers of a run of floats, or of a packed field of them, float32."""
    if run[:1] and run[0] & 7 == FIXED32:
        return np.array(np.frombuffer(run, [("tag", "u1"), ("value", "<f4")])["value"])
    packed = _packed(run)
    if len(packed) % 4:
        raise ModelError(f"a packed list of floats has {len(packed):,} bytes, which is no multiple of 4")
    return np.array(np.frombuffer(packed, "<f4"))


def ints(run: bytes) -> Array:
    """The numbers of a run of ints, or of a packed field of them, int64."""
    tagged = bool(run[:1]) and run[0] & 7 == VARINT
    body = np.frombuffer(run if tagged else _packed(run), np.uint8)
    parts, at = [], 0
    while at < body.size:
        block = body[at : at + BLOCK]
        alike = _uniform(block, run[0], 0) if tagged and block.size > 1 and block[1] < 0x80 else 0
        if alike > SHORT:
            parts.append(block[1:alike:2].astype(np.int64))
            at += alike
            continue
        last = np.flatnonzero(block < 0x80)
        last = last[: last.size & ~1] if tagged else last
        if not last.size:
            raise ModelError("a list of ints is cut off inside a number")
        starts = (last[::2] if tagged else np.append(-1, last[:-1])) + 1
        parts.append(_decoded(block, starts, last[1::2] if tagged else last))
        at += int(last[-1]) + 1
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _decoded(block: Array, starts: Array, last: Array) -> Array:
    value = (block[starts] & 0x7F).astype(np.uint64)
    size = last - starts
    for k in range(1, int(size.max(initial=0)) + 1):
        rows = np.flatnonzero(size >= k)
        if k >= _MOST:
            raise ModelError("a number of more than 10 bytes; this is not a valid protobuf file")
        value[rows] |= (block[starts[rows] + k] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * k)
    return value.view(np.int64)


def words(run: bytes, known: Sequence[bytes]) -> Array | None:
    """For each string of a run which of the known words it is, uint8; None where one is none of them.

    known: each shorter than 128 bytes, without the byte of the run's tag.
    """
    tag = run[:1]
    if sum(run.count(tag + bytes([len(w)]) + w) * (len(w) + 2) for w in set(known)) != len(run):
        return None
    parts, at = [], 0
    table, column = _telling(known)
    while at < len(run):
        block = np.frombuffer(run, np.uint8, min(BLOCK, len(run) - at), at)
        starts, ends = _places(block, run[0])
        long = block[starts + 1]
        parts.append(table[long, block[starts + 2 + column[long]]])
        at += int(ends[-1])
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def _telling(known: Sequence[bytes]) -> tuple[Array, Array]:
    """[length, byte] -> the word, and [length] -> the place of the byte that tells words of that length apart."""
    table, column = np.zeros((128, 256), np.uint8), np.zeros(128, np.int64)
    for length in {len(w) for w in known}:
        same = {w for w in known if len(w) == length}
        column[length] = next(i for i in range(length) if len({w[i] for w in same}) == len(same))
        for word in same:
            table[length, word[column[length]]] = known.index(word)
    return table, column


def _packed(run: bytes) -> bytes:
    """What a packed field holds."""
    if not run:
        return b""
    _, at = varint(run, 0, len(run))
    length, at = varint(run, at, len(run))
    return run[at : at + length]
