"""Text that comes from files, made safe for a terminal."""

from __future__ import annotations

import unicodedata


def clean(text: object) -> str:
    """One line of text with every character that could steer a terminal, or begin a line of its own, written as an escape."""
    return "".join(
        c
        if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else c.encode("unicode_escape").decode()
        for c in str(text)
    )
