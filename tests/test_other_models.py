"""Models unlike those of models/: what the verification of each once did wrong."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper

import onnxscale
from onnxscale import modelfile, recognition
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


def stump(threshold: float, tensor: str = "x") -> list[onnx.NodeProto]:
    """x[:, 0] <= threshold, with float64 values, as converters of gradient boosting write it."""
    tree = helper.make_node(
        "TreeEnsembleRegressor", [tensor], ["y"], domain=build.ML, n_targets=1,
        nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[0] * 3,
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        nodes_values_as_tensor=build.tensor([threshold, 0, 0], "values", np.float64),
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0],
        target_weights_as_tensor=build.tensor([1.0, 2.0], "weights", np.float64),
    )  # fmt: skip
    cast = [] if tensor == "x" else [helper.make_node("Cast", ["x"], [tensor], to=T.DOUBLE)]
    return [*cast, tree]


@pytest.mark.parametrize("tensor", ["x", "cast"])
def test_one_step_of_a_double_threshold_is_seen(tensor: str) -> None:
    """Rows beside a threshold are as close as the type of the input can tell, not as float32 can, casts between or not."""

    def model(threshold: float) -> onnx.ModelProto:
        ends = [build.value("x", ("N", 4), T.DOUBLE)], [build.value("y", ("N", 1))]
        return build.model(stump(threshold, tensor), *ends, ml=3)

    halves = build.stats([0.0] * 4, [2.0] * 4)  # so that every step of x is one of the scaled value
    made = onnxscale.bake(model(0.3), halves, form="fold").verify()
    assert made.comparison is not None and made.comparison.verified
    wrong = onnxscale.bake(model(float(np.nextafter(0.3, 1))), halves, form="nodes").to_bytes()
    found = onnxscale.verify(wrong, model(0.3), halves)
    assert found.verdict == "DIFFERS", found.reason
    assert {flip.distance for flip in found.outputs[0].beside} == {1.0}


@pytest.mark.parametrize("start", ["x", "same"])
def test_a_layer_normalization_of_single_nodes_takes_an_exact_scaler(tmp_path, start: str) -> None:
    """As torch writes it before opset 17: onnxruntime fuses it together with a Cast before it, and has no kernel for that."""
    lines = (
        f"ReduceMean {start} m",
        f"Sub {start} m d",
        "Pow d two p",
        "ReduceMean p v",
        "Add v eps a",
        "Sqrt a s",
        "Div d s n",
    )
    nodes = [] if start == "x" else [helper.make_node("Identity", ["x"], [start])]
    for op, *names in map(str.split, (*lines, "Mul n g o", "Add o b y")):
        reduced = {"axes": [-1], "keepdims": 1} if op == "ReduceMean" else {}
        nodes.append(helper.make_node(op, names[:-1], names[-1:], **reduced))
    held = {"two": 2.0, "eps": 1e-5, "g": [1.0, 2.0, 0.5, 1.5], "b": [0.0, 1.0, 2.0, 3.0]}
    constants = [build.tensor(v, n) for n, v in held.items()]
    model = build.model(nodes, [build.value("x")], [build.value("y")], constants)
    made = onnxscale.bake(model, build.stats()).verify()
    assert made.comparison is not None and made.comparison.verified, made.comparison.reason
    beside = onnx.ModelProto.FromString(model.SerializeToString())  # a layer that folds beside the one that does not
    beside.graph.node.append(helper.make_node("Gemm", ["x", "w"], ["z"]))
    beside.graph.initializer.append(build.tensor(build.draw(4, 3), "w"))
    beside.graph.output.append(build.value("z", ("N", 3)))
    both = onnxscale.bake(beside, build.stats()).verify()
    assert both.folds and both.comparison is not None and both.comparison.verified, both.comparison.reason
    lead = recognition.leading(modelfile.open_model(made.to_bytes()), "x")
    assert lead.transform.prose() == made.plan.placements[0].transform.prose() and lead.then == "several nodes"
    made.save(tmp_path / "baked.onnx")
    onnxscale.unbake(tmp_path / "baked.onnx", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == model.SerializeToString()
