"""The composite steps: the reference is the library's own answer, and the baked nodes are the reference's."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scipy import special, stats
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

import onnxscale
from onnxscale import baking, graph, planning, sources
from onnxscale.errors import PlanError, StatisticsError
from onnxscale.modelfile import open_model
from onnxscale.scalers import KINDS, SKLEARN, Scaler, make
from onnxscale.scalers.states import function_name, inner
from onnxscale.statistics import Fitted, Source, Statistics
from onnxscale.step import Step
from onnxscale.steps import OPERATORS, normal
from onnxscale.steps.beside import beside
from onnxscale.steps.functions import strides
from onnxscale.transform import Transform
from tests import build

FLOAT = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
IR = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7}
NEWEST = min(onnx.defs.onnx_opset_version(), 24)
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1e-38, 1e-20, -1e-20, 1e-7, -1e-7, 1.0, -1.0, 2.0, 0.5, 1e6, -1e6, 1e30, -1e30]
LAMBDAS = [0.0, 2.0, 1.0, -1.0, 3.0, 0.5, 1e-17, 2 - 1e-17, 1e-10, 2 + 1e-10, -4.5, 1e-20, 1e-18]
POWERS = st.one_of(st.sampled_from(LAMBDAS), st.floats(-5, 5, allow_subnormal=False))
VALUES = st.one_of(st.sampled_from(SPECIAL), st.floats(-1e6, 1e6, width=32), st.floats(width=32, allow_infinity=False))

# One example for each row of the table that this file answers for: operands for 3 features, and rows in its domain.
OPERANDS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "YeoJohnson": (([0.0, 2.0, -0.7],), {}),
    "YeoJohnsonInverse": (([0.0, 2.0, 0.7],), {}),
    "BoxCox": (([0.0, 2.0, -0.7],), {}),
    "BoxCoxInverse": (([0.0, 2.0, 0.3],), {}),
    "Quantile": (([[0, 1, 2], [1, 1, 3], [1, 1, 9], [5, 1, 9.5]], [0, 1 / 3, 2 / 3, 1]), {"output": "uniform"}),
    "QuantileInverse": (([[0, 1, 2], [1, 1, 3], [1, 1, 9], [5, 1, 9.5]], [0, 1 / 3, 2 / 3, 1]), {"output": "normal"}),
    "RowNorm": ((), {"norm": "l2", "features": 3}),
    "Binarize": (([0.5, 1.0, -1.0],), {}),
    "Bins": (([[0.5, 1.0, -1.0], [0.7, np.inf, -1.0]],), {}),
    "Equal": (([0.5, 1.0, 0.0],), {}),
    "Impute": (([9.0, 8.0, 7.0], [np.nan, 1.0, np.nan], [0.0, 0.0, 1.0]), {}),
    "Select": (([2, 0, 0, 1],), {"features": 3}),
    "Instance": ((), {"over": "-1", "center": "mean", "spread": "std", "eps": 1e-3, "eps_at": "var"}),
    "TopFloor": ((), {"over": "-1", "below": 1.0}),
    "Transpose": ((), {"order": "0,1"}),
    "Linear": (([[1, 2, 4], [0.5, -1, 0]],), {}),
    "Monomials": (([[-1, 0], [-1, 2], [1, 1]],), {"features": 3}),
    "Mix": (([0.25, 0.5, 0.125],), {}),
    **{
        op: ((), {})
        for op in "Log Exp Log1p Expm1 Log10 Pow10 Log2 Pow2 Sqrt Square Asinh Sinh".split()  # noqa: SIM905
    },
}
_BESIDE = beside([((2, 0), [Step("Sub", (np.array([1.0, 2.0]),))]), ((1,), [Step("Mul", (np.array([3.0]),))])], 3, 3)
OPERANDS["Spline"] = (make("spline", {"knots": [np.arange(-3.0, 6.0)] * 3}).transform().steps[0].operands, {})
OPERANDS["Beside"] = (_BESIDE.operands, dict(_BESIDE.options))
READERS = {"InstanceBack", "Grouped"}  # of other inputs: tests/test_instances.py
EXAMPLES = {op: Transform((Step(op, operands, options),)) for op, (operands, options) in OPERANDS.items()}
ROWS = np.array(
    [[0.5, 1.0, 0.7], [1.5, 0.25, 1.0], [1e-3, 1e-20, 3.0], [0.0, 0.0, 0.0], [np.nan, 0.5, np.nan], [0.9, 1, 2]], "f"
)


def identity(width: int | None, dtype: str, opset: int) -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(n, FLOAT[dtype], ["N", width]) for n in "xy"]
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", value[:1], value[1:])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR.get(opset, 8))


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def baked(scaler: Scaler, x: np.ndarray, opset: int = 17, precision: str = "exact") -> np.ndarray:
    """The answers of an Identity model with the scaler baked into it, on x."""
    model = open_model(identity(x.shape[1], x.dtype.name, opset))
    statistics = Statistics({None: Fitted(scaler)}, {}, Source("test"))
    edited = baking.apply(model, planning.plan(model, statistics, planning.Options(precision=precision)))
    return answers(model.bytes_of(edited.pieces), x)


def emitted(transform: Transform, x: np.ndarray, opset: int = 17, dtype: str = "float64") -> np.ndarray:
    """The answers of the transform's nodes alone: also of an inverse, and where the width changes."""
    value = [helper.make_tensor_value_info(n, FLOAT[x.dtype.name], [None, None]) for n in "xy"]
    proto = helper.make_model(
        helper.make_graph([], "nodes", value[:1], value[1:]),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR.get(opset, 8),
    )
    writer = graph.Writer(proto, {"x", "y"}, "x", dtype, graph.inputs(proto)[0], -1)
    result = writer.node("Cast", "x", to=np.dtype(dtype))
    for step in transform.steps:
        result = OPERATORS[step.op].nodes(writer, result, step)
    proto.graph.node.extend(writer.nodes)
    proto.graph.initializer.extend(writer.initializers)
    proto.graph.node.append(helper.make_node("Cast", [result], ["y"], to=FLOAT[x.dtype.name]))
    if opset > 8:
        onnx.checker.check_model(proto)
    return answers(proto.SerializeToString(), x)


