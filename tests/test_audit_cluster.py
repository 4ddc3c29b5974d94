"""The audit on a Dask cluster of several processes, one of which is killed in the middle."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import onnxscale
from onnxscale import auditing
from tests import planted
from tests.conftest import Cli

distributed = pytest.importorskip("distributed", reason="needs Dask's distributed")
pytestmark = pytest.mark.slow


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for copy in range(4):
        planted.write(tmp_path / f"copy{copy}", bad=True)
    return tmp_path


@pytest.fixture
def cluster() -> Any:
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


def test_a_worker_is_killed_in_the_middle(tree: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "CHUNK", 8)
    here = onnxscale.audit(tree)
    killed: list[int] = []
    with distributed.Client(cluster) as client:
        pids = list(client.run(os.getpid).values())

        def tell(count: int) -> None:
            if not killed:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

        there = onnxscale.audit(tree, client.get_executor(retries=5), tell=tell)
        after = set(client.run(os.getpid).values())
    assert len(killed) == 1 and killed[0] not in after
    assert there.findings == here.findings and there.files == here.files


def test_the_command_line_connects_to_a_cluster(tree: Path, cluster: Any, cli: Cli) -> None:
    here, there = cli("audit", tree, "--json"), cli("audit", tree, "--json", "--scheduler", cluster.scheduler_address)
    assert here.returncode == there.returncode == 1
    assert here.stdout == there.stdout
