"""What each reader of a scaled tensor takes of the scaler: all, the scale only, or nothing, and why.

The absorber of the operator says what it can do; the bound says whether it may. A reader that takes the scale only is
fed x - m, m = t^-1(0), in one Sub, or in two where m does not fit into one float: (x - hi) - lo has a relative error of
at most two roundings, for if x - hi is not exact (Sterbenz), it is larger than hi / 2 and lo does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from onnxscale import graph
from onnxscale.folding import bound, composing
from onnxscale.folding.base import Absorber, Carried, Change, Error, Load, Reach, Refusal, Site, tried
from onnxscale.folding.lookups import Known, attributes, kind
from onnxscale.folding.walk import Leaf, Trail
from onnxscale.precision import UNIT
from onnxscale.step import Affine, Array
from onnxscale.transform import Transform

Table = Mapping[tuple[str, str], Absorber]


@dataclass(frozen=True)
class Absorption:
    """One reader of the scaled tensor. node: in words. taken: "all", "scale" or "nothing". reason: why not more. error:
    the proven bound on the rows it is for, None where nothing is folded. tensor: the output that the bound is of, ""
    where the reader is no node of the model."""

    node: str
    taken: str
    reason: str = ""
    error: Error | None = None
    tensor: str = ""

    @property
    def bound(self) -> float | None:
        """Relative to the layer's largest output; 0: exact."""
        return None if self.error is None else self.error.relative


@dataclass(frozen=True, eq=False)
class Verdict:
    """A leaf and what becomes of it. subtract: the parts of m that stand before it, highest first."""

    leaf: Leaf
    absorption: Absorption
    change: Change | None = None
    subtract: tuple[Array, ...] = ()
    follower: tuple[onnx.NodeProto, int] | None = None


