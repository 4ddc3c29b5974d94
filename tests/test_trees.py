"""Folding into tree ensembles: on raw rows the folded model answers as the original does on scaled rows, bit for bit."""

from __future__ import annotations

import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxscale.folding import thresholds as th
from onnxscale.folding import trees
from onnxscale.folding.base import Refusal
from onnxscale.scalers import SKLEARN
from onnxscale.step import Operator, Step
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

WIDTH = 3
ML = "ai.onnx.ml"
FLOAT = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.5e-42, 5e-324, 3.4e38, -3.4e38, 1.0, 2.0]


def session(node: onnx.NodeProto, dtype: str = "float32", ml: int = 3, output: int = TensorProto.FLOAT):
    """The node alone as a model in onnxruntime."""
    names = list(node.output)
    kinds = [TensorProto.INT64, TensorProto.FLOAT] if len(names) == 2 else [output]
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info(node.input[0], FLOAT[dtype], [None, None])],
        [helper.make_tensor_value_info(n, k, None) for n, k in zip(names, kinds, strict=True)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, ml)]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answers(node: onnx.NodeProto, x: np.ndarray, ml: int = 3, output: int = TensorProto.FLOAT) -> list[np.ndarray]:
    return session(node, x.dtype.name, ml, output).run(None, {node.input[0]: np.ascontiguousarray(x)})


def scaled(transform: Transform, index: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The rows as the original ensemble gets them: float64 arithmetic, one cast, untouched columns as they are."""
    features = max(1, int(np.prod(transform.shape)))
    out = x.copy()
    for column, feature in enumerate(index):
        if feature >= 0:
            wide = np.zeros((len(x), features))
            wide[:, feature] = x[:, column].astype(np.float64)
            with np.errstate(all="ignore"):
                out[:, column] = transform(wide)[:, feature].astype(x.dtype)
    return out


def step(op: str, *operands, **options) -> Step:
    return Step(op, operands, options)


def random_transform(kind: str, rng: np.random.Generator) -> Transform:
    std = 10.0 ** rng.uniform(-5, 5, WIDTH)
    mean = rng.normal(size=WIDTH) * 10.0 ** rng.uniform(-3, 6, WIDTH)
    clip = (step("Max", np.float64(rng.choice([-1.0, 0.0]))), step("Min", np.float64(1.0)))
    made = {
        "identity": (),
        "standard": (step("Sub", mean), step("Div", std)),
        "minmax": (step("Mul", std), step("Add", -mean * std)),
        "clip": (step("Mul", std), step("Add", -mean * std), *clip),
        "negative": (step("Mul", -std), step("Add", mean)),
        "mixed": (step("Mul", std * np.array([1.0, -1.0, 0.0])), step("Add", mean), clip[1]),
        "zero": (step("Mul", np.zeros(WIDTH)), step("Add", mean)),
        "constant": (step("Max", np.full(WIDTH, 0.5)), step("Min", np.full(WIDTH, 0.5))),
        "cancel": (step("Sub", np.full(WIDTH, 1.7e9)), step("Div", std)),
        "cast": (step("Sub", mean), step("Cast", to="float32"), step("Div", std)),
        "cast16": (step("Sub", mean), step("Div", std), step("Cast", to="float16")),
        "overflow": (step("Mul", np.full(WIDTH, 1e300)), step("Add", mean)),
        "scalar": (step("Sub", np.float64(mean[0])), step("Div", np.float64(std[0]))),
    }
    return Transform(made[kind])


KINDS = ("identity", "standard", "minmax", "clip", "negative", "mixed", "zero", "constant", "cancel", "cast", "cast16",
         "overflow", "scalar")  # fmt: skip


def candidates(transform: Transform, dtype: str, rng: np.random.Generator, count: int) -> np.ndarray:
    """Raw values of every size, rounder ones among them."""
    raw = rng.normal(size=count) * 10.0 ** rng.uniform(-4, 10, count)
    raw = np.where(rng.random(count) < 0.3, np.round(raw), raw)
    for one in transform.steps[:1]:
        raw[: count // 2] = raw[: count // 2] * 1e-3 + (one.operands[0].ravel()[0] if one.op == "Sub" else 0.0)
    with np.errstate(all="ignore"):
        return np.concatenate([raw, SPECIAL]).astype(dtype)


def random_splits(transform: Transform, index: np.ndarray, dtype: str, rng: np.random.Generator, count: int):
    """Columns and thresholds: images of raw values (equality can hold), free numbers, special ones."""
    columns = rng.integers(0, len(index), count)
    raw = rng.choice(candidates(transform, dtype, rng, 40), (count, len(index))).astype(dtype)
    image = scaled(transform, index, raw)[np.arange(count), columns]
    free = rng.choice(np.array([*rng.normal(size=4), *SPECIAL[:4], 1.0, 0.5, 3.0]), count).astype(dtype)
    chosen = np.where(rng.random(count) < 0.6, image, free)
    return columns, np.where(np.isnan(chosen), np.array(0.25, dtype), chosen).astype(dtype)


def neighbours(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values and the floats up to two places beside them."""
    u, top = th.places(values[~np.isnan(values)].astype(dtype)), th.BITS[dtype.itemsize][1]
    return np.concatenate([values, *(th.floats(np.clip(u + d, -top, top), dtype) for d in range(-2, 3))])


def rows_for(nodes, transform: Transform, index: np.ndarray, dtype: str, rng: np.random.Generator, count: int = 600):
    """Raw rows whose values sit on and beside the thresholds of the nodes, and anything else."""
    found = [trees.thresholds_of(n) for n in nodes]
    columns, values = (np.concatenate(part) for part in zip(*found, strict=True))
    rows = np.empty((count, len(index)), dtype=dtype)
    with np.errstate(all="ignore"):
        for column in range(len(index)):
            pool = [values[columns == column].astype(dtype), candidates(transform, dtype, rng, 30)]
            rows[:, column] = rng.choice(neighbours(np.concatenate(pool), np.dtype(dtype)), count)
    return rows


def grow(rng: np.random.Generator, modes: list[str], splits, trees_count: int, depth: int) -> dict[str, list]:
    """nodes_* columns of random trees; each node has an id of its own in its tree."""
    keys = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "tracks")
    out: dict[str, list] = {key: [] for key in keys}
    columns, values = splits
    for tree in range(trees_count):
        size = 0

        def add(level: int, tree: int = tree) -> int:
            nonlocal size
            me, at = size, len(out["modes"])
            size += 1
            leaf = level == depth or (level and rng.random() < 0.2)
            pick = int(rng.integers(len(values)))
            row = (tree, me, int(columns[pick]), "LEAF" if leaf else rng.choice(modes), values[pick], 0, 0,
                   0 if leaf else int(rng.integers(2)))  # fmt: skip
            for key, value in zip(keys, row, strict=True):
                out[key].append(value)
            if not leaf:
                out["truenodeids"][at], out["falsenodeids"][at] = add(level + 1), add(level + 1)
            return me

        add(0)
    return out


