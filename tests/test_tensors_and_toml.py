"""Statistics from safetensors files, written by its own library, and from TOML."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError

numpy_writer = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
MEAN, STD = np.array([0.5, 1.5, -2.0]), np.array([0.1, 2.0, 3.0])


@pytest.mark.parametrize("prefix", ["", "normalizer.", "model.input_scaler."])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_state_dict(prefix: str, dtype: str, tmp_path: Path) -> None:
    held = {f"{prefix}mean": MEAN.astype(dtype), f"{prefix}std": STD.astype(dtype)}
    held |= {"layer.weight": np.ones((4, 3), "f"), "layer.bias": np.zeros(4, "f")}
    numpy_writer.save_file(held, tmp_path / "model.bin")
    found = sources.read(tmp_path / "model.bin")
    assert found.source.format == "safetensors"
    x = np.random.default_rng(0).standard_normal((5, 3))
    want = (x - MEAN.astype(dtype).astype(float)) / STD.astype(dtype).astype(float)
    np.testing.assert_array_equal(found.inputs[None].transform()(x, 1), want)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"a.mean": MEAN, "a.std": STD, "b.mean": MEAN, "b.std": STD}, "several groups"),
        ({"layer.weight": MEAN}, "no statistics"),
        ({"bn.running_mean": MEAN, "bn.running_var": STD}, "eps is not stored"),
    ],
)
def test_what_is_not_one_scaler_is_refused(held: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        sources.read(numpy_writer.save(held))


def test_damaged_files_are_refused() -> None:
    data = numpy_writer.save({"mean": MEAN, "std": STD})
    for cut in range(1, len(data), 7):
        with pytest.raises(StatisticsError):
            sources.read(data[:cut])
    lie = json.dumps({"mean": {"dtype": "F64", "shape": [3], "data_offsets": [0, 1 << 60]}}).encode()
    with pytest.raises(StatisticsError):
        sources.read(struct.pack("<Q", len(lie)) + lie)


@pytest.mark.parametrize(
    "text",
    [
        "# fitted 2026\nmean = [0.5, 1.5, -2.0]\nstd = [0.1, 2.0, 3.0]\n",
        "[scaler]\nmean = [0.5, 1.5, -2.0]\nstd = [0.1, 2.0, 3.0]\n",
        'kind = "standard"\nmean = [0.5, 1.5, -2.0]\nstd = [0.1, 2.0, 3.0]\nfeatures = ["a", "b", "c"]\n',
        "[inputs.x]\nmean = [0.5, 1.5, -2.0]\nstd = [0.1, 2.0, 3.0]\n",
    ],
)
def test_toml(text: str, tmp_path: Path) -> None:
    (tmp_path / "stats").write_text(text)
    found = sources.read(tmp_path / "stats")
    assert found.source.format == "toml"
    x = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_array_equal(next(iter(found.inputs.values())).transform()(x, 1), (x - MEAN) / STD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean = [1.0", "broken TOML"),
        ("mean = [nan]\nstd = [1.0]\n", "finite"),
        ("mean = 1\nmean = 2\n", "broken TOML"),
    ],
)
def test_broken_toml_is_refused(text: str, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        sources.read(text.encode())