def ulps(have: np.ndarray, want: np.ndarray) -> int:
    """How many float32 numbers lie between, at most; NaN must meet NaN."""
    with np.errstate(over="ignore"):
        have, want = np.asarray(have).astype("f"), np.asarray(want).astype("f")
    assert have.shape == want.shape
    assert np.array_equal(np.isnan(have), np.isnan(want)), f"NaN at other places: {have} for {want}"
    have, want = np.nan_to_num(have, posinf=np.inf, neginf=-np.inf), np.nan_to_num(want, posinf=np.inf, neginf=-np.inf)
    order = [
        np.where(v.view(np.int32) < 0, -(v.view(np.int32) & 0x7FFFFFFF).astype(np.int64), v.view(np.int32))
        for v in (have, want)
    ]
    return int(np.abs(order[0] - order[1]).max(initial=0))


def of(estimator: Any) -> Scaler:
    return SKLEARN[type(estimator).__name__].from_sklearn(vars(estimator))


def column(values: Any, dtype: str = "float32") -> np.ndarray:
    return np.asarray(values, dtype).reshape(-1, 1)


def test_every_composite_step_has_an_example() -> None:
    assert set(OPERANDS) == set(OPERATORS) - {"Sub", "Add", "Mul", "Div", "Max", "Min", "Cast"} - READERS


@pytest.mark.parametrize("op", EXAMPLES)
@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 17, 18, NEWEST])
def test_a_step_runs_at_an_opset_or_says_which_it_needs(op: str, opset: int) -> None:
    want = EXAMPLES[op](ROWS, -1)
    try:
        have = emitted(EXAMPLES[op], ROWS, opset)
    except PlanError as refused:
        said = str(refused)
    else:
        said = ""
    if said:
        assert "needs opset" in said and opset < 9
        return
    assert ulps(have, want) == 0
    if opset > 7:
        single = emitted(EXAMPLES[op], ROWS, opset, "float32")  # the same function; of a spline, zeros are sums too
        np.testing.assert_allclose(single, want, rtol=1e-5, atol=1e-6) if op == "Spline" else None
        assert op == "Spline" or ulps(single, want) <= 2000


@pytest.mark.parametrize("op", EXAMPLES)
def test_json_brings_a_step_back_bit_for_bit(op: str) -> None:
    text = json.dumps(EXAMPLES[op].to_json(), allow_nan=False)
    assert Transform.from_json(json.loads(text)) == EXAMPLES[op]
    assert EXAMPLES[op].prose()