def ensemble(
    op: str, nodes: dict[str, list], dtype: str, tracks: bool = True, votes: int = 1, **more
) -> onnx.NodeProto:
    """The columns as a TreeEnsembleRegressor or -Classifier; every leaf has a weight of its own."""
    leaves = [i for i, mode in enumerate(nodes["modes"]) if mode == "LEAF" for _ in range(votes)]
    group = "class" if op.endswith("Classifier") else "target"
    weights = np.arange(1, len(leaves) + 1) * 0.37
    attributes = {f"nodes_{key}": nodes[key] for key in ("treeids", "nodeids", "featureids", "modes")}
    attributes |= {f"nodes_{key}": nodes[key] for key in ("truenodeids", "falsenodeids")}
    attributes |= {f"{group}_{k}ids": [nodes[f"{k}ids"][i] for i in leaves] for k in ("tree", "node")}
    if tracks:
        attributes["nodes_missing_value_tracks_true"] = nodes["tracks"]
    if dtype == "float64":
        attributes["nodes_values_as_tensor"] = numpy_helper.from_array(np.array(nodes["values"], np.float64), "values")
        attributes[f"{group}_weights_as_tensor"] = numpy_helper.from_array(weights, "weights")
    else:
        attributes |= {"nodes_values": [float(v) for v in nodes["values"]], f"{group}_weights": weights.tolist()}
    ids = [i % 3 if group == "class" else i % 2 for i in range(len(leaves))]
    own = (
        {"class_ids": ids, "classlabels_int64s": [7, 8, 9]} if group == "class" else {"target_ids": ids, "n_targets": 2}
    )
    return helper.make_node(
        op, ["x"], ["label", "y"] if group == "class" else ["y"], domain=ML, **attributes, **own, **more
    )


