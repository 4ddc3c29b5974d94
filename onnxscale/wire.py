"""The protobuf wire format, as far as an ONNX file needs it: where each field lies, and nothing decoded.

A message is a run of fields: a tag (field number and wire type, a varint), then a varint, 8 bytes, 4 bytes, or a
length and that many bytes. Groups (wire types 3 and 4) do not occur in ONNX and are refused.
Source: the protobuf encoding guide; nothing here knows a field's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, Protocol, overload

from onnxscale.errors import ModelError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}
WINDOW = 1 << 16


class Buffer(Protocol):
    """Random access to bytes: `bytes` itself, or a `Window` on what lies elsewhere."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> bytes: ...
    def __getitem__(self, at: int | slice) -> int | bytes: ...


class Window:
    """Bytes that lie elsewhere, read in windows, so that walking past a gigabyte of weights costs kilobytes.

    read: gives `length` bytes from `offset`. step: size of a window after a jump; it doubles, up to WINDOW, while reads go
    on where the last window ended.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, step: int = WINDOW) -> None:
        self._read, self._size, self._least = read, size, step
        self._start, self._data, self._step = 0, b"", step

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> bytes: ...
    def __getitem__(self, at: int | slice) -> int | bytes:
        if isinstance(at, slice):
            start, stop = at.start - self._start, at.stop - self._start
            if at.stop - at.start > WINDOW or at.stop > self._size:
                return self._read(at.start, at.stop - at.start)
            if not 0 <= start <= stop <= len(self._data):
                self._fill(at.start, at.stop - at.start)
                start, stop = 0, at.stop - at.start
            return self._data[start:stop]
        offset = at - self._start
        if not 0 <= offset < len(self._data):
            self._fill(at, 1)
            offset = 0
        return self._data[offset]

    def _fill(self, at: int, least: int) -> None:
        follows = at == self._start + len(self._data)
        self._step = min(self._step * 2, max(WINDOW, self._least)) if follows else self._least
        length = min(max(self._step, least), self._size - at)
        self._data, self._start = self._read(at, length), at


def file_window(descriptor: int, size: int) -> Window:
    """A window on an open file. pread and not mmap: a file that another process truncates raises an error here, where
    mmap would kill us."""
    return Window(partial(read_exactly, descriptor), size)


def read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    """`length` bytes of a file from `offset`; ModelError where the file ends before."""
    parts = []
    while length > 0:
        part = os.pread(descriptor, min(length, 1 << 26), offset)
        if not part:
            raise ModelError(f"the file ends at byte {offset}, {length} bytes too early")
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Field(NamedTuple):
    """One field: its number and wire type, where its tag starts, where its value starts and ends."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """The varint at `at`, and the position after it."""
    result = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise ModelError(f"byte {at}: a number of more than 10 bytes; this is not a valid protobuf file")
    raise ModelError(f"byte {at}: the file is cut off inside a number")


def fields(data: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies between two positions, in file order. Raises ModelError where it is broken."""
    at = start
    while at < end:
        tag, value = varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == LENGTH:
            length, value = varint(data, value, end)
            stop = value + length
        elif wire == VARINT:
            _, stop = varint(data, value, end)
        elif wire in _SIZES:
            stop = value + _SIZES[wire]
        else:
            raise ModelError(f"byte {at}: wire type {wire} does not occur in ONNX; this is not a valid ONNX file")
        if number == 0:
            raise ModelError(f"byte {at}: field number 0; this is not a valid ONNX file")
        if stop > end:
            raise ModelError(
                f"byte {at}: a field of {stop - value:,} bytes, but {end - value:,} are left: the file is cut off or damaged"
            )
        yield Field(number, wire, at, value, stop)
        at = stop


def encode_varint(number: int) -> bytes:
    """`number` as a varint (a negative one as its 64-bit two's complement)."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def header(number: int, length: int) -> bytes:
    """Tag and length of a length-delimited field."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(length)
