"""One line on the terminal while something takes more than a second; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[int], None]
PATIENCE, EVERY = 1.0, 0.1  # seconds before the line shows, and between two of its states


@contextmanager
def shown(label: str, unit: str, total: int = 0, scale: int = 1, *, alive: bool = False) -> Iterator[Tell]:
    """A function to call with what was done since the last call. total: of all, 0 where nobody knows. scale: units are
    shown divided by it. alive: the seconds go on where nothing is told for long, as while an engine works. The line is wiped at
    the end."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    start = last = time.monotonic()
    done, drawn = 0, False

    def tell(count: int) -> None:
        nonlocal done, last, drawn
        done += count
        now = time.monotonic()
        if now - start > PATIENCE and now - last > EVERY:
            of = f" of {total // scale:,}" if total else ""
            sys.stderr.write(f"\r\x1b[K{label}: {done // scale:,}{of} {unit}, {now - start:.0f} s")
            sys.stderr.flush()
            last, drawn = now, True

    over = threading.Event()

    def tick() -> None:
        while not over.wait(PATIENCE):
            tell(0)

    ticking = threading.Thread(target=tick, daemon=True)
    if alive:
        ticking.start()
    try:
        yield tell
    finally:
        over.set()
        if alive:
            ticking.join()
        if drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
