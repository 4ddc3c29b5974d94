"""Tiny models, one builder per thing that real graphs do, and the shortest way to bake one.

Every builder gives a ModelProto whose scaled input is `x` (float32 `[N, 4]` unless it says otherwise), seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from onnxscale import pipeline
from onnxscale.scalers.standard import Standard
from onnxscale.statistics import Fitted, Source, Statistics

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = Sequence[int | str | None]
ML = "ai.onnx.ml"
WIDTH = 4
MEAN = np.array([5.5, -120.25, 0.031, 1013.2])
STD = np.array([2.5, 33.0, 0.0125, 8.1])


def stats(mean: npt.ArrayLike = MEAN, std: npt.ArrayLike = STD, name: str | None = None, **known: Any) -> Statistics:
    """A StandardScaler's numbers as Statistics for the input `name`, or for the one that fits."""
    return Statistics({name: Fitted(Standard(np.asarray(mean), np.asarray(std)), **known)}, {}, Source("test"))


def bake(
    model: Any, mean: npt.ArrayLike = MEAN, std: npt.ArrayLike = STD, name: str | None = None, **asked: Any
) -> pipeline.Baked:
    """A z-score baked into a model as nodes, not verified and not saved."""
    return pipeline.bake(model, stats(mean, std, name), **{"form": "nodes", **asked})


def value(name: str, shape: Shape | None = ("N", WIDTH), dtype: int = T.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def tensor(values: npt.ArrayLike, name: str, dtype: npt.DTypeLike = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    opset: int | None = 13,
    ir: int = 7,
    ml: int | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model without any check: tests also need wrong ones."""
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(constants))
    imports = [helper.make_opsetid(d, v) for d, v in (("", opset), (ML, ml)) if v is not None]
    imports += [helper.make_opsetid(d, 1) for d in sorted({f.domain for f in functions})]
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    made.ir_version = ir
    return made


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def identity(shape: Shape | None = ("N", WIDTH), dtype: int = T.FLOAT, **how: Any) -> onnx.ModelProto:
    return model(
        [helper.make_node("Identity", ["x"], ["y"])], [value("x", shape, dtype)], [value("y", None, dtype)], **how
    )


def mlp(
    width: int = WIDTH, hidden: int = 8, dtype: int = T.FLOAT, seed: int = 0, opset: int = 13, ir: int = 7
) -> onnx.ModelProto:
    """Gemm, Relu, Gemm, Softmax to three classes."""
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    constants = [
        tensor(draw(width, hidden, seed=seed), "w1", kind),
        tensor(draw(hidden, seed=seed + 1), "b1", kind),
        tensor(draw(hidden, 3, seed=seed + 2), "w2", kind),
        tensor(draw(3, seed=seed + 3), "b2", kind),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["l"]),
        helper.make_node("Softmax", ["l"], ["y"], axis=1),
    ]
    return model(nodes, [value("x", ("N", width), dtype)], [value("y", ("N", 3), dtype)], constants, opset=opset, ir=ir)


def half() -> onnx.ModelProto:
    return mlp(dtype=T.FLOAT16)


def double() -> onnx.ModelProto:
    return mlp(dtype=T.DOUBLE)


def logistic(width: int = WIDTH, seed: int = 0) -> onnx.ModelProto:
    constants = [tensor(draw(width, 1, seed=seed), "w"), tensor([0.25], "b")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["s"])]
    nodes.append(helper.make_node("Sigmoid", ["s"], ["y"]))
    return model(nodes, [value("x", ("N", width))], [value("y", ("N", 1))], constants)


def forest(width: int = WIDTH, trees: int = 12, depth: int = 4, seed: int = 0) -> onnx.ModelProto:
    """A random forest over all columns with thresholds around 0, as scikit-learn's exporter lays it out; sums of votes."""
    rng = np.random.default_rng(seed)
    inner = 2**depth - 1
    ids = np.arange(2 * inner + 1)
    leaf = ids >= inner
    per: dict[str, list[Any]] = {
        k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
    for t in range(trees):
        per["treeids"] += [t] * len(ids)
        per["nodeids"] += ids.tolist()
        per["featureids"] += np.where(leaf, 0, rng.integers(width, size=len(ids))).tolist()
        per["values"] += np.where(leaf, 0, rng.normal(size=len(ids))).astype(np.float32).tolist()
        per["modes"] += ["LEAF" if x else "BRANCH_LEQ" for x in leaf]
        per["truenodeids"] += np.where(leaf, 0, 2 * ids + 1).tolist()
        per["falsenodeids"] += np.where(leaf, 0, 2 * ids + 2).tolist()
        leaves["treeids"] += [t] * int(leaf.sum())
        leaves["nodeids"] += ids[leaf].tolist()
        leaves["ids"] += [0] * int(leaf.sum())
        leaves["weights"] += (rng.random(int(leaf.sum())) / trees).astype(np.float32).tolist()
    attributes = {f"nodes_{k}": v for k, v in per.items()} | {f"target_{k}": v for k, v in leaves.items()}
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain=ML, n_targets=1, **attributes)
    return model([node], [value("x", ("N", width))], [value("y", ("N", 1))], opset=None, ml=1)


def cnn() -> onnx.ModelProto:
    """A zero-padded convolution on `[N, 3, 8, 8]`, pooled."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    return model(nodes, [value("x", ("N", 3, 8, 8))], [value("y", ("N", 4))], [tensor(draw(4, 3, 3, 3), "w")])


def _condition() -> list[onnx.NodeProto]:
    """`c`: whether the sum of the second input is above zero."""
    return [
        helper.make_node("ReduceSum", ["gate"], ["s"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value=tensor(0.0, "")),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
    ]


def if_captured() -> onnx.ModelProto:
    """The input is read only inside the branches of an If."""
    branches = {
        name: helper.make_graph([helper.make_node(op, ["x"], [f"{name}_y"])], name, [], [value(f"{name}_y", None)])
        for name, op in (("then_branch", "Tanh"), ("else_branch", "Sigmoid"))
    }
    nodes = [*_condition(), helper.make_node("If", ["c"], ["y"], **branches)]
    return model(nodes, [value("x"), value("gate", (3,))], [value("y", None)])


def loop() -> onnx.ModelProto:
    """Three rounds of tanh(state + x), where the body captures x."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["state", "x"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["next"]),
            helper.make_node("Identity", ["go"], ["again"]),
        ],
        "body",
        [value("i", (), T.INT64), value("go", (), T.BOOL), value("state", None)],
        [value("again", (), T.BOOL), value("next", None)],
    )
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["start"]),
        helper.make_node("Loop", ["count", "yes", "start"], ["y"], body=body),
    ]
    return model(nodes, [value("x")], [value("y", None)], [tensor(3, "count", np.int64), tensor(True, "yes", np.bool_)])


