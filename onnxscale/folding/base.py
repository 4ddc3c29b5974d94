"""What an absorber is given and what it answers: values with reasons, never None for something wrong.

A `Carried` tensor is one whose every element is t(raw): the walk holds for it, position by position, which feature of
the scaler t its elements are. An absorber sees one node that reads such a tensor (`Site`), and answers with a `Change`
of that node or a `Refusal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from onnxscale.step import Affine, Array, Step
from onnxscale.transform import Transform

Ints = npt.NDArray[np.int64]
Dim = int | str


@dataclass(frozen=True)
class Refusal:
    """Why something cannot be folded. The plan prints it; nodes are inserted instead."""

    reason: str


Given = TypeVar("Given")
Answer = TypeVar("Answer")


def tried(row: Callable[[Given], Answer | Refusal], given: Given) -> Answer | Refusal:
    """What a row of a table answers for a node. A node whose constants contradict each other or its input (a permutation of other
    axes, weights of another width, a group of 0) is one that no runtime takes: a Refusal, and verification says the rest."""
    try:
        return row(given)
    except (ValueError, LookupError, ArithmeticError, TypeError) as error:
        return Refusal(f"its operands do not fit each other ({type(error).__name__}: {str(error)[:100]})")


@dataclass(frozen=True, eq=False)
class Carried:
    """A tensor in which every element is transform(raw).

    index: of the tensor's rank; the flat feature of the transform at each position, -1 where the scaler does not
    reach; 1 long in dimensions along which it does not change. shape: sizes, symbolic where unknown. dtype: of the
    tensor; passed: every dtype the values have had since the input, in order. own: the model's own arithmetic since
    the input, which is part of `transform`; seen: the same with the roundings that the model makes. alias: the tensor
    that holds the raw values where the nodes of `own` are passed by. roots: which of the scaler's features each of
    the transform's features is, where `own` made it other ones.
    """

    name: str
    index: Ints
    shape: tuple[Dim, ...]
    passed: tuple[str, ...]
    transform: Transform
    own: tuple[Step, ...] = ()
    seen: Transform | None = None
    alias: str = ""
    roots: Ints | None = None

    @property
    def source(self) -> str:
        """The tensor to read the raw values from."""
        return self.alias or self.name

    @property
    def dtype(self) -> str:
        return self.passed[-1]

    def affine(self) -> Affine | None:
        """scale and shift at each position, in the shape of `index`; None where the transform is not affine."""
        whole = self.transform.affine()
        return None if whole is None else Affine(self.at(whole.scale, 1.0), self.at(whole.shift, 0.0))

    def at(self, features: Array, outside: float) -> Array:
        """A value per feature, placed at each position."""
        flat = np.broadcast_to(features, self.transform.shape).ravel()
        return np.asarray(np.where(self.index < 0, outside, flat[np.maximum(self.index, 0)]))


@dataclass(frozen=True, eq=False)
class Reach:
    """How large the numbers are, at each position, on the raw values a bound is for. All in scaled units.

    z: the scaled value. ax: scale times what the folded layer is fed. err: error of what it is fed. x: what it is fed,
    in its own units.
    """

    z: Array
    ax: Array
    err: Array
    x: Array


@dataclass(frozen=True, eq=False)
class Error:
    """A proven bound. worst: between the folded layer's outputs and the original's on rows scaled in float64. own: of
    the original's rounding errors alone. size: the largest output there can be."""

    worst: float
    own: float
    size: float

    @property
    def relative(self) -> float:
        return self.worst / self.size if self.size else float(self.worst > 0)

    @property
    def growth(self) -> float:
        """How many times the layer's own error bound, twice counted (the two are compared), the fold's is."""
        return self.worst / (2 * self.own) if self.own else float(self.worst > 0)


EXACT = Error(0.0, 0.0, 0.0)
Look = Callable[[str], Array | Refusal]
Load = Callable[[Any], Array]
"""The values of a tensor, or of an attribute's list that is a stub: see tensors.values."""


@dataclass(frozen=True, eq=False)
class Site:
    """A node that reads a carried tensor at one of its inputs.

    affine, reach: at each position of the carried tensor, in the shape of its index. constant: the values of an input
    by name, or why they are not to be had. follower: the Add that alone reads the node's output, with its constant
    operand's position, or None. opset: of the node's domain. load: the values of a tensor in an attribute.
    """

    node: onnx.NodeProto
    port: int
    carried: Carried
    affine: Affine
    reach: Reach
    constant: Look
    attributes: Mapping[str, Any]
    follower: tuple[onnx.NodeProto, int] | None
    opset: int
    load: Load

    def operand(self, position: int) -> Array | Refusal | None:
        """The values of an input; None where the node has none there."""
        name = self.node.input[position] if position < len(self.node.input) else ""
        return self.constant(name) if name else None


@dataclass(frozen=True, eq=False)
class Change:
    """What becomes of the node. operands: input position -> new values. attributes: name -> new value, None: removed.
    node: a whole new node in its place. after: values to add to its output. rescaled: an output and
    what to multiply it by. beside: new values of the follower's
    constant."""

    error: Error
    operands: Mapping[int, Array] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    node: onnx.NodeProto | None = None
    after: Array | None = None
    rescaled: tuple[int, Array] | None = None
    beside: Array | None = None


Absorber = Callable[[Site], Change | Refusal]


def vector(values: Array, axis: int) -> Array | Refusal:
    """Values at each position as a vector along `axis`; a Refusal where they change along another dimension."""
    axis %= values.ndim
    if any(d != 1 for i, d in enumerate(values.shape) if i != axis):
        return Refusal("the scaler changes along a dimension that the weights do not have")
    return values.reshape(-1)