def ensemble5(nodes: dict[str, list], dtype: str, sets: dict[int, np.ndarray] | None = None) -> onnx.NodeProto:
    """The columns as a TreeEnsemble of version 5."""
    modes = nodes["modes"]
    position = {(t, n): i for i, (t, n) in enumerate(zip(nodes["treeids"], nodes["nodeids"], strict=True))}
    inner = [i for i, m in enumerate(modes) if m != "LEAF"]
    leaves = [i for i, m in enumerate(modes) if m == "LEAF"]
    where = {i: k for k, i in enumerate(inner)} | {i: k for k, i in enumerate(leaves)}
    child = {s: [position[nodes["treeids"][i], nodes[f"{s}nodeids"][i]] for i in inner] for s in ("true", "false")}
    codes = {name.decode(): code for code, name in enumerate(trees.MODES)} | {"BRANCH_MEMBER": 6}
    members = [np.append(sets[i], np.nan) for i in inner if sets and i in sets]
    tensor = numpy_helper.from_array
    more = {"membership_values": tensor(np.concatenate(members).astype(dtype), "m")} if members else {}
    return helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain=ML, n_targets=1,
        tree_roots=[where[position[t, 0]] for t in sorted(set(nodes["treeids"]))],
        nodes_modes=tensor(np.array([codes[modes[i]] for i in inner], np.uint8), "modes"),
        nodes_splits=tensor(np.array([nodes["values"][i] for i in inner], dtype), "splits"),
        nodes_featureids=[nodes["featureids"][i] for i in inner],
        nodes_missing_value_tracks_true=[nodes["tracks"][i] for i in inner],
        nodes_truenodeids=[where[i] for i in child["true"]], nodes_falsenodeids=[where[i] for i in child["false"]],
        nodes_trueleafs=[int(modes[i] == "LEAF") for i in child["true"]],
        nodes_falseleafs=[int(modes[i] == "LEAF") for i in child["false"]],
        leaf_targetids=[0] * len(leaves), leaf_weights=tensor((np.arange(len(leaves)) * 0.37).astype(dtype), "w"), **more,
    )  # fmt: skip


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def check(node, transform: Transform, index, dtype: str, rng, ml: int = 3, output: int = TensorProto.FLOAT):
    """Folds, and compares both models on rows that try to break it; returns the folded node or the refusal."""
    folded = trees.rewrite(node, transform, index, np.dtype(dtype))
    if isinstance(folded, Refusal):
        return folded
    onnx.checker.check_node(folded, _context(ml))
    x = rows_for([node, folded], transform, index, dtype, rng)
    assert same(answers(folded, x, ml, output), answers(node, scaled(transform, index, x), ml, output))
    return folded


def _context(ml: int):
    context = onnx.checker.C.CheckerContext()
    context.ir_version = 9
    context.opset_imports = {"": 18, ML: ml}
    return context


ONE_MODE = st.sampled_from([name.decode() for name in trees.MODES])
MODES = st.one_of(ONE_MODE.map(lambda m: [m]), st.just([name.decode() for name in trees.MODES]))
INDEX = st.sampled_from([[0, 1, 2], [2, -1, 0, 1], [1, 1, -1], [0, 2, 2, 1]])
SEED = st.integers(0, 2**32 - 1)


def setting(kind: str, index: list[int], seed: int):
    rng = np.random.default_rng(seed)
    transform = random_transform(kind, rng)
    columns = np.array(index)
    return rng, transform, np.where(columns > 0, 0, columns) if transform.shape == () else columns


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(KINDS), MODES, INDEX, st.sampled_from(["float32", "float64"]), st.booleans(), st.booleans(), SEED
)
def test_a_folded_ensemble_decides_as_the_original_does_on_scaled_rows(
    kind, modes, index, dtype, tracks, classes, seed
):
    rng, transform, columns = setting(kind, index, seed)
    nodes = grow(rng, modes, random_splits(transform, columns, dtype, rng, 30), 3, 3)
    node = ensemble("TreeEnsembleClassifier" if classes else "TreeEnsembleRegressor", nodes, dtype, tracks)
    folded = check(node, transform, columns, dtype, rng)
    assert not isinstance(folded, Refusal) or "three nodes" in folded.reason


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KINDS), MODES, INDEX, st.sampled_from(["float32", "float64"]), SEED)
def test_a_folded_tree_ensemble_of_version_5_decides_as_the_original(kind, modes, index, dtype, seed):
    rng, transform, columns = setting(kind, index, seed)
    nodes = grow(rng, modes, random_splits(transform, columns, dtype, rng, 30), 3, 3)
    node = ensemble5(nodes, dtype)
    folded = check(node, transform, columns, dtype, rng, 5, FLOAT[dtype])
    assert not isinstance(folded, Refusal) or "three nodes" in folded.reason or "whole subtree" in folded.reason


