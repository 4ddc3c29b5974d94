"""Long work shows that it goes on, on a terminal only."""

from __future__ import annotations

import io
import sys
import time

import pytest

from onnxscale.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_a_line_shows_after_a_second_and_is_wiped(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.shown("writing", "MB", 3 << 20, 1 << 20) as tell:
        tell(1 << 20)
        now[0] += seconds
        tell(1 << 20)
    said = sys.stderr.getvalue()
    assert said == ("" if not seconds else "\r\x1b[Kwriting: 2 of 3 MB, 5 s\r\x1b[K")


def test_nothing_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown("verifying", "feeds run") as tell:
        tell(100)
    assert capsys.readouterr() == ("", "")


def test_a_bake_tells_what_it_did(tmp_path) -> None:
    from tests import build

    feeds, written = [], []
    baked = build.bake(build.mlp()).verify(tell=feeds.append)
    out = baked.save(tmp_path / "out.onnx", tell=written.append)
    assert sum(feeds) > 20 and sum(written) == out.stat().st_size


def test_the_seconds_go_on_while_an_engine_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.02)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.shown("measuring", "rows read", alive=True):
        time.sleep(0.3)
    said = sys.stderr.getvalue()
    assert "measuring: 0 rows read" in said and said.endswith("\r\x1b[K")
