"""The folded layers are compared too: a fault of the fold that the answers hide shows there, against the plan's bound."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxscale import pipeline, verifying
from onnxscale.comparing import DIFFERS, VERIFIED, Comparison
from onnxscale.pipeline import Baked
from onnxscale.verifying import Subject
from tests import build
from tests.faults import WIDTH, WRONG, statistics, zscore

MODELS = {f.__name__: f for f in (build.mlp, build.logistic, build.forest)}


def against(right: Baked, wrong: onnx.ModelProto | Baked) -> Comparison:
    proto = wrong if isinstance(wrong, onnx.ModelProto) else wrong.edited.proto
    return verifying.verify(right.original, Subject(proto, right.original, proto.SerializeToString(), {}), right.plan)[
        0
    ]


def deaf() -> onnx.ModelProto:
    """A layer whose answer no output shows."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Mul", ["r", "zero"], ["y"]),
    ]
    weights = build.tensor(build.draw(WIDTH, 3), "w")
    return build.model(
        nodes, [build.value("x", ("N", WIDTH))], [build.value("y", None)], [weights, build.tensor(0.0, "zero")]
    )


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_good_fold_is_inside_its_bound(make) -> None:
    right = pipeline.bake(make(width=WIDTH), statistics(zscore()))
    found = right.verify().comparison
    assert right.folds and found is not None and found.verified
    layer = found.seams[0]
    bound = right.plan.placements[0].fold.bound
    assert layer.role == "layer" and layer.holds and layer.rows > 100
    assert layer.error <= layer.bound == pytest.approx(bound)


@pytest.mark.parametrize(("model", "least"), [("mlp", 28), ("logistic", 28), ("forest", 15)])
def test_a_wrong_fold_is_over_the_bound(model: str, least: int) -> None:
    """Trees decide by thresholds, so that a fault of a rounding moves no row."""
    made = MODELS[model](width=WIDTH)
    right = pipeline.bake(made, statistics(zscore()))
    found = {name: against(right, pipeline.bake(made, statistics(s), form="auto")) for name, s in WRONG.items()}
    caught = [n for n, c in found.items() if c.verdict == DIFFERS and any(not s.holds for s in c.seams)]
    assert len(caught) >= least, (sorted(set(WRONG) - set(caught)), len(WRONG))


def test_an_answer_that_hides_the_layer_is_verified_at_the_layer() -> None:
    right = pipeline.bake(deaf(), statistics(zscore()))
    good = right.verify().comparison
    assert right.folds and good is not None
    assert good.verdict == VERIFIED and good.reason.startswith("at the seam") and good.outputs[0].vacuous
    wrong = onnx.ModelProto()
    wrong.CopyFrom(right.edited.proto)
    folded = next(t for t in wrong.graph.initializer if onnx.numpy_helper.to_array(t).shape == (WIDTH, 3))
    values = onnx.numpy_helper.to_array(folded).copy()
    values[2, 1] *= np.float32(1.001)
    folded.CopyFrom(onnx.numpy_helper.from_array(values, folded.name))
    bad = against(right, wrong)
    assert bad.verdict == DIFFERS and "folded layer" in bad.reason