def _row(function, slope=lambda step: np.ones(()), **more):
    return Operator(
        lambda x, step, place: function(x, *map(place, step.operands)), lambda *a: "", str, slope=slope, **more
    )


STRANGE = {
    "Fill": _row(lambda x, c: np.where(np.isnan(x), c, x)),
    "Log": _row(np.log),
    "Table": _row(lambda x: np.interp(x, [-2.0, -1.0, 0.5, 3.0], [-5.0, 0.0, 0.0, 5.2]), shape=lambda step: (WIDTH,)),
    "Square": _row(lambda x: x * x),
    "Sign": _row(lambda x: np.copysign(1.0, x)),
    "Row": _row(lambda x: x / np.abs(x).sum(), elementwise=False),
    "Wave": _row(np.sin, slope=lambda step: None),
    "Nothing": _row(lambda x: x * np.nan),
}


@pytest.fixture(autouse=True)
def _strange_steps():
    with pytest.MonkeyPatch.context() as patch:
        for name, row in STRANGE.items():
            patch.setitem(OPERATORS, name, row)
        yield


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(["Fill", "Log", "Table", "FillLog"]), MODES, st.sampled_from(["float32", "float64"]), SEED)
def test_steps_that_fill_nan_make_nan_or_look_up_a_table_fold_exactly(kind, modes, dtype, seed):
    rng = np.random.default_rng(seed)
    fill = step("Fill", rng.choice([-1.0, 0.0, 2.5], WIDTH))
    made = {"Fill": (fill,), "Log": (step("Log"),), "Table": (step("Table"),), "FillLog": (fill, step("Log"))}
    transform = Transform((step("Mul", np.array([1.0, -1.0, 3.0])), *made[kind], step("Sub", np.full(WIDTH, 0.5))))
    columns = np.arange(WIDTH)
    nodes = grow(rng, modes, random_splits(transform, columns, dtype, rng, 30), 3, 3)
    folded = check(ensemble("TreeEnsembleRegressor", nodes, dtype), transform, columns, dtype, rng)
    assert not isinstance(folded, Refusal) or "three nodes" in folded.reason or "last bit" in folded.reason


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ("Square", "the scaler is not monotone"),
        ("Sign", "the scaler tells -0.0 from 0.0, which no split can"),
        ("Row", "the scaler is not monotone feature by feature"),
        ("Wave", "the scaler is not monotone feature by feature"),
        ("Nothing", "the scaler gives NaN for every value of a feature"),
    ],
)
def test_a_scaler_that_no_threshold_can_hold_is_refused(op, reason):
    nodes = grow(np.random.default_rng(0), ["BRANCH_LEQ"], (np.arange(3), np.arange(3.0)), 2, 2)
    node = ensemble("TreeEnsembleRegressor", nodes, "float32")
    refusal = trees.rewrite(node, Transform((step(op),)), np.zeros(WIDTH, int), np.dtype(np.float32))
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(reason)


STANDARD = Transform((step("Sub", np.array([3.0, 5.0, 7.0])), step("Div", np.array([0.5, 2.0, 0.3]))))


@pytest.mark.parametrize(
    ("change", "arguments", "reason"),
    [
        ({}, {"dtype": np.dtype(np.int64)}, "the input is int64, the thresholds are float32"),
        ({}, {"index": np.zeros(1, int)}, "the trees read column 2 of an input of 1 columns"),
        ({}, {"index": np.array([0, 1, 5])}, "the trees read feature 5 of a scaler for 3 features"),
        ({}, {"dtype": np.dtype(np.float64), "opset": 1}, "float64 thresholds need ai.onnx.ml 3, the model imports 1"),
        ({"values": [np.nan] * 99}, {}, "a threshold is NaN"),
        ({"modes": ["BRANCH_ODD", *["LEAF"] * 99]}, {}, "unknown mode of a tree node: b'BRANCH_ODD'"),
        ({"featureids": [0]}, {}, "nodes_featureids has 1 values, nodes_modes"),
    ],
)
def test_an_ensemble_that_cannot_be_folded_is_refused_with_the_reason(change, arguments, reason):
    nodes = grow(np.random.default_rng(1), ["BRANCH_LEQ"], (np.arange(3), np.arange(3.0)), 2, 2)
    count = len(nodes["modes"])
    node = ensemble("TreeEnsembleRegressor", nodes | {k: v[:count] for k, v in change.items()}, "float32")
    given_ = {"index": np.arange(WIDTH), "dtype": np.dtype(np.float32)} | arguments
    refusal = trees.rewrite(node, STANDARD, **given_)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(reason)


