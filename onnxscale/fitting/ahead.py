"""Batches read on a thread of their own, a few ahead of what counts them: decoding lets go of Python's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
AHEAD = 2


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items in the same order. An error while reading is raised here; left early, the thread ends with its next item."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(AHEAD)
    over = threading.Event()

    def tell(what: str, value: Any) -> None:
        while not over.is_set():
            try:
                waiting.put((what, value), timeout=0.1)
            except queue.Full:
                continue
            break

    def read() -> None:
        try:
            for item in items:
                tell("item", item)
                if over.is_set():
                    return
            tell("end", None)
        except BaseException as error:  # noqa: BLE001  raised where the items are asked for
            tell("error", error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            what, value = waiting.get()
            if what == "item":
                yield value
            elif what == "end":
                return
            else:
                raise value
    finally:
        over.set()
        thread.join()
