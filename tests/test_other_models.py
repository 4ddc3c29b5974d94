"""Models unlike those of models/: what the verification of each once did wrong."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto as T
from onnx import helper

import onnxscale
from tests import build


def test_more_features_than_compared_rows_where_there_are_no_rows() -> None:
    """The first dimension holds features: it is not cut to so many rows."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["m"]), helper.make_node("Softplus", ["m"], ["y"])]
    made = build.model(nodes, [build.value("x", (600,))], [build.value("y", (600,))], [build.tensor(2.0, "two")])
    mean = np.linspace(-3, 3, 600)
    found = onnxscale.bake(made, {"mean": mean.tolist(), "std": [2.0] * 600}).verify().comparison
    assert found is not None and found.verified, found


def test_a_batch_that_the_model_fixes_keeps_its_layer_check() -> None:
    weights = build.tensor(build.draw(4, 3), "w")
    fixed = build.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [build.value("x", (600, 4))], [build.value("y", (600, 3))], [weights],
    )  # fmt: skip
    made = onnxscale.bake(fixed, build.stats()).verify()
    assert made.folds and made.comparison is not None and made.comparison.verified
    assert [(s.role, s.vacuous) for s in made.comparison.seams] == [("layer", False)]


def test_answers_with_another_number_of_rows_are_compared() -> None:
    """Boxes that a float32 host selects otherwise: rows of arrays beside the words for there being none."""
    held = [
        build.tensor([[[0.9, 0.75, 0.6, 0.95, 0.5, 0.3]]], "scores"),
        build.tensor([3], "most", np.int64), build.tensor([0.5], "iou"), build.tensor([0.0], "score"),
    ]  # fmt: skip
    node = helper.make_node("NonMaxSuppression", ["x", "scores", "most", "iou", "score"], ["y"])
    made = build.model([node], [build.value("x", (1, 6, 4))], [build.value("y", ("n", 3), T.INT64)], held, opset=17)
    found = onnxscale.bake(made, build.stats(np.arange(6) - 3.0, np.arange(1, 7) / 3), axis=1).verify().comparison
    assert found is not None and found.outputs
