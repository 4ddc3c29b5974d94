"""Native readers in a process of their own: crashes, endless loops and refusals all come back as one message."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.sources import isolation
from onnxscale.sources.isolation import isolated


def test_results_and_refusals_come_back() -> None:
    assert isolated(lambda: {"a": np.arange(3).tolist()}, "it") == {"a": [0, 1, 2]}

    def refuse() -> None:
        raise StatisticsError("two scalers")

    with pytest.raises(StatisticsError, match="two scalers"):
        isolated(refuse, "it")


def test_a_crash_and_an_endless_loop_are_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StatisticsError, match="it crashed on it"):
        isolated(lambda: os.kill(os.getpid(), signal.SIGSEGV), "it")
    monkeypatch.setattr(isolation, "SECONDS", 1)
    with pytest.raises(StatisticsError, match="did not finish within"):
        isolated(lambda: time.sleep(60), "it")


def test_damaged_hdf5_never_harms_this_process() -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made["norm/mean"], made["norm/std"] = np.arange(3.0), np.ones(3)
    whole = file.getvalue()
    found = sources.read(whole)
    np.testing.assert_array_equal(found.inputs[None].transform().steps[0].operands[0], np.arange(3.0))
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(8, len(data), 6):
            data[at] = rng.integers(256)
        try:
            sources.read(bytes(data))
        except StatisticsError:
            continue


def test_a_daemon_may_read_natively() -> None:
    """As the workers of a Dask cluster are, which may have no children of multiprocessing's."""
    process = multiprocessing.get_context("fork").Process(target=_as_a_daemon, daemon=True)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def _as_a_daemon() -> None:
    assert isolated(lambda: [1.0], "it") == [1.0]