def scan() -> onnx.ModelProto:
    """A running sum over the rows, scaled by the captured x's column means."""
    body = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=0),
            helper.make_node("Mul", ["row", "m"], ["p"]),
            helper.make_node("Add", ["state", "p"], ["next"]),
            helper.make_node("Identity", ["next"], ["out"]),
        ],
        "body",
        [value("state", (WIDTH,)), value("row", (WIDTH,))],
        [value("next", (WIDTH,)), value("out", (WIDTH,))],
    )
    node = helper.make_node("Scan", ["start", "x"], ["last", "y"], body=body, num_scan_inputs=1)
    return model([node], [value("x")], [value("last", (WIDTH,)), value("y", None)], [tensor(np.zeros(WIDTH), "start")])


def local_function() -> onnx.ModelProto:
    """The first layer is a call of a function that the model brings along."""
    nodes = [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Tanh", ["m"], ["r"])]
    function = helper.make_function("local", "Dense", ["a", "b"], ["r"], nodes, [helper.make_opsetid("", 13)])
    call = helper.make_node("Dense", ["x", "w"], ["y"], domain="local")
    return model([call], [value("x")], [value("y", None)], [tensor(draw(WIDTH, 2), "w")], ir=8, functions=[function])


def two_inputs() -> onnx.ModelProto:
    """`x` [N, 4] and `z` [N, 2], concatenated into a dense layer."""
    nodes = [helper.make_node("Concat", ["x", "z"], ["c"], axis=1), helper.make_node("MatMul", ["c", "w"], ["y"])]
    return model(nodes, [value("x"), value("z", ("N", 2))], [value("y", ("N", 3))], [tensor(draw(6, 3), "w")])


def constant_weights() -> onnx.ModelProto:
    """Weights as Constant nodes, no initializer at all."""
    nodes = [
        helper.make_node("Constant", [], ["w"], value=tensor(draw(WIDTH, 3), "")),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return model(nodes, [value("x")], [value("y", None)])


def ir3() -> onnx.ModelProto:
    """An old file: opset 7, ir 3, every initializer also a graph input."""
    made = mlp(opset=7, ir=3)
    made.graph.input.extend(value(t.name, tuple(t.dims)) for t in made.graph.initializer)
    return made


def maps() -> onnx.ModelProto:
    """A classifier as scikit-learn's exporter makes it: a label, and a sequence of maps."""
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "p"],
            domain=ML,
            classlabels_ints=[0, 1, 2],
            coefficients=draw(3 * WIDTH).tolist(),
            intercepts=[0.1, 0.0, -0.1],
            post_transform="SOFTMAX",
            multi_class=1,
        ),
        helper.make_node("ZipMap", ["p"], ["maps"], domain=ML, classlabels_int64s=[0, 1, 2]),
    ]
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(T.INT64, helper.make_tensor_type_proto(T.FLOAT, None))
    )
    outputs = [value("label", ("N",), T.INT64), helper.make_value_info("maps", kind)]
    return model(nodes, [value("x")], outputs, ml=1)


def int_ids() -> onnx.ModelProto:
    """Token ids into an embedding: nothing that a scaler fits."""
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    return model([node], [value("ids", ("N", WIDTH), T.INT64)], [value("y", None)], [tensor(draw(9, 2), "table")])


def passthrough() -> onnx.ModelProto:
    """The input is an output as well."""
    node = helper.make_node("Tanh", ["x"], ["y"])
    return model([node], [value("x")], [value("x"), value("y")])


def external(
    folder: Path, name: str = "model.onnx", data: str = "weights.bin", made: onnx.ModelProto | None = None
) -> Path:
    """A model saved with every weight in a file beside it."""
    made = made or mlp(hidden=64)
    path = folder / name
    onnx.save(made, path, save_as_external_data=True, location=data, size_threshold=0)
    return path


GOOD: Mapping[str, Callable[[], onnx.ModelProto]] = {
    f.__name__: f
    for f in (
        identity, mlp, half, double, logistic, forest, if_captured, loop, scan, local_function, two_inputs,
        constant_weights, ir3, maps,
    )
}  # fmt: skip