@pytest.mark.parametrize("op", EXAMPLES)
def test_the_slope_is_what_it_says(op: str) -> None:
    slope = EXAMPLES[op].slope()
    x = np.linspace(1e-3, 0.99, 4001).reshape(-1, 1).repeat(3, 1)
    with np.errstate(all="ignore"):
        y = EXAMPLES[op](x, -1)
    if slope is not None:
        assert (np.diff(y, axis=0) * slope >= -1e-12 * np.abs(y[1:])).all()
    else:
        assert op in {
            "RowNorm",
            "Equal",
            "Impute",
            "Select",
            "Square",
            "Beside",
            "Instance",
            "TopFloor",
            "Transpose",
            "Mix",
            "Linear",
            "Monomials",
            "Spline",
        }


@pytest.mark.parametrize("op", [op for op in EXAMPLES if OPERATORS[op].inverse(EXAMPLES[op].steps[0])])
def test_the_inverse_undoes_the_step(op: str) -> None:
    x = np.random.default_rng(0).uniform(0.05, 0.95, (200, 3))
    forward = EXAMPLES[op]
    if "Quantile" in op:  # where no ties are
        forward = Transform((Step(op, ([0, 0.3, 1], [0, 0.5, 1])),))
    inverse = forward.inverse()
    assert inverse is not None
    np.testing.assert_allclose(inverse(forward(x)), x, rtol=1e-9)
    np.testing.assert_allclose(emitted(inverse, emitted(forward, x)), x, rtol=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=40))
def test_elementary_functions_are_numpys(values: list[float]) -> None:
    x = column(values)
    for op in ("Log", "Log1p", "Log10", "Log2", "Sqrt", "Asinh", "Exp", "Expm1"):
        assert ulps(emitted(EXAMPLES[op], x), EXAMPLES[op](x)) <= 1


@settings(max_examples=150, deadline=None)
@given(POWERS, st.lists(VALUES, min_size=1, max_size=40))
def test_yeo_johnson_is_scipys(power: float, values: list[float]) -> None:
    x = column([*values, float("nan")])
    with np.errstate(all="ignore"):
        want = stats.yeojohnson(x[:, 0].astype("d"), power).reshape(-1, 1)
    scaler = make("power", {"lambdas": [power]})
    np.testing.assert_array_equal(scaler.transform()(x), want)
    assert ulps(baked(scaler, x), want) <= 1


@settings(max_examples=150, deadline=None)
@given(POWERS, st.lists(VALUES.map(abs), min_size=1, max_size=40))
def test_box_cox_is_scipys(power: float, values: list[float]) -> None:
    x = column([*values, float("nan")])
    with np.errstate(all="ignore"):
        want = special.boxcox(x.astype("d"), power)
        scaler = make("power", {"lambdas": [power], "method": "box-cox"})
        assert ulps(baked(scaler, x), want) <= 1
        assert ulps(scaler.transform()(x), want) <= 1
        back = np.where(np.abs(want) < 1e30, want, 0.0)
        assert (
            ulps(emitted(Transform((Step("BoxCoxInverse", ([power],)),)), back), special.inv_boxcox(back, power)) <= 2
        )


@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
@pytest.mark.parametrize("standardize", [True, False])
def test_the_power_transformer(method: str, standardize: bool) -> None:
    rng = np.random.default_rng(3)
    shift = 0.0 if method == "box-cox" else 1.2
    fitted, x = (np.exp(rng.standard_normal((2000, 9)) / 2) - shift for _ in range(2))
    x = x.astype("f")
    estimator = PowerTransformer(method=method, standardize=standardize).fit(fitted)
    want = estimator.transform(x.astype("d"))
    have = baked(of(estimator), x)
    assert ulps(have, want) == 0
    assert np.max(np.abs(have - want) / np.maximum(np.abs(want), 1e-3)) < 3e-7
    assert np.max(np.abs(baked(of(estimator), x, precision="single") - want)) < 1e-4
    inverse = of(estimator).transform().inverse()
    assert inverse is not None
    assert ulps(emitted(inverse, want), estimator.inverse_transform(want.copy())) <= 1


def test_a_record_stands_for_the_inner_scaler() -> None:
    estimator = PowerTransformer().fit(np.random.default_rng(0).standard_normal((50, 2)))

    class Record:
        state = vars(estimator._scaler)

    live = of(estimator).transform()
    assert SKLEARN["PowerTransformer"].from_sklearn(vars(estimator) | {"_scaler": Record()}).transform() == live
    assert inner({"scale_": 1}) == {"scale_": 1}
    with pytest.raises(StatisticsError, match="mean and std are missing"):
        SKLEARN["PowerTransformer"].from_sklearn({k: v for k, v in vars(estimator).items() if k != "_scaler"})


