"""Models with bfloat16 inputs and outputs, which onnxruntime takes through OrtValue only, and narrow inputs before wide layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper

from onnxscale import pipeline
from onnxscale.worker import Runnable, started
from tests import build

BF = np.dtype("bfloat16")


def widened(dtype: int, out: int = T.FLOAT) -> onnx.ModelProto:
    """x of `dtype` -> Cast to float32 -> MatMul -> Cast to `out`."""
    nodes = [
        helper.make_node("Cast", ["x"], ["xf"], to=T.FLOAT),
        helper.make_node("MatMul", ["xf", "w"], ["yf"]),
        helper.make_node("Cast", ["yf"], ["y"], to=out),
    ]
    held = [build.tensor(build.draw(build.WIDTH, 3), "w")]
    return build.model(nodes, [build.value("x", dtype=dtype)], [build.value("y", ("N", 3), dtype=out)], held)


@pytest.mark.parametrize("form", ["nodes", "auto"])
@pytest.mark.parametrize("keep", ["keep", None])
@pytest.mark.parametrize(("dtype", "out"), [(T.BFLOAT16, T.FLOAT), (T.BFLOAT16, T.BFLOAT16), (T.FLOAT16, T.FLOAT)])
def test_a_narrow_input_is_baked_and_verified(dtype: int, out: int, keep: str | None, form: str) -> None:
    made = build.bake(widened(dtype, out), [1, 2, 3, 4], [2, 3, 4, 5], form=form, input_dtype=keep).verify()
    assert made.comparison is not None and made.comparison.verified, made.comparison
    assert not made.comparison.notes, "a fold was tried that does not hold"
    wrong = build.stats([1, 2.5, 3, 4], [2, 3, 4, 5])
    assert pipeline.verify(made.to_proto(), widened(dtype, out), wrong).verdict == "DIFFERS"


def test_bits_go_in_and_out_unchanged() -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = build.model(nodes, [build.value("x", dtype=T.BFLOAT16)], [build.value("y", dtype=T.BFLOAT16)])
    x = np.array([[0.0, -0.0, np.inf, np.nan], [1.0, 3.140625, -1e30, 9.2e-41]], np.float32).astype(BF)
    with started(1 << 20) as worker:
        answers = worker.run(Runnable(model.SerializeToString()), [{"x": x}, {"x": x[:0]}])
    assert isinstance(answers, list)
    np.testing.assert_array_equal(answers[0]["y"].view(np.uint16), x.view(np.uint16))
    assert answers[1]["y"].shape == (0, 4)
