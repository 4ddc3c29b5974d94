"""The sha256 of a large file, on a thread that begins before anything else does: the imports and the plan of a bake take as long as
half a gigabyte. Standard library only, so that it can begin first.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from dataclasses import dataclass, field

LARGE, CHUNK = 64 << 20, 1 << 20
Stamp = tuple[int, ...]


def stamp(descriptor: int) -> Stamp:
    """What changes when an open file does: device, inode, size and time of the last change."""
    now = os.fstat(descriptor)
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


@dataclass
class Ahead:
    """A digest that is being made. ready: when it is. made: the file's stamp, the same before and after, and its sha256 in hex."""

    ready: threading.Event = field(default_factory=threading.Event)
    made: tuple[Stamp, str] | None = None

    def of(self, wanted: Stamp) -> str | None:
        """The sha256 of the file with this stamp, waited for; None where it was another, or could not be read."""
        self.ready.wait()
        return self.made[1] if self.made and self.made[0] == wanted else None


def ahead(path: str | os.PathLike[str]) -> Ahead | None:
    """Begin with the file at a path; None where it is no large file of this machine. The thread ends with the process."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None  # said by who opens it next
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_size < LARGE:
        os.close(descriptor)
        return None
    found = Ahead()
    threading.Thread(target=_read, args=(descriptor, found), daemon=True).start()
    return found


def _read(descriptor: int, found: Ahead) -> None:
    try:
        before, total = stamp(descriptor), hashlib.sha256()
        while part := os.read(descriptor, CHUNK):
            total.update(part)
        if stamp(descriptor) == before:
            found.made = before, total.hexdigest()
    except OSError:
        found.made = None
    finally:
        os.close(descriptor)
        found.ready.set()