def test_the_normal_distribution_and_its_inverse_are_scipys() -> None:
    p = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 100001), 10.0 ** -np.linspace(0.1, 9, 5000), [0.075, 0.5, 0.925]])
    np.testing.assert_allclose(normal.quantile(p), special.ndtri(p), rtol=1e-15, atol=1e-17)
    x = np.linspace(-5.6, 5.6, 100001)
    np.testing.assert_allclose(normal.distribution(x), special.ndtr(x), rtol=2e-15)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-3, 3), st.floats(-10, 10, width=32)), min_size=2, max_size=60),
    st.integers(2, 40),
    st.sampled_from(["uniform", "normal"]),
    st.lists(VALUES, max_size=20),
)
def test_quantiles_are_scikit_learns(data: list[float], count: int, output: str, more: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = QuantileTransformer(n_quantiles=count, output_distribution=output).fit(column(data, "float64"))
    if (np.diff(estimator.quantiles_, axis=0) < 0).any():
        return  # numpy's percentiles fall by a rounding error: refused, see below
    x = column([*data, *more, *np.nextafter(np.asarray(data, "f"), np.float32(99)), float("nan")])
    want = estimator.transform(x.astype("d"))
    scaler = of(estimator)
    if output == "uniform":
        np.testing.assert_array_equal(scaler.transform()(x), want)
        np.testing.assert_array_equal(baked(scaler, x.astype("d")), want)
    np.testing.assert_allclose(baked(scaler, x.astype("d")), want, rtol=1e-13, atol=1e-15)
    assert ulps(baked(scaler, x), want) <= 1
    inverse = scaler.transform().inverse()
    assert inverse is not None
    back = estimator.inverse_transform(want.copy())
    np.testing.assert_allclose(emitted(inverse, want), back, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("count", "output"), [(200, "uniform"), (100, "normal"), (1000, "normal"), (1, "uniform")])
def test_the_quantile_transformer(count: int, output: str) -> None:
    rng = np.random.default_rng(7)
    fitted = np.exp(rng.standard_normal((3000, 9))) * np.logspace(-3, 5, 9) + np.logspace(0, 4, 9)
    fitted[:, 4] = 7.0
    x = (fitted[rng.integers(0, 3000, 2000)] * (1 + 0.3 * rng.standard_normal((2000, 9)))).astype("f")
    x[:20], x[20:40] = fitted.min(0), fitted.max(0)
    estimator = QuantileTransformer(n_quantiles=count, output_distribution=output).fit(fitted)
    want = estimator.transform(x.astype("d"))
    have = baked(of(estimator), x)
    assert ulps(have, want) == 0
    assert np.max(np.abs(have - want) / np.maximum(np.abs(want), 1e-3)) < 3e-7
    single = baked(of(estimator), x, precision="single")
    assert np.max(np.abs(single - want)) < 0.02


def test_infinity_goes_to_the_ends_of_a_quantile() -> None:
    for output, end in (("uniform", 1.0), ("normal", 5.19933758)):
        scaler = make("quantile", {"quantiles": [[0.0], [1.0], [3.0]], "output": output})
        have = baked(scaler, column([-np.inf, np.inf]))[:, 0]
        np.testing.assert_allclose(have, [0.0 if output == "uniform" else -end, end], rtol=1e-7)


@pytest.mark.parametrize("count", [*range(1, 40), 1000])
def test_the_strides_reach_every_place_and_no_other(count: int) -> None:
    for place in range(count):
        at = 0
        for offset in strides(count):
            assert at + offset < count
            at += offset if at + offset <= place else 0
        assert at == place


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.sampled_from(SPECIAL), st.floats(-1e6, 1e6, width=32)), min_size=3, max_size=3),
        min_size=1,
    ),
    st.sampled_from(["l1", "l2", "max"]),
    st.sampled_from([7, 13, 18]),
)
def test_row_norms_are_scikit_learns(rows: list[list[float]], norm: str, opset: int) -> None:
    x = np.asarray(rows, "f")
    estimator = Normalizer(norm).fit(x)
    want = estimator.transform(x.astype("d"))
    assert ulps(of(estimator).transform()(x), want) <= 1
    assert ulps(baked(of(estimator), x, opset), want) <= 1
    assert ulps(baked(of(estimator), x, max(opset, 8), "single"), want) <= 8
    x[0, 0] = np.inf
    for precision in ("exact", "single"):
        have = baked(of(estimator), x, max(opset, 8), precision)
        assert np.isnan(have[0, 0]) and (have[0, 1:] == 0).all()
    x[0, 0] = np.nan
    have = baked(of(estimator), x, opset)
    assert np.isnan(have[0]).all() and not np.isnan(have[1:]).any()


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_a_row_of_almost_nothing_keeps_its_values(norm: str) -> None:
    x = np.outer([0, 1e-30, 2e-16, 5e-16, 1e-15, 2e-15, 2.2e-15, 2.3e-15, 4e-15], [1, 0.01, -0.02]).astype("f")
    estimator = Normalizer(norm).fit(x)
    want = estimator.transform(x.astype("d"))
    assert ulps(baked(of(estimator), x), want) == 0
    assert ulps(baked(of(estimator), x, precision="single"), want) <= 8


