"""The models that the benchmarks measure: scikit-learn's on its own real data, an LSTM, and how a model is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier


def models() -> dict[str, tuple[Any, Any, np.ndarray]]:
    """Name -> estimator, target, rows, on real data."""
    cancer, diabetes = load_breast_cancer(), load_diabetes(scaled=False)
    return {
        "linear": (LinearRegression(), diabetes.target, diabetes.data),
        "MLP": (MLPClassifier((64, 64), max_iter=300, random_state=0), cancer.target, cancer.data),
        "random forest": (RandomForestClassifier(100, max_depth=8, random_state=0), cancer.target, cancer.data),
        "gradient boosting": (GradientBoostingRegressor(random_state=0), diabetes.target, diabetes.data),
    }


def converted(estimator: Any, width: int) -> bytes:
    """An estimator or a Pipeline as skl2onnx converts it, without ZipMap."""
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    shape = [("x", FloatTensorType([None, width]))]
    made = convert_sklearn(
        estimator, initial_types=shape, options=options, target_opset={"": 17, "ai.onnx.ml": 3}
    )  # fmt: skip
    return bytes(made.SerializeToString())


def lstm(width: int = 16, hidden: int = 32, length: int = 20) -> bytes:
    """A sequence [N, T, F] through an LSTM and a dense layer."""
    draw = np.random.default_rng(0)
    weights = {
        "w": draw.standard_normal((1, 4 * hidden, width)) / 4,
        "r": draw.standard_normal((1, 4 * hidden, hidden)) / 6,
        "b": draw.standard_normal((1, 8 * hidden)) / 4,
        "d": draw.standard_normal((hidden, 1)) / 6,
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b"], ["", "h"], hidden_size=hidden),
        helper.make_node("Squeeze", ["h", "axes"], ["s"]),
        helper.make_node("MatMul", ["s", "d"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    tensors.append(numpy_helper.from_array(np.array([0]), "axes"))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", length, width])]
    wanted = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])]
    graph = helper.make_graph(nodes, "lstm", given, wanted, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def session(source: bytes) -> ort.InferenceSession:
    """On one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def ready(model: bytes) -> Callable[[np.ndarray], Any]:
    """The last output of a model with one input, as a function."""
    live = session(model)
    name, last = live.get_inputs()[0].name, [live.get_outputs()[-1].name]
    return lambda x: live.run(last, {name: x})[0]
