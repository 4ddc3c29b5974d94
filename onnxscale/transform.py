"""A `Transform`: steps in order. Composition is concatenation, identity is the empty transform.

`transform(x)` is the reference: float64, the source framework's own formula in its own order. Everything else in the
package (nodes, folds, records, prose) reads the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxscale.errors import StatisticsError, names
from onnxscale.step import IDENTITY, Affine, Array, Companion, Laid, Step
from onnxscale.steps import OPERATORS


@dataclass(frozen=True)
class Transform:
    """Steps in order, for tensors whose features lie at an axis given when it is applied."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        for step in self.steps:
            if step.op not in OPERATORS:
                raise StatisticsError(f"unknown step {step.op!r}; known are {names(OPERATORS)}")
        if any(OPERATORS[step.op].permutes(step) is not None for step in self.steps[1:]):
            raise StatisticsError("a step that puts dimensions in another order comes first, before every other step")

    def __call__(
        self, x: npt.ArrayLike, axis: int | None = None, dtype: npt.DTypeLike = np.float64,
        beside: Mapping[str, Array] | None = None,
    ) -> Array:  # fmt: skip
        """The transform of x, computed in `dtype` (float64 is the reference; float32 is what a plain host would do).

        axis: where the first dimension of the constants lies; by default they end at the last dimension. beside: what
        the model's other inputs are fed, for steps that read one. Raises StatisticsError where it is missing.
        """
        with np.errstate(all="ignore"):
            y = np.asarray(x).astype(dtype)
        place = Laid(y.ndim, -max(1, len(self.shape)) if axis is None else axis, dtype, beside or {})

        with np.errstate(all="ignore"):
            for step in self.steps:
                y = OPERATORS[step.op].evaluate(y, step, place)
        return np.asarray(y)

    def __or__(self, after: Transform) -> Transform:
        return Transform(self.steps + after.steps)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features that go in: () one value for all, (F,) per feature, (T, F) per timestep and feature.

        Raises StatisticsError where two steps are made for different widths.
        """
        return self._shapes()[0]

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of the features that come out: another than `shape` where a step drops, repeats or adds columns."""
        return self._shapes()[1]

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        first: tuple[int, ...] | None = None
        now: tuple[int, ...] = ()
        met: list[tuple[int, ...]] = []
        for step in self.steps:
            row = OPERATORS[step.op]
            met.append(row.shape(step))
            try:
                now = np.broadcast_shapes(now, met[-1])
            except ValueError:
                raise StatisticsError(f"the steps are made for different widths: {names(met)}") from None
            width = row.width(step)
            if width is not None and (width,) != now[-1:]:
                first, now, met = (now if first is None else first), (width,), [(width,)]
        return (now if first is None else first), now

    def affine(self) -> Affine | None:
        """The whole as one `scale * x + shift` in float64, or None where a step is not affine."""
        total = IDENTITY
        for step in self.steps:
            one = OPERATORS[step.op].affine(step)
            if one is None:
                return None
            total = total.then(one)
        return Affine(*np.broadcast_arrays(total.scale, total.shift))

    def inverse(self) -> Transform | None:
        """The steps that undo this one where it can be undone, or None where a step has no inverse."""
        undone: list[Step] = []
        for step in reversed(self.steps):
            one = OPERATORS[step.op].inverse(step)
            if one is None:
                return None
            undone.extend(one)
        return Transform(tuple(undone))

    def slope(self) -> Array | None:
        """Per feature +1 where the whole rises, -1 where it falls, 0 where it is constant; None: not monotone."""
        total: Array = np.ones(())
        for step in self.steps:
            one = OPERATORS[step.op].slope(step)
            if one is None:
                return None
            total = total * one
        return total

    @property
    def reads(self) -> tuple[Companion, ...]:
        """The model's other inputs that steps need, each once."""
        found = (OPERATORS[step.op].reads(step) for step in self.steps)
        return tuple({c.name: c for c in found if c is not None}.values())

    @property
    def order(self) -> tuple[int, ...] | None:
        """The order in which the first step puts the dimensions of the raw tensor (NHWC to NCHW is 0, 3, 1, 2), or None."""
        return OPERATORS[self.steps[0].op].permutes(self.steps[0]) if self.steps else None

    @property
    def elementwise(self) -> bool:
        """True where each value depends on nothing but itself."""
        return all(OPERATORS[step.op].elementwise for step in self.steps)

    @property
    def continuous(self) -> bool:
        """False where a step jumps (rounding, binning)."""
        return all(OPERATORS[step.op].continuous for step in self.steps)

    def prose(self) -> str:
        """The transform in words, in order."""
        return ", then ".join(OPERATORS[s.op].prose(s) for s in self.steps) or "nothing (identity)"

    def to_json(self) -> list[dict[str, Any]]:
        """Steps as JSON values; every float64 reads back bit-equal."""
        return [
            {
                "op": s.op,
                "operands": [encode(v) for v in s.operands],
                **({"options": dict(s.options)} if s.options else {}),
            }
            for s in self.steps
        ]

    @staticmethod
    def from_json(content: object) -> Transform:
        """The reverse of `to_json`. Raises StatisticsError naming the place where the content is not that."""
        if not isinstance(content, list):
            raise StatisticsError(f"steps: expected a list, got {type(content).__name__}")
        return Transform(tuple(_step(item, f"steps[{i}]") for i, item in enumerate(content)))


def _step(item: object, where: str) -> Step:
    if not isinstance(item, Mapping) or not isinstance(item.get("op"), str):
        raise StatisticsError(f"{where}: expected an object with an 'op', got {str(item)[:80]}")
    operands = item.get("operands", [])
    options = item.get("options", {})
    if not isinstance(operands, list) or not isinstance(options, Mapping):
        raise StatisticsError(f"{where}: 'operands' must be a list and 'options' an object")
    step = Step(item["op"], tuple(decode(v, f"{where}.operands[{i}]") for i, v in enumerate(operands)), dict(options))
    row = OPERATORS.get(step.op)
    try:
        if row is not None:
            row.shape(step), row.prose(step), row.width(step)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        given = f"{len(operands)} operand(s) and the options {sorted(map(str, options))}"
        raise StatisticsError(f"{where}: {given} are not what {step.op!r} takes") from None
    return step


_SPELLED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(values: Array) -> Any:
    """An array as nested lists of JSON values; what JSON has no number for is spelled 'nan', 'inf', '-inf'."""
    if values.ndim:
        return values.tolist() if np.isfinite(values).all() else [encode(row) for row in values]
    number = float(values)
    return number if math.isfinite(number) else str(number)


def decode(content: object, where: str) -> Array:
    """The reverse of `encode`."""

    def number(item: object) -> object:
        if isinstance(item, list):
            return [number(i) for i in item]
        if isinstance(item, str) and item in _SPELLED:
            return _SPELLED[item]
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise StatisticsError(f"{where}: expected a number, got {item!r}")
        return float(item)

    try:
        return np.array(number(content), dtype=np.float64)
    except ValueError:
        raise StatisticsError(f"{where}: the rows have different lengths") from None
