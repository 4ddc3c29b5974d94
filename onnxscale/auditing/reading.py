"""The facts of a chunk of files: what a worker does, in this process or another, on this machine or on a cluster."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from onnxscale import remote
from onnxscale.auditing.facts import Facts, kind_of, of
from onnxscale.auditing.facts.base import Trouble
from onnxscale.auditing.finding import Where
from onnxscale.auditing.walking import Item
from onnxscale.errors import OnnxscaleError


def facts_of(chunk: Sequence[Item]) -> list[Facts]:
    """The facts of each file that says something. A file that cannot be read is a fact too; nothing is executed."""
    found = []
    for item in chunk:
        kind = kind_of(item.path)
        if kind is None or item.size > kind.largest:
            continue
        try:
            made = of(kind, item.source, item.path, _bytes(item, kind.largest) if kind.whole else b"")
        except OnnxscaleError as error:
            made = Facts(item.path, kind.what, troubles=(Trouble(Where(item.path), str(error)[:300]),))
        except (RecursionError, MemoryError):
            made = Facts(item.path, kind.what, troubles=(Trouble(Where(item.path), "nested too deeply, or too large"),))
        if made is not None:
            found.append(made)
    return found


def _bytes(item: Item, largest: int) -> bytes:
    if remote.is_url(item.source):
        return remote.opened(item.source).whole()
    try:
        descriptor = os.open(item.source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise OnnxscaleError(f"cannot be opened ({os.strerror(error.errno or 0)})") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OnnxscaleError("not a regular file")
        return file.read(largest + 1)[:largest]
