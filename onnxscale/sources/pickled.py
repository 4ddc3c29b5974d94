"""Whether bytes are a pickle: of protocol 2 on by their first two, of the older ones, which are text, by their opcodes."""

from __future__ import annotations

import pickletools
import re
from contextlib import suppress

OPCODES = 250_000  # more than any scaler's file has
_TEXT = re.compile(rb"\(*[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.<>]*\n|\(+[dl](?:p\d+\n|\.|\()|[\]}]q\x00")
_NAMED = re.compile(rb"[ci][A-Za-z_][\w.]{0,200}\n[A-Za-z_][\w.<>]{0,200}\n|^P")


def is_pickle(data: bytes) -> bool:
    """Protocols 0 and 1: a class or container at the start, or a global named anywhere, and a stop at the end."""
    if data[:1] == b"\x80":
        return data[1:2] in b"\0\1\2\3\4\5"
    return data[-1:] == b"." and (_TEXT.match(data) is not None or _names_something(data))


def _names_something(data: bytes) -> bool:
    """Whether this is opcodes to its end, some of which name a global; arguments may stand before it."""
    if _NAMED.search(data) is None:
        return False
    found = False
    with suppress(
        ValueError, OverflowError, IndexError, KeyError, AssertionError
    ):  # what genops raises where it is no opcode
        for count, (opcode, _, position) in enumerate(pickletools.genops(data)):
            found = found or opcode.name in ("GLOBAL", "INST", "PERSID")
            if count > OPCODES or opcode.name == "STOP":
                return found and position == len(data) - 1
    return False
