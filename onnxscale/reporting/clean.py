"""Text that comes from files, made safe for a terminal."""

from __future__ import annotations

import unicodedata


def clean(text: object) -> str:
    """Text with every character that could steer a terminal written as an escape."""
    return "".join(
        c
        if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else c.encode("unicode_escape").decode()
        for c in str(text)
    )