def test_row_norms_lie_along_the_feature_axis() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 3, 4))
    transform = make("normalizer", {"norm": "l2"}).transform()
    np.testing.assert_allclose(np.sum(transform(x, 1) ** 2, axis=1), 1)
    np.testing.assert_allclose(np.sum(transform(x, -3) ** 2, axis=1), 1)
    assert not transform.elementwise


@pytest.mark.parametrize("encode", ["ordinal", "onehot", "onehot-dense"])
@pytest.mark.parametrize("opset", [9, 17])
def test_bins_are_scikit_learns(encode: str, opset: int) -> None:
    x = np.random.default_rng(1).standard_normal((500, 4)).astype("f")
    x[:, 3] = np.round(x[:, 3])
    estimator = KBinsDiscretizer([2, 3, 5, 9], encode=encode, strategy="uniform").fit(x.astype("d"))
    x[:50] = np.float32(3) * x[:50]
    for feature, edges in enumerate(estimator.bin_edges_):
        x[50 : 50 + len(edges), feature] = edges
    want = estimator.transform(x.astype("d"))
    want = want.toarray() if encode == "onehot" else want
    transform = of(estimator).transform()
    np.testing.assert_array_equal(transform(x, -1), want)
    np.testing.assert_array_equal(emitted(transform, x, opset), want)
    assert [OPERATORS[s.op].width(s) for s in transform.steps] == [None, 19, None][: len(transform.steps)]


@pytest.mark.parametrize("missing", [np.nan, -999.0, 0.0])
@pytest.mark.parametrize("indicator", [True, False])
@pytest.mark.parametrize("opset", [9, 10, 17])
def test_imputation_is_scikit_learns(missing: float, indicator: bool, opset: int) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60, 4)).astype("f")
    x[rng.random(x.shape) < 0.2] = missing
    x[:, 2] = 1.5
    estimator = SimpleImputer(missing_values=missing, add_indicator=indicator).fit(x.astype("d"))
    transform = of(estimator).transform()
    want = estimator.transform(x.astype("d"))
    np.testing.assert_array_equal(transform(x, -1), want)
    np.testing.assert_array_equal(emitted(transform, x, opset), want.astype("f"))
    if not indicator:
        np.testing.assert_array_equal(baked(of(estimator), x, opset), want.astype("f"))
        np.testing.assert_array_equal(baked(of(estimator), x, opset, "single"), want.astype("f"))


@pytest.mark.parametrize("opset", [7, 17])
def test_binarizing_is_scikit_learns(opset: int) -> None:
    x = column([*SPECIAL, 0.5, np.nextafter(np.float32(0.5), np.float32(1))])
    estimator = Binarizer(threshold=0.5).fit(x)
    np.testing.assert_array_equal(baked(of(estimator), x, opset), estimator.transform(x))
    assert np.isnan(baked(of(estimator), column([np.nan]), opset)).all()


@pytest.mark.parametrize("function", [np.log1p, np.sqrt, np.arcsinh, np.exp2, np.square, None])
def test_function_transformers(function: Any) -> None:
    x = column(np.linspace(0.01, 5, 100))
    estimator = FunctionTransformer(function).fit(x)
    assert ulps(baked(of(estimator), x), estimator.transform(x.astype("d"))) <= 1
    for name in ("numpy.log1p", "log1p"):
        assert SKLEARN["FunctionTransformer"].from_sklearn({"func": name}).transform() == EXAMPLES["Log1p"]
    assert function_name(test_function_transformers).endswith("test_function_transformers")


