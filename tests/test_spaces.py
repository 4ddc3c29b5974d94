"""One function has one identity, however it was written; what differs is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxscale import pipeline, ports
from onnxscale.canonical import canonical, simplified
from onnxscale.changes import differs
from onnxscale.errors import StatisticsError
from onnxscale.scalers import make
from onnxscale.spaces import RAW, UNKNOWN, Space, between, compare, fingerprint
from onnxscale.step import Step
from onnxscale.transform import Transform
from tests import build, planted

ROOT = Path(__file__).parent.parent

M, S = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def t(*steps: tuple[str, object]) -> Transform:
    return Transform(tuple(Step(op, (np.asarray(v, float),)) for op, v in steps))


def space(*steps: tuple[str, object]) -> Space:
    return Space(t(*steps))


FLOAT32 = Transform((Step("Cast", (), {"to": "float32"}),))
IMAGES = {
    "rescale, then unit range": space(("Mul", 1 / 255), ("Sub", M), ("Div", S)),
    "divide by 255": space(("Div", 255), ("Sub", M), ("Div", S)),
    "pixel range": space(("Sub", M * 255), ("Div", S * 255)),
    "scale and bias": space(("Mul", 1 / (S * 255)), ("Add", -M / S)),
    "nothing added": space(("Add", 0), ("Sub", M * 255), ("Mul", 1), ("Div", S * 255)),
    "rounded between": Space(t(("Mul", 1 / 255)) | FLOAT32 | t(("Sub", M), ("Div", S))),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_one_function_has_one_fingerprint(name: str) -> None:
    first = IMAGES["pixel range"]
    assert fingerprint(IMAGES[name]) == fingerprint(first)
    assert compare(IMAGES[name], first) is None


@settings(max_examples=200, deadline=None)
@given(
    mean=hnp.arrays(float, 4, elements=st.floats(-1e6, 1e6).map(lambda v: float(f"{v:.7g}"))),
    std=hnp.arrays(float, 4, elements=st.floats(1e-3, 1e6).map(lambda v: float(f"{v:.7g}"))),
)
def test_ways_to_write_a_z_score(mean: np.ndarray, std: np.ndarray) -> None:
    ways = [
        space(("Sub", mean), ("Div", std)),
        space(("Div", std), ("Sub", mean / std)),
        space(("Mul", 1 / std), ("Add", -mean / std)),
        space(("Sub", mean), ("Mul", 1 / std)),
    ]
    assert all(compare(ways[0], w) is None for w in ways[1:])
    near = np.abs(mean) < 1e3 * std  # a mean a thousand deviations away keeps more digits than float64 can promise
    if near.all():
        assert len({fingerprint(w) for w in ways}) == 1


@settings(max_examples=200, deadline=None)
@given(
    low=hnp.arrays(float, 3, elements=st.floats(-100, 100)),
    width=hnp.arrays(float, 3, elements=st.floats(0.01, 100)),
    a=hnp.arrays(float, 3, elements=st.sampled_from([-3.0, -0.5, 0.25, 1.0, 7.0])),
    b=hnp.arrays(float, 3, elements=st.floats(-10, 10)),
    x=hnp.arrays(float, (20, 3), elements=st.floats(-300, 300)),
)
def test_the_canonical_form_is_the_same_function(low, width, a, b, x) -> None:
    written = t(("Max", low), ("Min", low + width), ("Mul", a), ("Max", b), ("Add", 1), ("Min", b + 5), ("Div", 4))
    short = canonical(written)
    np.testing.assert_allclose(short(x), written(x), rtol=1e-9, atol=1e-9)
    assert canonical(short) == short
    again = canonical(Transform((*written.steps, *t(("Mul", 2), ("Sub", 1)).steps)))
    assert len(again.steps) <= 4


def test_a_clip_before_is_a_clip_after() -> None:
    before = space(("Max", [0, 10]), ("Min", [1, 20]), ("Sub", [0, 10]), ("Div", [1, 10]))
    after = space(("Sub", [0, 10]), ("Div", [1, 10]), ("Max", 0), ("Min", 1))
    assert compare(before, after) is None
    assert fingerprint(before) == fingerprint(after)


def test_one_value_for_all_is_that_value_for_each() -> None:
    assert fingerprint(space(("Div", 255))) == fingerprint(space(("Div", [255] * 3)))
    assert compare(space(("Div", 255)), space(("Div", [255] * 3))) is None


@pytest.mark.parametrize("at", range(3))
def test_one_changed_digit_is_found_and_named(at: int) -> None:
    mean = M * 255
    mean[at] *= 1 + 2e-8
    changed = Space(t(("Sub", mean), ("Div", S * 255)), features=("r", "g", "b"))
    assert fingerprint(changed) != fingerprint(IMAGES["pixel range"])
    found = compare(IMAGES["pixel range"], changed, tolerance=1e-9)
    assert found is not None and found.first is not None
    assert (found.first.feature, found.first.name) == (at, "rgb"[at])
    assert found.first.sigmas == pytest.approx(2e-8 * M[at] / S[at], rel=1e-3)


def test_a_mean_far_from_zero_keeps_the_digits_that_matter() -> None:
    first, second = (space(("Sub", 1.7e9 + d), ("Div", 1e-3)) for d in (0.0, 2e-3))
    assert fingerprint(first) != fingerprint(second)


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (RAW, IMAGES["pixel range"], "the first is raw"),
        (IMAGES["pixel range"], RAW, "the second is raw"),
        (IMAGES["pixel range"], Space(IMAGES["pixel range"].transform | IMAGES["pixel range"].transform), "the second scales twice"),
        (space(("Sub", M), ("Div", S)), IMAGES["pixel range"], "255 times as large"),
        (IMAGES["pixel range"], space(("Sub", M[::-1] * 255), ("Div", S[::-1] * 255)), "other way round"),
        (space(("Sub", [1, 2, 3, 4])), space(("Sub", [1, 3, 2, 4])), "features 1, 2 moved"),
        (space(("Sub", [1, 2, 3, 4])), space(("Sub", [1, 2, 3])), "4 feature(s), the other for 3"),
        (UNKNOWN, RAW, "nothing is known of one"),
        (Space(t(("Sub", M)), axis=1), Space(t(("Sub", M)), axis=3), "axis 1 in one and at axis 3"),
        (space(("Sub", 3)), space(("Sub", 4)), "the constants differ"),
        (Space(Transform((Step("Log"),))), space(("Sub", 4)), "the functions differ"),
    ],
)  # fmt: skip
def test_a_difference_in_words(here: Space, there: Space, words: str) -> None:
    found = compare(here, there)
    assert found is not None
    assert words in found.reason


def test_between_two_spaces_lies_one_affine() -> None:
    a, b = space(("Sub", [1, 2]), ("Div", [2, 4])), space(("Sub", [0, 1]), ("Div", [10, 5]))
    adapter = between(a, b)
    assert [s.op for s in adapter.steps] == ["Mul", "Add"]
    x = np.random.default_rng(0).normal(size=(50, 2)) * 9
    np.testing.assert_allclose(adapter(a.transform(x)), b.transform(x), rtol=1e-12, atol=1e-12)
    assert between(a, a) == Transform()
    assert simplified(a.transform | a.transform.inverse()) == Transform()
    with pytest.raises(StatisticsError, match="unknown"):
        between(a, UNKNOWN)


@pytest.mark.parametrize("kind", ["standard", "minmax", "robust"])
def test_ports_of_statistics(kind: str) -> None:
    content = {
        "standard": {"mean": [1.0, 2.0], "std": [3.0, 4.0]},
        "minmax": {"data_min": [0.0, 1.0], "data_max": [2.0, 3.0]},
        "robust": {"center": [1.0, 2.0], "scale": [3.0, 4.0], "kind": "robust"},
    }[kind]
    (port,) = ports.of(content)
    assert (port.role, port.name, port.how) == ("input", None, "declared")
    assert port.outside.raw and not port.inside.raw
    assert (
        compare(port.inside, Space(make(kind, {k: v for k, v in content.items() if k != "kind"}).transform())) is None
    )


@pytest.mark.parametrize("form", ["auto", "nodes"])
def test_ports_of_a_baked_model_are_those_of_its_statistics(form: str) -> None:
    folder = ROOT / "models" / "linnerud_targets"
    made = pipeline.bake(folder / "model.onnx", folder / "scaler.joblib", target=folder / "target.joblib", form=form)
    found = {p.role: p for p in ports.of(made.to_bytes())}
    for role, file in (("input", "scaler.joblib"), ("output", "target.joblib")):
        (declared,) = ports.of(str(folder / file))
        assert found[role].how == "baked" and found[role].outside.raw
        assert compare(found[role].inside, declared.inside) is None
        assert fingerprint(found[role].inside) == fingerprint(declared.inside)
    bare = ports.of(str(folder / "model.onnx"))
    assert {p.how for p in bare} == {"bare"} and all(p.inside.transform is None for p in bare)


def test_a_scaler_in_nodes_that_others_wrote_is_recognized_within_its_rounding() -> None:
    """float32 constants are what such a graph holds; a comparison allows them that and no more."""
    mean, std = np.array([1e3, 2e3, 3e3, 4e3]) + 0.123456789, np.array([0.1, 0.2, 0.3, 0.4])
    made = build.bake(build.mlp(), mean, std, precision="single").to_bytes()
    stripped = onnx.load_from_string(made)
    del stripped.metadata_props[:]
    (port, *_) = ports.of(stripped)
    assert port.how == "recognized"
    assert compare(port.inside, Space(t(("Sub", mean), ("Div", std)), axis=1)) is None
    assert compare(port.inside, Space(t(("Sub", mean * 1.00001), ("Div", std)), axis=1)) is not None


short = st.floats(-1e6, 1e6).map(lambda v: float(f"{v:.7g}"))
wide = st.floats(1e-3, 1e6).map(lambda v: float(f"{v:.7g}"))


@settings(max_examples=150, deadline=None)
@given(mean=short, std=wide, k=st.sampled_from([2.0, 255.0, 1 / 255, 1e3, 0.125, -1.0]))
def test_equal_functions_have_equal_fingerprints(mean: float, std: float, k: float) -> None:
    """However the function is cut into steps, also through a range of -1 to 1, whose ends leave rounding where they cancel."""
    if abs(mean) > 1e3 * std:
        return
    low, high = mean - std, mean + std
    ways = [
        space(("Sub", mean), ("Div", std)),
        space(("Mul", 1 / std), ("Add", -mean / std)),
        space(("Mul", k), ("Sub", mean * k), ("Div", std * k)),
        space(("Sub", mean / 2), ("Sub", mean / 2), ("Div", std * 4), ("Mul", 4)),
        space(("Sub", [mean] * 3), ("Div", [std] * 3)),
        space(("Sub", low), ("Div", high - low), ("Mul", 2), ("Sub", 1)),
    ]
    for other in ways[1:]:
        assert compare(ways[0], other) is None and differs(ways[0], other) is None
    exact = ways[:5] if abs(mean) > 1e-3 * std else ways[:2]
    assert len({fingerprint(w) for w in exact}) == 1


@settings(max_examples=150, deadline=None)
@given(
    mean=hnp.arrays(float, 5, elements=short),
    std=hnp.arrays(float, 5, elements=wide),
    at=st.integers(0, 4),
    by=st.floats(1e-8, 3),
)
def test_a_difference_is_symmetric_and_at_its_feature(mean, std, at: int, by: float) -> None:
    moved = std.copy()
    moved[at] *= 1 + by
    a, b = space(("Sub", mean), ("Div", std)), space(("Sub", mean), ("Div", moved))
    one, two = differs(a, b), differs(b, a)
    assert one is not None and two is not None
    assert [o.feature for o in one.off] == [o.feature for o in two.off] == [at]
    assert fingerprint(a) != fingerprint(b)


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
def test_infinity_is_not_everything(value: float) -> None:
    """A clip against none at all, and a division by nothing."""
    assert compare(space(("Max", value), ("Sub", 3)), space(("Sub", 3))) is None or value > 0
    assert compare(space(("Div", [1, 0])), space(("Div", [1, 2]))) is not None


def test_a_permutation_of_many_features_is_seen_quickly() -> None:
    rng = np.random.default_rng(0)
    mean, std, order = rng.normal(size=20_000), rng.uniform(1, 2, 20_000), rng.permutation(20_000)
    found = compare(space(("Sub", mean), ("Div", std)), space(("Sub", mean[order]), ("Div", std[order])))
    assert found is not None and "in another order" in found.reason


bound = st.sampled_from([0.0, 1.0, -1.0, 2.0, -3.0, 0.5, 10.0, -7.25])
values = st.one_of(bound, st.tuples(bound, bound, bound))
written = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["Sub", "Add", "Mul", "Max", "Min"]), values),
        st.tuples(st.just("Div"), st.sampled_from([2.0, -0.5, 4.0])),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=200, deadline=None)
@given(steps=written, x=hnp.arrays(float, (12, 3), elements=st.floats(-50, 50)))
def test_the_canonical_form_of_any_arithmetic(steps, x) -> None:
    """The same function, no shorter form of itself, and one fingerprint with a detour that comes back."""
    function = t(*steps)
    form = canonical(function)
    np.testing.assert_allclose(*np.broadcast_arrays(form(x), function(x)), rtol=1e-9, atol=1e-9)
    assert canonical(form) == form and len(form.steps) <= 4
    detour = t(*steps, ("Mul", -4.0), ("Add", 8.0), ("Sub", 8.0), ("Div", -4.0))
    assert fingerprint(Space(detour)) == fingerprint(Space(function))
    assert compare(Space(detour), Space(function)) is None


def test_one_value_is_one_value_however_it_came_about() -> None:
    """0 * x + 3, and a clip of both sides to 3."""
    ways = [space(("Mul", 0), ("Add", 3)), space(("Max", 3), ("Min", 3)), space(("Max", -1), ("Mul", 0), ("Add", 3))]
    assert len({fingerprint(w) for w in ways}) == 1


def test_inspect_gives_one_fingerprint_to_every_way_of_writing() -> None:
    from onnxscale import looking

    given = [
        {
            "image_mean": M.tolist(),
            "image_std": S.tolist(),
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
        },
        {"mean": (M * 255).tolist(), "std": (S * 255).tolist(), "axis": 1},
    ]
    model = onnx.ModelProto.FromString(planted.image())
    prints = [looking.inspect(pipeline.bake(model, g).to_proto()).fingerprints for g in given]
    assert prints[0] == prints[1] and list(prints[0]) == ["x"] and not looking.inspect(model).fingerprints
