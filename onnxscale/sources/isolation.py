"""A native library that a damaged file can crash, run in a process of its own: its death is a message like any other.

Only where processes fork (Linux, macOS): elsewhere the work is done here.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from onnxscale.errors import StatisticsError

SECONDS, MEMORY = 60, 4 << 30
Result = TypeVar("Result")


def isolated(work: Callable[[], Result], what: str) -> Result:
    """work(), in a child under limits of time and memory. what: the library, for messages.

    Raises StatisticsError as `work` does, and where the child dies or takes too long. The result must be picklable.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        return work()
    context: Any = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, ours, work), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(SECONDS):
            raise StatisticsError(
                f"{what} did not finish within {SECONDS} s: a damaged file, or one made to stop readers"
            )
        good, value = ours.recv()
    except (EOFError, OSError):
        process.join(5)
        raise StatisticsError(f"a damaged file: {what} crashed on it (exit code {process.exitcode})") from None
    finally:
        ours.close()
        process.kill()
        process.join()
    if good:
        return value  # type: ignore[no-any-return]
    raise StatisticsError(value)


def _serve(pipe: Connection, parents: Connection, work: Callable[[], object]) -> None:
    parents.close()  # so that a write fails when the parent is gone
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # what native code prints is no message of ours
    if sys.platform != "win32":
        import resource

        for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_DATA, MEMORY)):
            with suppress(ValueError, OSError):  # a lower limit is in force already
                resource.setrlimit(limit, (most, most))
    try:
        answer: tuple[bool, object] = (True, work())
    except StatisticsError as error:
        answer = (False, str(error))
    except MemoryError:
        answer = (False, "a damaged file, or one made to fill the memory")
    with suppress(BrokenPipeError):
        pipe.send(answer)