def test_what_the_scaler_does_not_touch_stays_byte_for_byte():
    rng = np.random.default_rng(3)
    nodes = grow(rng, ["BRANCH_LEQ"], (rng.integers(0, 3, 20), rng.normal(size=20).astype("f4")), 5, 3)
    node = ensemble("TreeEnsembleRegressor", nodes, "float32")
    before = node.SerializeToString()
    untouched = trees.rewrite(node, STANDARD, np.full(WIDTH, -1), np.dtype(np.float64))
    folded = trees.rewrite(node, STANDARD, np.arange(WIDTH), np.dtype(np.float32))
    assert untouched.SerializeToString() == node.SerializeToString() == before
    changed = [a.name for a, b in zip(node.attribute, folded.attribute, strict=True) if a != b]
    assert changed == ["nodes_values"]
    leaves = [i for i, m in enumerate(nodes["modes"]) if m == "LEAF"]
    old, new = (trees.column({a.name: a for a in n.attribute}["nodes_values"]) for n in (node, folded))
    assert (old[leaves].tobytes(), old.dtype) == (new[leaves].tobytes(), new.dtype)


def test_float64_rows_turn_a_list_of_float_thresholds_into_a_tensor():
    rng = np.random.default_rng(4)
    nodes = grow(rng, ["BRANCH_LEQ"], random_splits(STANDARD, np.arange(3), "float32", rng, 20), 4, 3)
    folded = check(ensemble("TreeEnsembleRegressor", nodes, "float32"), STANDARD, np.arange(WIDTH), "float64", rng)
    assert "nodes_values_as_tensor" in {a.name for a in folded.attribute}
    assert "nodes_values" not in {a.name for a in folded.attribute}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sets_fold_where_each_member_comes_from_one_raw_float(dtype):
    rng = np.random.default_rng(5)
    nodes = grow(rng, ["BRANCH_MEMBER"], (np.zeros(5, int), np.zeros(5)), 2, 2)
    exact = Transform((step("Mul", np.float64(2.0)),))
    inner = [i for i, m in enumerate(nodes["modes"]) if m != "LEAF"]
    nodes["modes"] = [m if m == "LEAF" or i == inner[0] else "BRANCH_LEQ" for i, m in enumerate(nodes["modes"])]
    node = ensemble5(nodes, dtype, {inner[0]: np.array([2.0, 4.0, 9.0])})
    x = np.concatenate([np.arange(-5.0, 45.0, 0.5), [np.nan, np.inf, 0.25]]).astype(dtype)[:, None]
    folded = trees.rewrite(node, exact, np.zeros(1, int), np.dtype(dtype))
    wanted = answers(node, scaled(exact, np.zeros(1, int), x), 5, FLOAT[dtype])
    assert same(answers(folded, x, 5, FLOAT[dtype]), wanted)
    big = ensemble5(nodes, dtype, {inner[0]: np.arange(1.0, 41.0)})
    refusal = trees.rewrite(big, exact, np.zeros(1, int), np.dtype(dtype))
    assert refusal.reason.startswith("a set (BRANCH_MEMBER) of more than 30 members")
    wide = trees.rewrite(node, random_transform("cast16", rng), np.zeros(1, int), np.dtype(dtype))
    assert wide == Refusal("a member of a set (BRANCH_MEMBER) is the image of no raw float, or of several")


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]), st.booleans(), st.sampled_from(["float32", "float64"]), SEED)
def test_a_target_scaler_goes_into_the_leaves_within_its_bound(aggregate, five, dtype, seed):
    rng = np.random.default_rng(seed)
    nodes = grow(rng, ["BRANCH_LEQ"], (np.zeros(9, int), rng.normal(size=9).astype("f4")), 6, 3)
    targets = 1 if five else 2
    scale, shift = 10.0 ** rng.uniform(-5, 5, targets), rng.normal(size=targets) * 10.0 ** rng.uniform(-3, 6)
    scale *= rng.choice([-1.0, 1.0], targets) if aggregate in ("SUM", "AVERAGE") else 1.0
    if five:
        node = ensemble5(nodes, dtype)
        code = ["AVERAGE", "SUM", "MIN", "MAX"].index(aggregate)
        node.attribute.append(helper.make_attribute("aggregate_function", code))
    else:
        name = "base_values_as_tensor" if dtype == "float64" else "base_values"
        base = numpy_helper.from_array(np.array([0.5, -2.0]), "b") if dtype == "float64" else [0.5, -2.0]
        more = {name: base} if rng.random() < 0.5 else {}
        node = ensemble("TreeEnsembleRegressor", nodes, dtype, votes=2, aggregate_function=aggregate, **more)
    made, bound = trees.rescale_leaves(node, scale, shift)
    x = rng.normal(size=(50, 1)).astype(dtype)
    ml, output = (5, FLOAT[dtype]) if five else (3, TensorProto.FLOAT)
    got, plain = (answers(n, x, ml, output)[0].reshape(50, targets).astype(np.float64) for n in (made, node))
    assert (np.abs(got - (plain * scale + shift)) <= bound).all()
    assert (bound <= 1e-4 * (np.abs(plain * scale).max(axis=0) + np.abs(shift) + 30 * np.abs(scale))).all()


