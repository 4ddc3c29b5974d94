"""Models written node by node, as old exporters wrote them."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models import statfiles as st
from models.built import Built, some, wide, with_ir


def iris_by_hand(constants: bool) -> Built:
    """Softmax regression built by hand, the old way: opset 7, ir 3.

    constants: the weights are Constant nodes. Otherwise they are initializers listed as graph inputs, as ir 3 asks.
    """
    data = load_iris()
    s = StandardScaler().fit(data.data)
    fitted = LogisticRegression(max_iter=500).fit(s.transform(data.data), data.target)
    weights = {"W": fitted.coef_.T.astype(np.float32), "B": fitted.intercept_.astype(np.float32)}
    tensors = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in weights.items()]
    kind = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("data_0", kind, ["N", 4])]
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in tensors] if constants else []
    if not constants:
        inputs += [helper.make_tensor_value_info(t.name, kind, list(t.dims)) for t in tensors]
    nodes += [helper.make_node("MatMul", ["data_0", "W"], ["m"]), helper.make_node("Add", ["m", "B"], ["z"])]
    nodes.append(helper.make_node("Softmax", ["z"], ["prob_1"], axis=1))
    out = [helper.make_tensor_value_info("prob_1", kind, ["N", 3])]
    name = "iris_constants" if constants else "iris_ir3"
    graph = helper.make_graph(nodes, name, inputs, out, [] if constants else tensors)
    model = with_ir(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)]), 3)
    rows = some(data.data)
    how = "weights are Constant nodes" if constants else "initializers are listed as graph inputs"
    return Built(
        name,
        model,
        {"data_0": s.transform},
        {"data_0": rows},
        {"prob_1": make_pipeline(s, fitted).predict_proba(wide(rows))},
        {"stats.json": st.as_json(st.per_feature(s, data.feature_names)), "stats.csv": st.csv(s, data.feature_names)},
        2e-6,
        f"{how}; ir 3, opset 7",
        dumps={"scaler.joblib": s},
    )


def all_by_hand() -> Iterator[Built]:
    """In the order of the table in README.md."""
    yield iris_by_hand(constants=True)
    yield iris_by_hand(constants=False)
