"""A digest that begins before the file is opened is the file's own, or none."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from onnxscale import digests


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digests, "LARGE", 1000)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3 << 20))
    return path


def test_it_is_that_of_the_file(large: Path) -> None:
    begun = digests.ahead(large)
    with large.open("rb") as file:
        assert begun is not None
        assert begun.of(digests.stamp(file.fileno())) == hashlib.sha256(large.read_bytes()).hexdigest()


def test_of_another_file_there_is_none(large: Path) -> None:
    begun = digests.ahead(large)
    assert begun is not None
    begun.ready.wait()
    other = large.with_name("other")
    other.write_bytes(large.read_bytes())
    os.replace(other, large)  # the same bytes, and yet nobody knows
    with large.open("rb") as file:
        assert begun.of(digests.stamp(file.fileno())) is None


def test_what_is_no_large_file_is_left_alone(large: Path, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    for name in ("small", "pipe", "missing", "."):
        assert digests.ahead(tmp_path / name) is None
    assert digests.ahead("https://example.org/model.onnx") is None
