"""The one rule: a normalization is a short sequence of ONNX operators with constant operands.

A `Step` is one such operator: its name and its constants. What the name *means* is an `Operator`, a row of the
table in `steps/`: the float64 arithmetic (the reference), the ONNX nodes, the inverse, and what folding may ask.
`("Div", c)` cannot be misread, where a pair (offset, scale) can: scikit-learn's StandardScaler divides by
`scale_`, its MinMaxScaler multiplies by `scale_`.

Constants have the shape of the *features*: `()` for one value for all, `(F,)` for one per feature, `(T, F)` for one
per timestep and feature. `align` places them on a tensor: their first dimension lies at `axis`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnxscale.errors import StatisticsError

Array = npt.NDArray[Any]
Option = str | int | float | bool


def constant(values: npt.ArrayLike) -> Array:
    """`values` as a read-only float64 array."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def align(values: Array, rank: int, axis: int) -> Array:
    """`values` with trailing ones, so that its first dimension broadcasts at `axis` of a tensor of `rank` dimensions.

    A rank-0 constant stays rank 0: anything else would raise the rank of a rank-0 tensor, and old models need it so.
    """
    if values.ndim == 0:
        return values
    trailing = (-axis if axis < 0 else rank - axis) - values.ndim
    if trailing < 0:
        raise ValueError(f"constants of shape {values.shape} do not fit at axis {axis} of {rank} dimensions")
    return values.reshape(values.shape + (1,) * trailing)


@dataclass(frozen=True, eq=False)
class Step:
    """One operator and its constants.

    op: the operator's name, a row of `steps.OPERATORS`. operands: float64 constants of the features' shape.
    options: what is not a number per feature (a dtype, a norm).
    """

    op: str
    operands: tuple[Array, ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "operands", tuple(constant(values) for values in self.operands))
        object.__setattr__(self, "options", dict(self.options))

    def key(self) -> tuple[object, ...]:
        """What makes two steps the same: every bit of every operand counts, -0.0 and 0.0 differ."""
        return (
            self.op,
            tuple((values.shape, values.tobytes()) for values in self.operands),
            tuple(sorted(self.options.items())),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())


@dataclass(frozen=True, eq=False)
class Affine:
    """`y = scale * x + shift`, per feature, float64, both of the same shape."""

    scale: Array
    shift: Array

    def then(self, after: Affine) -> Affine:
        """First this one, then `after`: a2 (a1 x + b1) + b2."""
        with np.errstate(over="ignore", invalid="ignore"):
            return Affine(after.scale * self.scale, after.scale * self.shift + after.shift)


IDENTITY = Affine(constant(1.0), constant(0.0))


class Builder(Protocol):
    """Where a step writes its nodes. graph.py has the one that makes ONNX; a step knows only this."""

    opset: int
    dtype: np.dtype[Any]
    rank: int | None
    axis: int

    def constant(self, values: npt.ArrayLike, name: str) -> str:
        """A constant in the arithmetic type of the nodes, aligned at the feature axis; returns the tensor's name."""
        ...

    def tensor(self, values: Array, name: str) -> str:
        """A constant as it is (shapes, axes, flags): neither cast nor aligned."""
        ...

    def node(self, op: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        """A node; returns the name of its first output."""
        ...

    def rank_of(self, name: str) -> int | None:
        """The number of dimensions of another input of the model, None where it does not say."""
        ...

    def refuse(self, reason: str) -> Exception:
        """The error to raise where this model (its opset, dtype, rank) cannot express the step."""
        ...


Place = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Laid:
    """A `Place` on a tensor of `rank` dimensions, features at `axis`. beside: the other inputs of the model, by name."""

    rank: int
    axis: int
    dtype: npt.DTypeLike = np.float64
    beside: Mapping[str, Array] = field(default_factory=dict)

    def __call__(self, values: Array) -> Array:
        return align(values.astype(self.dtype), self.rank, self.axis)


@dataclass(frozen=True)
class Companion:
    """Another input of the model that a step reads beside the tensor it scales: the number of a row's group, the length
    of an utterance.

    name: of the input; one that the model lacks is added to it. dtype: "int64", "string", or "" for the type of the
    tensor itself. axes: the dimensions of the tensor that it shares, in order. draw(rng, shape): plausible values.
    """

    name: str
    dtype: str
    axes: tuple[int, ...]
    draw: Callable[[np.random.Generator, tuple[int, ...]], Array]


def given(place: Place, name: str) -> Array:
    """The values of a companion where a step is evaluated. Raises StatisticsError where nobody gave them."""
    values = place.beside.get(name) if isinstance(place, Laid) else None
    if values is None:
        raise StatisticsError(f"the scaler reads {name!r} beside the tensor it scales; give its values too")
    return values


@dataclass(frozen=True)
class Operator:
    """What a step's name means.

    evaluate(x, step, place): the arithmetic, in the dtype of x; `place` casts and aligns an operand.
    nodes(build, x, step): the same as ONNX nodes after the tensor named x; returns the name of the result.
    affine(step): the step as `Affine`, or None. inverse(step): the steps that undo it on its image, or None.
    slope(step): per feature +1 or -1 where the step is monotone (0 where it is constant), or None where it is not.
    prose(step): the step in words. shape(step): the shape of the features it is made for.
    width(step): the number of features after the step where it changes it, else None. moves: it takes values to other
    places and changes none.
    ulps: how far `nodes` may be from `evaluate`, in units in the last place of the arithmetic; 0 means bit-equal.
    reads(step): another input of the model that the step needs, or None. permutes(step): the order in which the step puts
    the dimensions of its tensor, or None; such a step comes first. noise(x, step, place, unit): how far `nodes` may be from
    `evaluate` in arithmetic with that unit roundoff, element by element, where `ulps` is too blunt. parts(step): the
    sequences of steps whose results a step lays side by side.
    """

    evaluate: Callable[[Array, Step, Place], Array]
    nodes: Callable[[Builder, str, Step], str]
    prose: Callable[[Step], str]
    affine: Callable[[Step], Affine | None] = lambda step: None
    inverse: Callable[[Step], tuple[Step, ...] | None] = lambda step: None
    slope: Callable[[Step], Array | None] = lambda step: None
    shape: Callable[[Step], tuple[int, ...]] = lambda step: np.broadcast_shapes(*(v.shape for v in step.operands))
    elementwise: bool = True
    continuous: bool = True
    width: Callable[[Step], int | None] = lambda step: None
    moves: bool = False
    ulps: float = 0.0
    reads: Callable[[Step], Companion | None] = lambda step: None
    permutes: Callable[[Step], tuple[int, ...] | None] = lambda step: None
    noise: Callable[[Array, Step, Place, float], Array] | None = None
    parts: Callable[[Step], list[list[Step]]] = lambda step: []
