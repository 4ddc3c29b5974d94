"""Functions that bend or jump are told apart wherever they differ, and are the same however they were written."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxscale
from onnxscale import ports
from onnxscale.changes import differs
from onnxscale.diffing import Diff, diff
from onnxscale.spaces import Space, compare
from onnxscale.step import Step
from onnxscale.transform import Transform

RNG = np.random.default_rng(0)
X = np.c_[
    np.abs(RNG.normal(30, 10, 500)) + 1, RNG.lognormal(3, 1, 500), RNG.uniform(0.01, 1, 500), RNG.poisson(4, 500) + 1.0
]
F = X.shape[1]


def _fitted() -> dict[str, tuple[Any, str]]:
    """Estimators, and which of their fitted arrays is to be changed."""
    pre, imp, dec, pip = (
        pytest.importorskip(f"sklearn.{n}") for n in ("preprocessing", "impute", "decomposition", "pipeline")
    )
    missing = X.copy()
    missing[::7, 1] = -99
    quantile, edges = pre.QuantileTransformer(n_quantiles=50), pre.KBinsDiscretizer(n_bins=5, encode="ordinal")
    onehot = pre.KBinsDiscretizer(n_bins=4, encode="onehot-dense")
    return {
        "quantiles": (quantile.fit(X), "quantiles_"),
        "ranks of quantiles": (copy.deepcopy(quantile), "references_"),
        "normal quantiles": (pre.QuantileTransformer(n_quantiles=50, output_distribution="normal").fit(X), "quantiles_"),
        "edges of bins": (edges.fit(X), "bin_edges_"),
        "edges of one-hot bins": (onehot.fit(X), "bin_edges_"),
        "a threshold": (pre.Binarizer(threshold=0.37).fit(X), "threshold"),
        "what is put for a sentinel": (imp.SimpleImputer(missing_values=-99.0).fit(missing), "statistics_"),
        "power": (pre.PowerTransformer().fit(X), "lambdas_"),
        "the mean of a projection": (dec.PCA(3).fit(X), "mean_"),
        "a component": (dec.PCA(2, whiten=True).fit(X), "components_"),
        "a scaler behind polynomials": (pip.make_pipeline(pre.PolynomialFeatures(2), pre.StandardScaler()).fit(X), "scale_"),
    }  # fmt: skip


NAMES = (
    "quantiles", "ranks of quantiles", "normal quantiles", "edges of bins", "edges of one-hot bins", "a threshold",
    "what is put for a sentinel", "power", "the mean of a projection", "a component", "a scaler behind polynomials",
)  # fmt: skip


def _changed(estimator: Any, key: str, by: float, rng: np.random.Generator) -> Any:
    other = copy.deepcopy(estimator)
    owner = other if hasattr(other, key) else other[-1]
    value = copy.deepcopy(getattr(owner, key))
    if np.isscalar(value):
        value = value * (1 + by)
    elif value.dtype == object:
        row = value[rng.integers(len(value))]
        row[rng.integers(1, len(row) - 1)] *= 1 + by
    else:
        at = tuple(rng.integers(1, n - 1) if n > 3 else rng.integers(n) for n in value.shape)
        value[at] *= 1 + by
    setattr(owner, key, value)
    return other


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by", [1e-3, 1e-5])
def test_one_changed_constant_is_told(name: str, by: float) -> None:
    estimator, key = _fitted()[name]
    assert diff(estimator, copy.deepcopy(estimator)).same
    rng = np.random.default_rng(7)
    for _ in range(4):
        try:
            other = _changed(estimator, key, by, rng)
            here, there = (ports.of(e)[0].inside.transform for e in (estimator, other))
        except onnxscale.OnnxscaleError:  # quantiles that fall are refused when they are read
            continue
        assert here is not None and there is not None
        dense = np.concatenate([X, X * 1.7 - 3, np.full((1, F), -99.0), RNG.uniform(-1, 60, (500, F))])
        found = diff(estimator, other)
        assert not found.same, (name, np.nanmax(np.abs(here(dense) - there(dense))))
        assert found.tensors[0].features


def _pairs(rng: np.random.Generator) -> dict[str, tuple[list[Step], list[Step]]]:
    k, m, at = rng.uniform(1e-3, 300, F), rng.normal(0, 50, F), rng.normal(0, 3, F)
    edges, q, r = np.sort(rng.normal(0, 3, (6, F)), 0), np.sort(rng.normal(0, 2, (20, F)), 0), np.linspace(0, 1, 20)
    z, y = [Step("Sub", (m,)), Step("Div", (k,))], [Step("Mul", (1 / k,)), Step("Add", (-m / k,))]
    missing = Step("Impute", (m, np.full(F, -999.0), np.zeros(F)))
    return {
        "bins": ([*z, Step("Bins", (edges,))], [Step("Bins", (edges * k + m,))]),
        "a threshold": ([*z, Step("Binarize", (at,))], [Step("Binarize", (at * k + m,))]),
        "quantiles": ([Step("Div", (k,)), Step("Quantile", (q, r))], [Step("Quantile", (q * k, r))]),
        "a power": ([*z, Step("YeoJohnson", (at / 3,)), *z], [*y, Step("YeoJohnson", (at / 3,)), *y]),
        "a sentinel": ([missing, *z], [missing, *y]),
    }


@pytest.mark.parametrize("name", _pairs(np.random.default_rng(0)))
def test_another_spelling_of_a_function_that_bends_is_no_difference(name: str) -> None:
    for seed in range(40):
        here, there = (Space(Transform(tuple(s))) for s in _pairs(np.random.default_rng(seed))[name])
        assert compare(here, there) is None
        found = differs(here, there)
        assert found is None, (found.reason, found.off[:1])


def images() -> onnx.ModelProto:
    w = numpy_helper.from_array(np.random.default_rng(0).normal(0, 0.1, (4, 3, 3, 3)).astype("f"), "W")
    nodes = [helper.make_node("Conv", ["x", "W"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["y"])]
    ends = [helper.make_tensor_value_info(n, 1, s) for n, s in (("x", ["N", 3, 8, 8]), ("y", ["N", 4, 1, 1]))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


PIXELS = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "axis": 1}


def _baked(std: float = 57.375, **how: Any) -> bytes:
    pixels = {**PIXELS, "std": [58.395, 57.12, std]}
    return onnxscale.bake(images(), pixels, **how).to_bytes()


def _half(axis: int) -> dict[str, Any]:
    return {"mean": [0.5] * 3, "std": [0.25] * 3, "axis": axis}


INSTANCE = {"kind": "instance", "over": [-1], "eps_at": "var", "eps": 1e-7}
GROUPED = {"kind": "grouped", "by": "k", "groups": ["a", "b"], "mean": [[1.0, 2], [3, 4]], "std": [[1.0, 2], [3, 4]]}
CASES: dict[str, tuple[Callable[[], Diff], str]] = {
    "channels last, and the statistics": (lambda: diff(_baked(layout="nhwc"), PIXELS), ""),
    "channels last, and first": (lambda: diff(_baked(layout="nhwc"), _baked()), ""),
    "channels last, another std": (lambda: diff(_baked(layout="nhwc"), _baked(57.9, layout="nhwc")), "the constants differ"),
    "channels turned": (lambda: diff(_baked(), _baked(channels="reversed")), "B takes its channels the other way round"),
    "one channel for three": (lambda: diff(_baked(channels="gray"), _baked(57.9, channels="gray")), "the constants differ"),
    "an axis counted from the end": (lambda: diff({**PIXELS, "axis": -3}, _baked()), ""),
    "another axis counted from the end": (lambda: diff({**PIXELS, "axis": -1}, _baked()), "at axis 3 in one and at axis 1"),
    "one value at any axis": (lambda: diff(_half(3), onnxscale.bake(images(), _half(1)).to_bytes()), ""),
    "an epsilon": (lambda: diff(INSTANCE, {**INSTANCE, "eps": 1e-5}), "eps is 1e-07 in A, 1e-05 in B"),
    "a mask": (lambda: diff({**INSTANCE, "mask": "m"}, INSTANCE), "mask is m in A, not given in B"),
    "a group": (lambda: diff(GROUPED, {**GROUPED, "mean": [[1.0, 2], [3, 4.1]]}), "first at 1, 1: 4 in A, 4.1 in B"),
    "the same groups": (lambda: diff(GROUPED, dict(GROUPED)), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_layouts_axes_and_functions_of_whole_rows(name: str) -> None:
    made, words = CASES[name]
    found = made()
    assert found.same == (not words)
    assert words in found.tensors[0].reason


def test_another_order_of_dimensions_is_noted() -> None:
    (note,) = diff(_baked(layout="nhwc"), _baked()).tensors[0].notes
    assert (
        "in another order: A takes them to be put in the order (0, 3, 1, 2) first; B takes them as the model has them"
        in note
    )
