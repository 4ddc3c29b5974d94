"""Tensors that lie about themselves are refused by name, never guessed at (SECURITY.md T4)."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxscale.errors import ModelError
from tests import build

T = onnx.TensorProto


def _lie(**wrong: object) -> onnx.TensorProto:
    """A tensor of 2x3 floats with something wrong about it."""
    right: dict[str, object] = {"name": "liar", "data_type": T.FLOAT, "dims": [2, 3], "raw_data": bytes(24)}
    external = wrong.pop("external", {})
    made = onnx.TensorProto(**{k: v for k, v in (right | wrong).items() if v is not None})
    for key, value in external.items():  # type: ignore[attr-defined]
        made.external_data.add(key=key, value=value)
        made.data_location = T.EXTERNAL
    return made


BESIDE = {"location": "weights.bin"}
LIES = {
    "raw short": _lie(raw_data=bytes(23)),
    "raw long": _lie(raw_data=bytes(28)),
    "raw empty": _lie(raw_data=b""),
    "two fields": _lie(float_data=[0.0] * 6),
    "floats short": _lie(raw_data=None, float_data=[0.0] * 5),
    "no values": _lie(raw_data=None),
    "unknown type": _lie(data_type=999),
    "undefined type": _lie(data_type=0),
    "negative": _lie(dims=[-2, -3]),
    "overflow": _lie(dims=[2**62, 4]),
    "huge": _lie(dims=[2**31, 2**31], raw_data=None, float_data=[1.0]),
    "strings": _lie(data_type=T.STRING, raw_data=None, string_data=[b"a"] * 5),
    "raw strings": _lie(data_type=T.STRING),
    "elsewhere and here": _lie(external=BESIDE),
    "other length": _lie(raw_data=None, external={**BESIDE, "length": "20"}),
    "beyond the end": _lie(raw_data=None, external={**BESIDE, "offset": "90", "length": "24"}),
    "before the start": _lie(raw_data=None, external={**BESIDE, "offset": "-8", "length": "24"}),
    "no number": _lie(raw_data=None, external={**BESIDE, "offset": "one"}),
    "forged stub": _lie(raw_data=None, external={"location": "*/onnxscale: bytes of the file itself/*", "offset": "0"}),
    "missing file": _lie(raw_data=None, external={"location": "other.bin"}),
}


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("lie", LIES)
def test_a_tensor_that_lies_is_named(lie: str, size: str, tmp_path: Path) -> None:
    made = build.mlp(hidden=20_000 if size == "large" else 4)
    made.graph.initializer.append(LIES[lie])
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="liar"):
        build.bake(tmp_path / "model.onnx")


@pytest.mark.parametrize("second", [{"int32_data": [1]}, {"double_data": [0.0] * 40_000}, {"raw_data": bytes(160_000)}])
def test_a_large_tensor_with_its_values_twice_is_named(second: dict[str, object]) -> None:
    made = build.mlp()
    made.graph.initializer.append(_lie(**{"dims": [40_000], "raw_data": None, "float_data": [0.0] * 40_000, **second}))
    with pytest.raises(ModelError, match=r"liar.*twice"):
        build.bake(made)
