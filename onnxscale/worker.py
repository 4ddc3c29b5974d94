"""The child process in which everything native happens: onnxruntime, and onnx's full checker.

A hundred bytes of model can kill either (SIGSEGV, SIGABRT), and nothing in Python can catch that; so they run here, under
limits of time and memory, and their death is an answer like any other. One child serves one command.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

GIB = 1 << 30


class Died(Exception):
    """The child was killed, by a signal, by its limits, or because it took too long."""


@dataclass(frozen=True)
class Runnable:
    """A model for onnxruntime. content: its bytes, or the path of its file. folder: where its external data lie."""

    content: bytes | str
    folder: str = ""


@dataclass(frozen=True)
class Failure:
    """onnxruntime (or the checker) said no. The first line of what it said."""

    message: str


Answers = dict[str, Any] | Failure
Feeds = Mapping[str, Any]


def _nothing(count: int) -> None:
    del count


@dataclass(frozen=True)
class Worker:
    """A running child. Every method raises Died when the child dies. tell: called with the number of feeds that ran."""

    process: BaseProcess
    pipe: Connection
    seconds: float
    tell: Callable[[int], None] = _nothing

    def run(self, model: Runnable, feeds: Sequence[Feeds], *, optimized: bool = True) -> list[Answers] | Failure:
        """The outputs by name for each feed, or why there are none; a Failure for a model that cannot be loaded."""
        answers: list[Answers] | Failure = self._ask("run", model, list(feeds), optimized)
        self.tell(len(feeds))
        return answers

    def check(self, model: bytes) -> Failure | None:
        """onnx's full checker with shape inference; None where it finds nothing."""
        return self._ask("check", model)  # type: ignore[no-any-return]

    def versions(self) -> dict[str, str]:
        """Of what runs in the child."""
        return self._ask("versions")  # type: ignore[no-any-return]

    def _ask(self, *request: object) -> Any:
        try:
            self.pipe.send(request)
            if not self.pipe.poll(self.seconds):
                raise Died(f"onnxruntime did not answer within {self.seconds:.0f} s (--time-limit)")
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise Died(_cause(self.process.exitcode)) from None


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in [s.value for s in signal.Signals] else f"signal {-code}"
        hint = " (out of the memory it was allowed?)" if name == "SIGKILL" else ""
        return f"onnxruntime was killed by {name}{hint}"
    return f"the process that runs onnxruntime ended with exit code {code}"


@contextmanager
def started(size: int = 0, seconds: float = 300, tell: Callable[[int], None] = _nothing) -> Iterator[Worker]:
    """A child for models of up to `size` bytes, ended when the block is left. seconds: for each request."""
    method = "fork" if sys.platform == "linux" else "spawn"
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    parents = (os.getpid(), ours) if method == "fork" else None
    process = context.Process(
        target=_serve,
        args=(theirs, parents, 4 * GIB + 6 * size, int(seconds) + 60),
        daemon=True,
    )
    process.start()
    theirs.close()
    try:
        yield Worker(process, ours, seconds, tell)
    finally:
        ours.close()
        process.kill()
        process.join()


def _limit(memory: int, seconds: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    inherited = (
        0  # what the process that forked this one has mapped (a framework maps gigabytes) counts against the limit
    )
    with suppress(OSError):
        inherited = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, inherited + memory), (resource.RLIMIT_CPU, seconds * 4))
    for what, value in limits:
        with suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(what, (value, value))


def _die_with(parent: int) -> None:
    """Let the system end this process with its parent, however that ends."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, sys/prctl.h
    if os.getppid() != parent:
        os._exit(1)


def _serve(pipe: Connection, parents: tuple[int, Connection] | None, memory: int, seconds: int) -> None:
    if parents is not None:
        _die_with(parents[0])
        parents[1].close()  # else this process would keep its own pipe open when the parent is gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what native code prints is no data of ours
        os.dup2(nowhere, stream)
    _limit(memory, seconds)
    loaded: dict[tuple[Runnable, bool], Any] = {}

    def run(model: Runnable, feeds: Sequence[Feeds], optimized: bool) -> list[Answers]:
        if (model, optimized) not in loaded:
            loaded.clear()  # two sessions never sit in memory together
            loaded[model, optimized] = _session(model, optimized)
        return _run(loaded[model, optimized], feeds)

    jobs: dict[str, Any] = {"run": run, "check": _check, "versions": _versions}
    while True:
        try:
            name, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = jobs[name](*arguments)
        except Exception as error:  # noqa: BLE001  whatever a native library raises is an answer
            answer = Failure(_first_line(error))
        pipe.send(answer)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:400] if lines else ''}"


def _session(model: Runnable, optimized: bool) -> Any:
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    large = (
        len(model.content) > 1 << 24
        if isinstance(model.content, bytes)
        else Path(model.content).stat().st_size > 1 << 24
    )
    options.intra_op_num_threads = 0 if large else 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if model.folder and isinstance(model.content, bytes):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", model.folder)
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])


def _run(session: Any, feeds: Sequence[Feeds]) -> list[Answers]:
    names = [o.name for o in session.get_outputs()]
    halves = any(v.type == "tensor(bfloat16)" for v in (*session.get_inputs(), *session.get_outputs()))
    answers: list[Answers] = []
    for feed in feeds:
        try:
            answer = _run_values(session, feed) if halves else session.run(None, dict(feed))
            answers.append(dict(zip(names, answer, strict=True)))
        except Exception as error:  # noqa: BLE001  a model may refuse a row, and that is its answer
            answers.append(Failure(_first_line(error)))
    return answers


def _run_values(session: Any, feed: Feeds) -> list[Any]:
    """One run of a model with bfloat16 inputs or outputs, which onnxruntime's numpy interface does not know."""
    import ctypes

    import numpy as np
    import onnxruntime as ort
    from onnx import TensorProto

    def wrapped(array: Any) -> Any:
        if array.dtype.name != "bfloat16":
            return ort.OrtValue.ortvalue_from_numpy(array)
        bits = np.ascontiguousarray(array).view(np.uint16).reshape(array.shape)
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)

    def unwrapped(value: Any) -> Any:
        if value.data_type() != "tensor(bfloat16)":
            return value.numpy()
        count = int(np.prod(value.shape()))
        if not count:
            return np.zeros(value.shape(), np.dtype("bfloat16"))
        bits: Any = (ctypes.c_uint16 * count).from_address(value.data_ptr())
        return np.frombuffer(bits, np.uint16).copy().view(np.dtype("bfloat16")).reshape(value.shape())

    held = {name: wrapped(np.asarray(array)) for name, array in feed.items()}
    return [unwrapped(v) for v in session.run_with_ort_values(None, held)]


def _check(model: bytes) -> Failure | None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # noqa: BLE001  the checker raises several types, and each is its finding
        return Failure(_first_line(error))
    return None


def _versions() -> dict[str, str]:
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__}