def test_target_scalers_that_leaves_cannot_take_are_refused():
    nodes = grow(np.random.default_rng(1), ["BRANCH_LEQ"], (np.arange(3), np.arange(3.0)), 2, 2)
    cases = [
        (ensemble("TreeEnsembleClassifier", nodes, "float32"), 2.0, "TreeEnsembleClassifier has no leaves that"),
        (
            ensemble("TreeEnsembleRegressor", nodes, "float32", post_transform="LOGISTIC"),
            2.0,
            "post_transform LOGISTIC",
        ),
        (
            ensemble("TreeEnsembleRegressor", nodes, "float32", aggregate_function="MIN"),
            -2.0,
            "a negative scale turns MIN",
        ),
        (ensemble("TreeEnsembleRegressor", nodes, "float32"), 2.0, "a shift of 2 targets needs as many base values"),
        (
            ensemble("TreeEnsembleRegressor", nodes, "float32", votes=2),
            1e39,
            "the scaled leaves do not fit into float32",
        ),
    ]
    for node, scale, reason in cases:
        refusal = trees.rescale_leaves(node, scale, 1.0)
        assert isinstance(refusal, Refusal)
        assert refusal.reason.startswith(reason)


FEATURES = 8
SIZES = np.array([3, 10, 50, 100, 1000, 5, 20, 1e5])
CENTRES = np.array([0, 100, -50, 1e4, 1e6, 3, 0, 1e7])


def _raw(rng, rows: int) -> np.ndarray:
    """Integer rows and others, all of them float32 values."""
    x = rng.normal(size=(rows, FEATURES)) * SIZES + CENTRES
    x[::2] = np.rint(x[::2])
    return x.astype(np.float32)


def _skl(model, x, y):
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    model.fit(x, y)
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    shape, opset = [("x", FloatTensorType([None, FEATURES]))], {"": 17, ML: 3}
    return convert_sklearn(model, initial_types=shape, target_opset=opset, options=options)


def _sklearn(name: str, predict: str = "predict", output: int = 0, **options):
    def make(x, y):
        from sklearn import ensemble as forests

        model = getattr(forests, name)(random_state=0, **options)
        made = _skl(model, x, (y > np.median(y)).astype(int) if predict == "predict_proba" else y)
        return made, getattr(model, predict), output

    return make


def _xgboost(x, y):
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBRegressor

    model = XGBRegressor(n_estimators=20, max_depth=6, random_state=0, n_jobs=1).fit(x, y)
    return convert_xgboost(model, initial_types=[("x", FloatTensorType([None, FEATURES]))]), model.predict, 0


def _lightgbm(x, y):
    """LightGBM compares float64 with float64 thresholds, which its converter rounds to float32: they are put back here,
    into a model with float64 input."""
    from lightgbm import LGBMRegressor
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import DoubleTensorType

    model = LGBMRegressor(n_estimators=20, random_state=0, n_jobs=1, verbose=-1).fit(x, y)
    made = convert_lightgbm(model, initial_types=[("x", DoubleTensorType([None, FEATURES]))])
    rows = model.booster_.trees_to_dataframe()[["tree_index", "split_feature", "threshold"]].dropna()
    rows = [(tree, int(name.split("_")[1]), float(t)) for tree, name, t in rows.itertuples(index=False)]
    exact = {(tree, feature, np.float32(t).item()): t for tree, feature, t in rows}
    node = made.graph.node[0]
    at = {a.name: trees.column(a) for a in node.attribute if a.name.startswith("nodes_") and a.name != "nodes_modes"}
    keys = zip(at["nodes_treeids"].tolist(), at["nodes_featureids"].tolist(), at["nodes_values"].tolist(), strict=True)
    values = np.array([exact.get(key, key[2]) for key in keys])
    assert (values != at["nodes_values"]).sum() > 0.9 * len(rows)
    old = next(a for a in node.attribute if a.name == "nodes_values")
    old.CopyFrom(helper.make_attribute("nodes_values_as_tensor", numpy_helper.from_array(values, "values")))
    for entry in made.opset_import:
        entry.version = 3 if entry.domain == ML else 17
    return made, model.predict, 0


