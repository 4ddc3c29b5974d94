"""A native library that a damaged file can crash, run in a process of its own: its death is a message like any other.

Only where processes fork (Linux, macOS): elsewhere the work is done here. os.fork and not multiprocessing, whose daemons, such as the
workers of a Dask cluster, may have no children.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from onnxscale.errors import StatisticsError

SECONDS, MEMORY = 60, 4 << 30
CHUNK = 1 << 20
Result = TypeVar("Result")


def isolated(work: Callable[[], Result], what: str) -> Result:
    """work(), in a child under limits of time and memory. what: the library, for messages.

    Raises StatisticsError as `work` does, and where the child dies or takes too long. The result must be picklable.
    """
    if not hasattr(os, "fork"):
        return work()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _serve(theirs, work)
    os.close(theirs)
    try:
        answer = _received(ours)
    finally:
        os.close(ours)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer is None:
        raise StatisticsError(f"{what} did not finish within {SECONDS} s: a damaged file, or one made to stop readers")
    try:
        good, value = pickle.loads(answer)  # noqa: S301  of our own child, not of the file. onnxscale: ignore[pickle-executed]
    except (EOFError, pickle.UnpicklingError):
        raise StatisticsError(f"a damaged file: {what} crashed on it (exit code {code})") from None
    if good:
        return value  # type: ignore[no-any-return]
    raise StatisticsError(value)


def _received(pipe: int) -> bytes | None:
    """All that the child sends until it closes its end; None where that takes too long."""
    held, end = bytearray(), time.monotonic() + SECONDS
    while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(pipe, CHUNK)
        if not part:
            return bytes(held)
        held += part
    return None


def _serve(pipe: int, work: Callable[[], object]) -> NoReturn:
    """In the child: the result of the work, or what it raised, into the pipe; then an end without any of the parent's clean-up."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # what native code prints is no message of ours
        faulthandler.disable()
        if sys.platform != "win32":
            import resource

            limits = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_DATA, MEMORY))
            for limit, most in limits:
                with suppress(ValueError, OSError):  # a lower limit is in force already
                    resource.setrlimit(limit, (most, most))
        try:
            answer: tuple[bool, object] = (True, work())
        except StatisticsError as error:
            answer = (False, str(error))
        except MemoryError:
            answer = (False, "a damaged file, or one made to fill the memory")
        with suppress(BrokenPipeError), os.fdopen(pipe, "wb") as file:
            pickle.dump(answer, file, protocol=pickle.HIGHEST_PROTOCOL)
    finally:
        os._exit(0)
