"""What may have been done to all of the data before it came: known functions of what the model knows.

Each hypothesis maps raw values to what would then arrive, so that the law of the training data, mapped, is the law to find. The
values come as (P, F): P of each column. A new hypothesis is one row of a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxscale.checking.reference import Reference
from onnxscale.step import Array
from onnxscale.transform import Transform

Function = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """verdict: the name of what was done (result.VERDICTS). function: from raw values (P, F) to what arrives. how: in
    words, with whose numbers."""

    verdict: str
    function: Function
    how: str


def _nonzero(values: Array) -> Array:
    return np.where(values > 0, values, 1.0)


def _plain(r: Reference) -> list[Hypothesis]:
    """The usual scalings, by the statistics of the training data."""
    std, width = _nonzero(r.std), _nonzero(r.high - r.low)
    low, middle, high = r.quartiles
    iqr = _nonzero(high - low)

    def z(x: Array) -> Array:
        return np.asarray((x - r.mean) / std)

    def unit(x: Array) -> Array:
        return np.asarray((x - r.low) / width)

    def robust(x: Array) -> Array:
        return np.asarray((x - middle) / iqr)

    rows = [
        Hypothesis("z-scored", z, "(x - mean) / std"),
        Hypothesis("min-maxed", unit, "(x - min) / (max - min)"),
        Hypothesis("minus-one-one", lambda x: 2 * unit(x) - 1, "2 (x - min) / (max - min) - 1"),
        Hypothesis("robust-scaled", robust, "(x - median) / interquartile range"),
        Hypothesis("twice", lambda x: z(z(x)), "(x - mean) / std, twice"),
        Hypothesis("twice", lambda x: unit(unit(x)), "(x - min) / (max - min), twice"),
        Hypothesis("twice", lambda x: robust(robust(x)), "(x - median) / interquartile range, twice"),
    ]
    return rows if r.measured else [h for h in rows if "median" not in h.how]


def _scales(r: Reference) -> list[Hypothesis]:
    del r
    return [
        Hypothesis("x255", lambda x: x * 255.0, "x * 255"),
        Hypothesis("/255", lambda x: x / 255.0, "x / 255"),
    ]


def _logs(r: Reference) -> list[Hypothesis]:
    """Logarithms where no value is negative; exponentials where none overflows."""
    found: list[Hypothesis] = []
    if r.low.min(initial=0.0) > -1 and r.measured:
        found.append(Hypothesis("log-taken", np.log1p, "log(1 + x)"))
    if r.low.min(initial=1.0) > 0 and r.measured:
        found += [
            Hypothesis("log-taken", np.log, "log(x)"),
            Hypothesis("log-taken", np.log10, "log10(x)"),
            Hypothesis("log-taken", np.log2, "log2(x)"),
        ]
    if r.high.max(initial=0.0) < 50 and r.measured:
        found += [
            Hypothesis("log-not-taken", np.exp, "exp(x)"),
            Hypothesis("log-not-taken", np.expm1, "exp(x) - 1"),
            Hypothesis("log-not-taken", lambda x: 10.0**x, "10 ** x"),
            Hypothesis("log-not-taken", np.exp2, "2 ** x"),
        ]
    return found


def _own(r: Reference) -> list[Hypothesis]:
    """The model's own scaler, once, twice, and its first steps alone."""
    t = r.scaler
    if t is None or not t.steps or not t.elementwise or t.reads or t.order is not None or t.inverse() is None:
        return []
    found = [
        Hypothesis("scaled", t, f"the model's own scaler: {t.prose()}"),
        Hypothesis("twice", lambda x: t(t(x)), f"the model's own scaler, twice: {t.prose()}"),
    ]
    for count in range(1, len(t.steps)):
        part = Transform(t.steps[:count])
        if part.inverse() is not None and part.slope() is not None:
            found.append(
                Hypothesis("half-scaled", part, f"the first {count} step(s) of the model's scaler: {part.prose()}")
            )
    if len(t.steps) > 2 and t.steps[0].op in ("Mul", "Div") and Transform(t.steps[:1]).shape == ():
        rest = Transform(t.steps[1:])
        found.append(Hypothesis("half-scaled", rest, f"the rescale before it was forgotten: {rest.prose()}"))
    return found


FAMILIES = (_plain, _scales, _logs, _own)


def hypotheses(reference: Reference) -> list[Hypothesis]:
    """All that can be asked of this reference."""
    return [h for family in FAMILIES for h in family(reference)]