def _catboost(x, y):
    from catboost import CatBoostRegressor

    model = CatBoostRegressor(
        iterations=20, depth=6, random_seed=0, verbose=0, thread_count=1, allow_writing_files=False
    )
    model.fit(x, y)
    with tempfile.TemporaryDirectory() as folder:
        model.save_model(f"{folder}/model.onnx", format="onnx")
        return onnx.load(f"{folder}/model.onnx"), model.predict, 0


MADE = {
    "RandomForestRegressor": _sklearn("RandomForestRegressor", n_estimators=15, max_depth=9),
    "RandomForestClassifier": _sklearn("RandomForestClassifier", "predict_proba", 1, n_estimators=15, max_depth=9),
    "ExtraTreesRegressor": _sklearn("ExtraTreesRegressor", n_estimators=15, max_depth=9),
    "GradientBoostingRegressor": _sklearn("GradientBoostingRegressor", n_estimators=30),
    "GradientBoostingClassifier": _sklearn("GradientBoostingClassifier", "predict_proba", 1, n_estimators=20),
    "IsolationForest": _sklearn("IsolationForest", "decision_function", 1, n_estimators=10),
    "XGBoost": _xgboost,
    "LightGBM": _lightgbm,
    "CatBoost": _catboost,
}


NEEDS = {"XGBoost": ("xgboost", "onnxmltools"), "LightGBM": ("lightgbm", "onnxmltools"), "CatBoost": ("catboost",)}


def _fold_all(
    model: onnx.ModelProto, transform: Transform, dtype: np.dtype
) -> tuple[onnx.ModelProto, list[onnx.NodeProto]]:
    """Every ensemble of the model folded; one behind a Gather of columns (IsolationForest) by those columns."""
    folded, made = onnx.ModelProto(), []
    folded.CopyFrom(model)
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    gathers = {n.output[0]: constants[n.input[1]] for n in model.graph.node if n.op_type == "Gather"}
    for node in folded.graph.node:
        if node.op_type in trees.OPERATORS:
            columns = gathers.get(node.input[0], np.arange(FEATURES))
            new = trees.rewrite(node, transform, np.ravel(columns), dtype, opset=3)
            assert isinstance(new, onnx.NodeProto), new
            node.CopyFrom(new)
            made.append((new, np.ravel(columns)))
    assert made
    return folded, made


def _run(model: onnx.ModelProto, x: np.ndarray, output: int) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    runner = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return runner.run(None, {runner.get_inputs()[0].name: x})[output]


def _compare(name: str, scaler, rows: int) -> tuple[int, float]:
    """Rows that the folded model answers otherwise than the framework's pipeline, and the worst difference."""
    rng = np.random.default_rng(7)
    train = _raw(rng, 4000).astype(np.float64)
    y = np.sin(train[:, 0]) + train[:, 1] / 10 + train[:, 3] / 100 * (train[:, 4] > 1e6) + rng.normal(size=4000) / 10
    scaler.fit(train)
    transform = SKLEARN[type(scaler).__name__].from_sklearn(vars(scaler)).transform()
    model, predict, output = MADE[name](scaler.transform(train), y)
    dtype = np.dtype(
        np.float64 if model.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE else np.float32
    )
    folded, made = _fold_all(model, transform, dtype)
    x = _raw(rng, rows)
    for node, index in made:  # on the thresholds, and up to two floats beside them
        columns, values = trees.thresholds_of(node)
        beside = neighbours(values.astype(np.float32), np.dtype(np.float32))
        at, column = rng.integers(0, rows, beside.size), np.tile(index[columns], 6)
        good = np.isfinite(beside) & (
            np.abs(beside) > 1e-30
        )  # LightGBM takes |value| <= 1e-35 for 0, and has no node for it
        x[at[good], column[good]] = beside[good]
    ours = _run(folded, x.astype(dtype), output)
    as_fed = scaler.transform(x.astype(np.float64)).astype(dtype)
    assert ours.tobytes() == _run(model, as_fed, output).tobytes()
    theirs = np.asarray(predict(scaler.transform(x.astype(np.float64))), dtype=np.float64).reshape(ours.shape)
    difference = np.abs(ours - theirs).reshape(rows, -1).max(axis=1) / max(1.0, float(np.abs(theirs).max()))
    return int((difference > 1e-5).sum()), float(difference.max())