REFUSED = {
    "a method": ("power", {"lambdas": [1.0], "method": "yeo"}, "method: expected one of yeo-johnson, box-cox"),
    "widths": ("power", {"lambdas": [1.0, 2.0], "mean": [1.0]}, "different widths"),
    "falling quantiles": ("quantile", {"quantiles": [[1.0], [0.0]]}, "fall somewhere along their first dimension"),
    "references": ("quantile", {"quantiles": [1.0, 2.0], "references": [0.0, 0.9]}, "rising numbers from 0 to 1"),
    "an output": ("quantile", {"quantiles": [1.0, 2.0], "output": "logistic"}, "output: expected one of uniform"),
    "a norm": ("normalizer", {"norm": "l3"}, "norm: expected one of l1, l2, max"),
    "edges": ("kbins", {"edges": [[0.0, 1.0], [2.0, 1.0]]}, r"edges\[1\]: expected at least two numbers"),
    "an indicator": ("imputer", {"value": [1.0], "indicators": [3.0]}, "whole numbers from 0 to 0"),
    "a function": ("function", {"function": "tan"}, "function: expected one of identity, log"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_statistics_are_refused_by_name(case: str) -> None:
    kind, fields, message = REFUSED[case]
    assert kind in KINDS
    with pytest.raises(StatisticsError, match=message):
        make(kind, fields)


@pytest.mark.parametrize("missing", [np.nan, -1])
@pytest.mark.parametrize("features", ["missing-only", "all"])
def test_missing_indicator_equals_scikit_learns(missing: float, features: str) -> None:
    x = np.random.default_rng(0).random((12, 3))
    x[::3, 1], x[1::4, 2] = missing, missing
    estimator = MissingIndicator(missing_values=missing, features=features).fit(x)
    both = make_union(SimpleImputer(missing_values=missing), estimator).fit(x)
    np.testing.assert_array_equal(of(estimator).transform()(x), estimator.transform(x))
    np.testing.assert_array_equal(sources.read(both).inputs[None].transform()(x), both.transform(x))
    with pytest.raises(StatisticsError, match="gives no column"):
        of(MissingIndicator().fit(np.ones((3, 2))))


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("missing", [np.nan, -1.0])
def test_columns_that_were_never_observed_are_dropped_as_scikit_learn_does(indicator: bool, missing: float) -> None:
    x = np.random.default_rng(0).random((12, 4))
    x[:, 1], x[::3, 2] = missing, missing
    estimator = make_pipeline(SimpleImputer(missing_values=missing, add_indicator=indicator), StandardScaler()).fit(x)
    found = sources.read(estimator).inputs[None].transform()
    np.testing.assert_array_equal(found(x), estimator.transform(x))
    baked = onnxscale.bake(build.identity(("N", found(x).shape[1])), estimator, form="nodes").verify()
    assert baked.comparison.verified, baked.comparison
    with pytest.raises(StatisticsError, match="drops every column"):
        of(SimpleImputer().fit(np.full((3, 2), np.nan)))


@pytest.mark.parametrize("fill", [3, 3.5, np.float32(0.1)])
def test_a_constant_fill_equals_scikit_learns(fill: float) -> None:
    """scikit-learn 1.8 keeps it in an array of objects."""
    x = np.random.default_rng(0).random((12, 3))
    x[::3, 1] = np.nan
    estimator = SimpleImputer(strategy="constant", fill_value=fill).fit(x)
    np.testing.assert_array_equal(sources.read(estimator).inputs[None].transform()(x), estimator.transform(x))


@pytest.mark.parametrize("name", ["PowerTransformer", "QuantileTransformer", "KBinsDiscretizer", "SimpleImputer"])
def test_what_is_not_fitted_is_refused(name: str) -> None:
    with pytest.raises(StatisticsError, match=f"this {name} is not fitted"):
        SKLEARN[name].from_sklearn({})


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(StatisticsError, match=r"calls 'builtins.len'; known are numpy's"):
        SKLEARN["FunctionTransformer"].from_sklearn({"func": len})


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(POWERS, st.lists(VALUES, min_size=1, max_size=200))
def test_yeo_johnson_at_length(power: float, values: list[float]) -> None:
    x = column(values)
    with np.errstate(all="ignore"):
        want = stats.yeojohnson(x[:, 0].astype("d"), power).reshape(-1, 1)
    assert ulps(baked(make("power", {"lambdas": [power]}), x), want) <= 1
