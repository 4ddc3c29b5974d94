"""Laws of steps and transforms, over every elementary step (composite steps have their own tests)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxscale.errors import StatisticsError
from onnxscale.precision import PRECISIONS, UNIT, bound, lowered
from onnxscale.step import Step
from onnxscale.transform import Transform

WIDTH = 3
finite = st.floats(-1e6, 1e6, allow_subnormal=False)
spread = st.floats(1e-3, 1e6)
signed = st.builds(lambda v, s: v * s, spread, st.sampled_from([-1.0, 1.0]))
STEPS = {"Sub": finite, "Add": finite, "Mul": signed, "Div": signed, "Max": finite, "Min": finite}


def column(values: st.SearchStrategy[float]) -> st.SearchStrategy[object]:
    return st.one_of(values, st.lists(values, min_size=WIDTH, max_size=WIDTH))


steps = st.sampled_from(sorted(STEPS)).flatmap(lambda op: column(STEPS[op]).map(lambda c: Step(op, (np.array(c),))))
transforms = st.lists(steps, max_size=5).map(lambda s: Transform(tuple(s)))
affine_transforms = st.lists(steps.filter(lambda s: s.op not in ("Max", "Min")), max_size=4).map(
    lambda s: Transform(tuple(s))
)
rows = st.lists(st.lists(finite, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=4).map(np.array)


@given(transforms)
def test_json_reads_back_bit_equal(t: Transform) -> None:
    assert Transform.from_json(json.loads(json.dumps(t.to_json()))) == t


@given(transforms, transforms, rows)
def test_composition_is_concatenation(a: Transform, b: Transform, x: np.ndarray) -> None:
    np.testing.assert_array_equal((a | b)(x), b(a(x)))


@given(affine_transforms, rows)
def test_affine_agrees(t: Transform, x: np.ndarray) -> None:
    affine = t.affine()
    assert affine is not None
    scale = np.abs(affine.scale * x) + np.abs(affine.shift) + 1e-300
    partial = 1e-12 * (np.abs(t(np.abs(x))) + scale + 1e13)
    assert (np.abs(affine.scale * x + affine.shift - t(x)) <= partial).all()


@given(st.lists(steps.filter(lambda s: s.op in ("Sub", "Add")), max_size=3), rows)
def test_inverse_undoes_shifts(some: list[Step], x: np.ndarray) -> None:
    t = Transform(tuple(some))
    inverse = t.inverse()
    assert inverse is not None
    np.testing.assert_allclose(inverse(t(x)), x, rtol=1e-9, atol=1e-8)


def test_a_clip_inverts_to_the_identity_on_its_image() -> None:
    t = Transform((Step("Mul", (np.array(2.0),)), Step("Max", (np.array(0.0),)), Step("Min", (np.array(1.0),))))
    inverse = t.inverse()
    assert inverse is not None and inverse(0.5) == 0.25


@given(transforms, rows)
def test_slope_tells_the_direction(t: Transform, x: np.ndarray) -> None:
    slope = t.slope()
    assert slope is not None
    higher = t(x + 1.0) - t(x)
    assert (higher * np.broadcast_to(slope, higher.shape) >= 0).all()


@pytest.mark.parametrize("precision", [p for p in PRECISIONS if p != "exact"])
@given(t=affine_transforms, x=rows)
def test_the_bound_holds_in_float32(precision: str, t: Transform, x: np.ndarray) -> None:
    raw = x.astype(np.float32)
    most = bound(t, precision, raw, 1, "float32", "float32")
    got = lowered(t, precision)(raw, 1, np.float32)
    with np.errstate(over="ignore"):
        error = np.abs(got.astype(np.float64) - t(raw, 1).astype(np.float32))
    assert (error <= most).all(), (error, most)


def test_the_bound_of_a_z_score_is_the_published_one() -> None:
    """u |mean| / scale + 3.01 u |z|, within a factor of two, where the published one is tight."""
    mean, std, x = 1000.0, 2.0, np.array([[999.0, 1003.0, 1010.0]], np.float32)
    t = Transform((Step("Sub", (np.array(mean + 0.1),)), Step("Div", (np.array(std + 0.3),))))
    most = bound(t, "single", x, 1, "float32", "float32")
    published = UNIT["float32"] * (mean / std + 3.01 * np.abs(t(x)))
    assert (most <= 2 * published).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a list"),
        ([1], r"steps\[0\]"),
        ([{"op": "Sub", "operands": [["a"]]}], r"steps\[0\].operands\[0\]"),
        ([{"op": "Sub", "operands": [[True]]}], "expected a number"),
        ([{"op": "Sub", "operands": [[[1], [1, 2]]]}], "different lengths"),
        ([{"op": "Frobnicate", "operands": []}], "unknown step 'Frobnicate'"),
    ],
)
def test_bad_json_says_where(content: object, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        Transform.from_json(content)


def test_two_widths_are_refused() -> None:
    t = Transform((Step("Sub", (np.zeros(3),)), Step("Div", (np.ones(4),))))
    with pytest.raises(StatisticsError, match="different widths"):
        _ = t.shape


@pytest.mark.parametrize(
    ("axis", "shape"), [(1, (2, 3, 4, 5)), (-3, (2, 3, 4, 5)), (-1, (2, 3)), (0, (3,)), (2, (2, 5, 3))]
)
def test_constants_lie_at_the_axis(axis: int, shape: tuple[int, ...]) -> None:
    t = Transform((Step("Sub", (np.arange(3.0),)),))
    got = t(np.zeros(shape), axis)
    assert np.array_equal(np.unique(np.moveaxis(got, axis, 0).reshape(3, -1), axis=1), -np.arange(3.0)[:, None])


def test_a_scalar_keeps_rank_0() -> None:
    assert Transform((Step("Sub", (np.array(1.0),)),))(np.float32(3)).shape == ()
