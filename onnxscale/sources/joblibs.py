"""Compressed pickles, as joblib and gzip write them: inflated in memory under limits, then read by pickles.py.

joblib/compressor.py: zlib, gzip, bz2, lzma (the old "alone" container), xz; the whole file is one compressed stream.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import pickles
from onnxscale.sources.inert import Document

LARGEST, RATIO, FREE, MEMORY = 64 << 20, 200, 4 << 20, 128 << 20


@dataclass(frozen=True)
class Compressor:
    """name: as joblib calls it. matches: its first bytes. open: a fresh decompressor."""

    name: str
    matches: Callable[[bytes], bool]
    open: Callable[[], Any]


def _zlib(data: bytes) -> bool:
    """A header (RFC 1950) with 32 KiB window, and a few bytes that do inflate: text may start with an x too."""
    if len(data) < 8 or data[0] != 0x78 or int.from_bytes(data[:2], "big") % 31 or data[1] & 0x20:
        return False
    try:
        return bool(zlib.decompressobj().decompress(data[:4096], 16))
    except zlib.error:
        return data[1] in (0x01, 0x9C, 0xDA)


def _alone(data: bytes) -> bool:
    # lzma alone has no magic: properties byte 0x5d, a dictionary of at least 4 KiB, and a size that joblib leaves unknown
    return data[:1] == b"\x5d" and data[1:3] == b"\0\0" and data[5:13] == b"\xff" * 8


COMPRESSORS = (
    Compressor("gzip", lambda data: data[:3] == b"\x1f\x8b\x08", lambda: zlib.decompressobj(31)),
    Compressor("bz2", lambda data: data[:3] == b"BZh" and data[4:10] == b"1AY&SY", bz2.BZ2Decompressor),
    Compressor("xz", lambda data: data[:6] == b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY)),
    Compressor("lzma", _alone, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, MEMORY)),
    Compressor("zlib", _zlib, lambda: zlib.decompressobj(15)),
)
REFUSED = {
    b"\x04\x22\x4d\x18": "compressed with lz4, which is not read here; save it with joblib.dump(scaler, path, compress=3)",
    b"ZF": "written by joblib before 0.10, which is not read here; load it there and save it again",
}


def sniff(data: bytes, name: str) -> bool:
    del name
    return any(c.matches(data) for c in COMPRESSORS) or (
        data[:4] in REFUSED or (data[:2] == b"ZF" and data[2:4] == b"0x")
    )


def read(data: bytes) -> Document:
    """The pickle inside. Raises StatisticsError for a bomb, a damaged stream, or something else inside."""
    compressor = next((c for c in COMPRESSORS if c.matches(data)), None)
    if compressor is None:
        raise StatisticsError(REFUSED.get(data[:4], REFUSED[b"ZF"]))
    inside = inflate(data, compressor)
    if not pickles.sniff(inside, ""):
        raise StatisticsError(
            f"compressed with {compressor.name}, and no pickle is inside; unpack it and give what is inside"
        )
    return pickles.read(inside)


def inflate(data: bytes, compressor: Compressor) -> bytes:
    """The bytes inside, at most `LARGEST` and at most `RATIO` times what the file has (`FREE` for small ones)."""
    most = min(LARGEST, max(FREE, RATIO * len(data)))
    try:
        stream = compressor.open()
        inside = stream.decompress(data, most + 1)
        if len(inside) <= most and not stream.eof and not stream.unused_data:
            inside += stream.decompress(
                getattr(stream, "unconsumed_tail", b""), most + 1
            )  # the end mark alone may be left
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise StatisticsError(f"damaged {compressor.name} data ({str(error)[:120]})") from None
    if len(inside) > most:
        raise StatisticsError(f"{compressor.name} data of {len(data):,} bytes unpack to more than {most:,}; not read")
    if not stream.eof:
        raise StatisticsError(f"the {compressor.name} data end early: the file is cut off")
    if stream.unused_data:
        raise StatisticsError(
            f"{len(stream.unused_data):,} bytes follow the {compressor.name} data; a scaler's file ends with it"
        )
    return bytes(inside)
