"""Where features lie: derived where one axis fits, asked for where two do, refused by naming both sides."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from onnxscale.errors import PlanError
from onnxscale.graph import InputSpec
from onnxscale.placing import find_axis, placed
from tests import build

N = "N"
Dims = tuple[int | str | None, ...]

# dimensions of the tensor, shape of the features, axis as asked -> axis
FITS: list[tuple[Dims, tuple[int, ...], int | None, int]] = [
    ((N, 13), (13,), None, 1),
    ((None, 13), (13,), None, 1),
    ((1, 13), (13,), None, 1),
    ((32, 13), (13,), None, 1),
    ((N, "F"), (13,), None, 1),
    ((None, None), (13,), None, 1),
    ((13,), (13,), None, 0),
    ((None,), (13,), None, 0),
    ((N, 10, 13), (13,), None, 2),
    ((N, "T", 13), (13,), None, 2),
    ((N, 13, "L"), (13,), None, 1),
    ((N, 13, 100), (13,), None, 1),
    ((N, 3, 224, 224), (3,), None, 1),
    ((N, 3, "H", "W"), (3,), None, 1),
    ((N, 224, 224, 3), (3,), None, 3),
    ((N, "H", "W", 3), (3,), None, 3),
    ((1, 3, 8, 8), (3,), None, 1),
    ((13, "T"), (13,), None, 0),  # no batch: the known size comes before the open one
    ((N, 10, 13), (10, 13), None, 1),
    ((N, None, None), (10, 13), None, 1),
    ((10, 13), (10, 13), None, 0),
    ((N, 3, 8, 8), (3, 8, 8), None, 1),
    ((N, 13), (), None, -1),
    ((N, 3, 8, 8), (), None, -1),
    (None, (), None, -1),  # type: ignore[list-item]
    # as asked
    ((N, 13), (13,), 1, 1),
    ((N, 13), (13,), -1, 1),
    ((N, 3, 3), (3,), 1, 1),
    ((N, 3, 3), (3,), -1, 2),
    ((N, 3, 8, 8), (3,), -3, 1),
    ((N, None, None), (13,), 1, 1),
    ((13, 13), (13,), 0, 0),
    ((N, 10, 13), (10, 13), 1, 1),
    ((N, 10, 13), (10, 13), -2, 1),
    (None, (13,), -1, -1),  # type: ignore[list-item]
    # one feature
    ((N, 1), (1,), None, 1),
    ((N, 1, 28, 28), (1,), None, 1),
    ((N, 28, 28, 1), (1,), None, 3),
]

# the same -> what the message says
REFUSED: list[tuple[Dims | None, tuple[int, ...], int | None, list[str]]] = [
    ((N, 13), (20,), None, ["stats have 20 features", "input 'x' has 13 at axis -1"]),
    ((N, 13), (20,), 1, ["stats have 20 features", "input 'x' has 13 at axis -1"]),
    ((N, 13), (20,), -1, ["20 features", "13 at axis -1"]),
    ((N, 13), (1,), None, ["stats have 1 feature,", "13"]),
    ((N, 10, 13), (10, 12), None, ["10x12 values", "10x13"]),
    ((N, 3, 3), (3,), None, ["axis 1, 2", "--axis"]),
    ((N, 224, 224, 224), (224,), None, ["axis 1, 2, 3", "--axis"]),
    ((N, None, None), (13,), None, ["axis 1, 2", "--axis"]),
    ((N, "A", "B", "C"), (2, 2), None, ["axis 1, 2", "--axis"]),
    ((N, 13), (13,), 2, ["axis 2", "2 dimensions"]),
    ((N, 13), (13,), -3, ["-1", "2 dimensions"]),
    ((N, 3, 8, 8), (3,), 2, ["3 features", "8 at axis -2"]),
    ((13,), (10, 13), None, ["10x13 values", "1 dimension"]),
    ((), (13,), None, ["13 features", "0 dimension"]),
    (None, (13,), None, ["unknown rank", "--axis"]),
    (None, (13,), 1, ["unknown rank", "counted from the end"]),
]


@pytest.mark.parametrize(("dims", "features", "asked", "axis"), FITS)
def test_the_axis(dims: Dims | None, features: tuple[int, ...], asked: int | None, axis: int) -> None:
    found = placed(InputSpec("x", "float32", dims), features, asked)
    assert found.axis == axis and found.reason


@pytest.mark.parametrize(("dims", "features", "asked", "said"), REFUSED)
def test_no_axis(dims: Dims | None, features: tuple[int, ...], asked: int | None, said: list[str]) -> None:
    spec = InputSpec("x", "float32", dims)
    assert find_axis(spec, features, asked).axis is None
    with pytest.raises(PlanError) as error:
        placed(spec, features, asked)
    assert all(part in str(error.value) for part in said), str(error.value)


def test_an_output_is_called_one() -> None:
    with pytest.raises(PlanError, match=r"target stats have 2 features, output 'y' has 3 at axis -1"):
        placed(InputSpec("y", "float32", (N, 3)), (2,), None, "target stats", "output")


SHAPED = [(dims, features, asked) for dims, features, asked, _ in FITS if dims is not None]


@pytest.mark.parametrize(("dims", "features", "asked"), SHAPED)
def test_a_bake_there_gives_what_numpy_gives(dims: Dims, features: tuple[int, ...], asked: int | None) -> None:
    """The reference is written out by hand here: the features moved last, scaled, moved back."""
    draw = np.random.default_rng(0)
    mean, std = draw.normal(size=features), 0.5 + draw.random(features)
    axis = placed(InputSpec("x", "float32", dims), features, asked).axis
    baked = build.bake(build.identity(dims), mean, std, axis=asked)
    sizes = [d if isinstance(d, int) else 4 for d in dims]
    sizes[axis : axis + len(features)] = features
    x = draw.normal(size=sizes).astype(np.float32)
    session = onnxruntime.InferenceSession(baked.to_bytes(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": x})
    moved = np.moveaxis(x.astype(np.float64), range(axis, axis + len(features)), range(-len(features), 0))
    expected = np.moveaxis((moved - mean) / std, range(-len(features), 0), range(axis, axis + len(features)))
    assert np.array_equal(got, expected.astype(np.float32))


@pytest.mark.parametrize("value", [-1, 0])
def test_a_dimension_of_minus_one_is_open(value: int) -> None:
    model = build.identity((N, 4))
    model.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = value
    assert build.bake(model).plan.placements[0].axis == 1


def test_the_width_error_of_a_bake_names_both_sides() -> None:
    with pytest.raises(PlanError, match=r"stats have 5 features, input 'x' has 4 at axis -1"):
        build.bake(build.mlp(), np.zeros(5), np.ones(5))