@dataclass(frozen=True, eq=False)
class Judge:
    """What the verdicts of one fold have in common. span: of raw values per feature, or None for |t(x)| <= 6.
    shape: of the scaler's features."""

    proto: onnx.ModelProto
    known: Known
    affine: Table
    monotone: Table
    tolerance: float | None
    span: tuple[Array, Array] | None
    shape: tuple[int, ...]
    load: Load

    def verdict(self, trail: Trail, leaf: Leaf) -> Verdict:
        """What the leaf takes."""
        what = graph.Reader(leaf.node, "").prose()
        if leaf.captured or len(leaf.ports) != 1:
            inside = "reads it inside its branches" if leaf.captured else "reads it more than once"
            return Verdict(leaf, Absorption(what, "nothing", inside))
        carried = trail.carried[leaf.sources[0]]
        key = kind(leaf.node)
        absorber = self.monotone.get(key) or self.affine.get(key)
        if absorber is None:
            return Verdict(leaf, Absorption(what, "nothing", leaf.reason or f"{leaf.node.op_type} is not linear"))
        affine = carried.affine()
        if key in self.monotone:
            site = self._site(leaf, carried, affine or _NONE, _reach(_NONE))
            return self._settled(leaf, what, site, tried(absorber, site))
        if affine is None:
            return Verdict(leaf, Absorption(what, "nothing", "the scaler is not affine"))
        if not (np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all()):
            return Verdict(leaf, Absorption(what, "nothing", "the scaler is not finite"))
        return self._affine(leaf, what, carried, affine, absorber)

    def _affine(self, leaf: Leaf, what: str, carried: Carried, affine: Affine, absorber: Absorber) -> Verdict:
        span = self._span(carried, affine)
        narrow = _narrowed(carried)
        noise = composing.noise(carried, span)
        site = self._site(leaf, carried, affine, _noisy(bound.whole(affine, span, narrow), noise))
        first = _entered(tried(absorber, site), carried)
        if not isinstance(first, Refusal) and self._within(first.error):
            return self._settled(leaf, what, site, first)
        why = first.reason if isinstance(first, Refusal) else self._too_far(first.error)
        if not affine.shift.any() or (affine.scale == 1).all():
            return Verdict(leaf, Absorption(what, "nothing", why))
        flat = affine.scale == 0
        unit = UNIT.get(carried.dtype, 1.0)
        zero = np.where(flat, 0.0, _zero(carried, affine))
        rest = Affine(affine.scale, np.where(flat, affine.shift, 0.0))
        parts = _parts(zero, carried.dtype)
        if any(not np.isfinite(p).all() for p in parts):
            return Verdict(leaf, Absorption(what, "nothing", f"the mean does not fit into {carried.dtype}"))
        if len(parts) > 1 and (np.abs(affine.scale * parts[1])).max() <= bound.DROPPED * unit:
            parts = parts[:1]
        lost = np.abs(zero - sum(parts)) + np.abs(zero) * (0.0 if _subtracts_first(carried.transform) else bound.SLACK)
        reach = bound.moved(affine, span, lost, unit, len(parts), narrow)
        site = self._site(leaf, carried, rest, _noisy(reach, noise))
        second = _entered(tried(absorber, site), carried)
        if not isinstance(second, Refusal) and self._within(second.error):
            return replace(self._settled(leaf, what, site, second, "scale", why), subtract=parts)
        last = (
            second.reason
            if isinstance(second, Refusal)
            else f"{why}; with the shift outside, {self._too_far(second.error)}"
        )
        return Verdict(leaf, Absorption(what, "nothing", last))

    def _settled(
        self, leaf: Leaf, what: str, site: Site, made: Change | Refusal, taken: str = "all", why: str = ""
    ) -> Verdict:
        if isinstance(made, Refusal):
            return Verdict(leaf, Absorption(what, "nothing", made.reason))
        last = leaf.node if made.beside is None or site.follower is None else site.follower[0]
        shown = "" if leaf.node.op_type in GATED else next((o for o in last.output if o), "")
        absorption = Absorption(what, taken, why, made.error, shown)
        return Verdict(leaf, absorption, made, follower=site.follower)

    def _within(self, error: Error) -> bool:
        if not np.isfinite(error.worst):
            return False
        return error.growth <= bound.GROWTH if self.tolerance is None else error.relative <= self.tolerance

    def _too_far(self, error: Error) -> str:
        if not np.isfinite(error.worst):
            return "no bound holds"
        if self.tolerance is None:
            return f"the bound would be {error.growth:.2g} times the layer's own ({error.relative:.2g} of its output)"
        return f"the bound would be {error.relative:.2g} of the layer's output, the tolerance is {self.tolerance:.2g}"

    def composed(self, carried: Carried) -> Error:
        """The bound of composed nodes after this tensor."""
        affine = carried.affine()
        assert affine is not None
        return composing.composed_error(carried, self._span(carried, affine))

    def _span(self, carried: Carried, affine: Affine) -> bound.Range:
        usual = bound.usual(composing.scaler(carried) or affine)
        if self.span is None:
            return usual
        low, high = (self._root(carried, v) for v in self.span)
        bad = ~(np.isfinite(low) & np.isfinite(high))
        return bound.Range(np.where(bad, usual.low, low), np.where(bad, usual.high, high))

    def _root(self, carried: Carried, values: Array) -> Array:
        """A raw value per feature of the scaler, at each position; NaN where the scaler does not reach."""
        flat = np.broadcast_to(values, self.shape).ravel()
        index = carried.index if carried.roots is None else carried.roots[np.maximum(carried.index, 0)]
        return np.asarray(np.where((index < 0) | (carried.index < 0), np.nan, flat[np.maximum(index, 0)]))

    def _site(self, leaf: Leaf, carried: Carried, affine: Affine, reach: Reach) -> Site:
        node = leaf.node
        version = graph.opset(self.proto, kind(node)[0]) or 1
        said: dict[str, Any] = {} if kind(node) in self.monotone else attributes(node)  # trees read millions by numpy
        return Site(
            node, leaf.ports[0], carried, affine, reach, self.known.constant, said, self._follower(node), version, self.load
        )  # fmt: skip

    def _follower(self, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
        if node.op_type not in ("MatMul", "Einsum"):
            return None
        out = node.output[0]
        readers = list(graph.readers(self.proto.graph, out))
        if len(readers) != 1 or readers[0].where or any(o.name == out for o in self.proto.graph.output):
            return None
        add = readers[0].node
        if kind(add) != ("", "Add") or list(add.input).count(out) != 1:
            return None
        at = 1 - list(add.input).index(out)
        return None if isinstance(self.known.constant(add.input[at]), Refusal) else (add, at)


_NONE = Affine(np.ones(()), np.zeros(()))


def _reach(affine: Affine) -> Reach:
    return Reach(affine.scale, affine.scale, affine.shift, affine.scale)


def _noisy(reach: Reach, noise: Array) -> Reach:
    return replace(reach, err=reach.err + noise)


def _narrowed(carried: Carried) -> float:
    """The unit of the narrowest Cast that rounds raw values, or 0."""
    units = [UNIT.get(d, 1.0) for d in carried.passed]
    return max(units) if max(units) > units[0] else 0.0


GATED = ("LSTM", "GRU", "RNN")  # their bound is on what enters the gates, which no output shows


def _entered(made: Change | Refusal, carried: Carried) -> Change | Refusal:
    """With what the original rounds itself where its input is of a narrower type than the layer."""
    unit = UNIT.get(carried.passed[0], 1.0)
    if isinstance(made, Refusal) or unit <= UNIT.get(carried.dtype, 1.0):
        return made
    return replace(made, error=replace(made.error, own=made.error.own + unit * made.error.size))


def _zero(carried: Carried, affine: Affine) -> Array:
    """The raw value that the scaler maps to zero, at each position: its own inverse of 0 where it has one."""
    inverse: Transform | None = carried.transform.inverse()
    shape = carried.transform.shape
    with np.errstate(all="ignore"):
        zero = -affine.shift / np.where(affine.scale == 0, 1.0, affine.scale)
        if inverse is not None:
            exact = carried.at(inverse(np.zeros(shape or (1,)), -len(shape) or -1).reshape(shape), 0.0)
            zero = np.where(np.isfinite(exact), exact, zero)
    return zero


def _subtracts_first(transform: Transform) -> bool:
    """Whether the scaler is (x - m) times something: then x - m is the very number that the reference computes."""
    ops = [s.op for s in transform.steps]
    return ops[:1] in (["Sub"], ["Add"]) and set(ops[1:]) <= {"Mul", "Div"}


def _parts(zero: Array, dtype: str) -> tuple[Array, ...]:
    """m as a sum of at most two floats, the larger first."""
    parts: list[Array] = []
    rest = zero
    for _ in range(2):
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for the type is refused by who asked
            part = rest.astype(dtype).astype(np.float64)
            rest = rest - part
        if part.any():
            parts.append(part)
    return tuple(parts)