def _scaler(kind: str):
    from sklearn import preprocessing

    return preprocessing.MinMaxScaler(clip=True) if kind == "clip" else getattr(preprocessing, kind)()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["StandardScaler", "clip"])
@pytest.mark.parametrize("name", sorted(MADE))
def test_a_folded_model_takes_the_decisions_of_the_framework_s_own_pipeline(name, kind):
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module)
    assert _compare(name, _scaler(kind), 20_000)[0] == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler", "clip"])
@pytest.mark.parametrize("name", sorted(MADE))
def test_a_million_rows_of_each_framework(name, kind):
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module)
    assert _compare(name, _scaler(kind), 1_000_000)[0] == 0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*KINDS, "Log", "Fill"]), SEED)
def test_for_every_float16_there_is_a_raw_split_decides_as_the_scaled_one(kind, seed):
    rng = np.random.default_rng(seed)
    tail = {"Log": (step("Log"),), "Fill": (step("Fill", np.full(WIDTH, 0.5)),)}
    transform = (
        Transform((step("Mul", np.array([1.0, -2.0, 0.1])), *tail[kind]))
        if kind in tail
        else random_transform(kind, rng)
    )
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    index = np.zeros(WIDTH, int) if transform.shape == () else np.arange(WIDTH)
    feature, value = random_splits(transform, index, "float16", rng, 24)
    feature, track = index[feature], rng.random(24) < 0.5
    mode = np.arange(24).astype(np.uint8) % 6
    made = th.raw(th.Splits(feature, mode, value, track, value), transform)
    if isinstance(made, Refusal):
        assert "three nodes" in made.reason
        return
    compare = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
    rows = scaled(transform, index, np.repeat(every[:, None], WIDTH, axis=1))
    nan = np.isnan(every)
    for i in range(24):
        g = rows[:, feature[i]]
        wanted = compare[mode[i]](g, value[i]) | (track[i] & np.isnan(g))
        inside = (every >= made.value[i]) & (every <= made.upper[i])
        pair = {th.WITHIN: inside, th.OUTSIDE: ~inside & ~nan}
        got = pair[made.mode[i]] if made.mode[i] in pair else compare[made.mode[i]](every, made.value[i])
        np.testing.assert_array_equal(got | (nan & made.track[i]), wanted)


@pytest.mark.parametrize("kind", ["standard", "cast16", "negative"])
def test_a_chain_of_equalities_with_one_true_child_keeps_it(kind):
    """How categories are exported: x == a or x == b or x == c go to one and the same node."""
    rng = np.random.default_rng(11)
    transform, index = random_transform(kind, rng), np.arange(WIDTH)
    _, values = random_splits(transform, np.array([0]), "float32", rng, 3)
    chain = {
        "treeids": [0] * 6, "nodeids": list(range(6)), "featureids": [0] * 6, "tracks": [0, 1, 0, 0, 0, 0],
        "modes": ["BRANCH_EQ"] * 3 + ["BRANCH_LEQ", "LEAF", "LEAF"], "values": [*values, values[0], 0.0, 0.0],
        "truenodeids": [3, 3, 3, 4, 0, 0], "falsenodeids": [1, 2, 5, 5, 0, 0],
    }  # fmt: skip
    chain["falsenodeids"][3] = 6
    for key, leaf in (("treeids", 0), ("nodeids", 6), ("featureids", 0), ("tracks", 0), ("modes", "LEAF"),
                      ("values", 0.0), ("truenodeids", 0), ("falsenodeids", 0)):  # fmt: skip
        chain[key].append(leaf)
    for tracks in (False, True):
        node = ensemble("TreeEnsembleRegressor", chain, "float32", tracks)
        assert isinstance(check(node, transform, index, "float32", rng), onnx.NodeProto)


def test_tensors_are_read_through_the_loader_of_the_caller():
    rng = np.random.default_rng(12)
    nodes = grow(rng, ["BRANCH_LEQ"], random_splits(STANDARD, np.arange(3), "float64", rng, 20), 4, 3)
    node = ensemble("TreeEnsembleRegressor", nodes, "float64")
    wanted = trees.rewrite(node, STANDARD, np.arange(WIDTH), np.dtype(np.float64))
    payload = {}
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.name == "nodes_values_as_tensor":
            payload[attribute.t.name] = numpy_helper.to_array(attribute.t)
            attribute.t.ClearField("raw_data")
    got = trees.rewrite(node, STANDARD, np.arange(WIDTH), np.dtype(np.float64), load=lambda t: payload[t.name])
    assert got == wanted
