"""A known function on some of the columns: a unit, a logarithm, a sign. The others stay as they are.

A column is said to have been through a function if the cells of the training data are far likelier so, if the data fits them well when
the function is undone, and if the columns that nothing was done to are quiet: where all is drifting, no factor is read into it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxscale.checking import laws
from onnxscale.checking.fit import Fit
from onnxscale.checking.laws import Cells, Law
from onnxscale.checking.reference import Reference
from onnxscale.checking.sample import Sample
from onnxscale.step import Array

Function = Callable[[Array], Array]
THRESHOLD = 7.0  # nats, of one function on one column
NEAR_ONE = 4.0  # factors up to this can look like drift and need twice the evidence
FITS, FITS_NEAR = 6.0, 3.0  # how much worse than the quiet columns a column may fit afterwards
# Distance of the two readings that no drift is taken to cover, beside the values that both share.
FAR, FAR_NEAR = 0.5, 0.65
DRIFTS = 4.0  # sigmas up to which a column that only moved has drifted
SUSPECTED = 4.0  # strain from which a column is looked at
MOST = 256


@dataclass(frozen=True, eq=False)
class Unit:
    """verdict: unit, log-taken or log-not-taken. words: what was done. size: the factor, or 0."""

    verdict: str
    words: str
    function: Function
    size: float = 0.0


def _times(factor: float, words: str) -> list[Unit]:
    return [
        Unit("unit", f"{words.format('times')} {factor:g}", lambda x: x * factor, factor),
        Unit("unit", f"{words.format('divided by')} {factor:g}", lambda x: x / factor, factor),
    ]


_FACTORS = (
    (10.0, "{}"), (100.0, "{}"), (1000.0, "{}"), (1e4, "{}"), (1e5, "{}"), (1e6, "{}"), (1e9, "{}"),
    (60.0, "{} (minutes, seconds)"), (3600.0, "{} (hours, seconds)"), (24.0, "{} (days, hours)"), (86400.0, "{} (days, seconds)"),
    (2.54, "{} (inches, centimetres)"), (25.4, "{} (inches, millimetres)"), (3.28084, "{} (metres, feet)"),
    (1.609344, "{} (miles, kilometres)"), (2.204623, "{} (kilograms, pounds)"), (3.6, "{} (m/s, km/h)"), (255.0, "{}"),
    (57.29578, "{} (radians, degrees)"), (1024.0, "{}"), (1048576.0, "{}"), (4.184, "{} (calories, joules)"),
    (6.894757, "{} (psi, kilopascals)"), (28.34952, "{} (ounces, grams)"), (0.2641720, "{} (litres, gallons)"),
)  # fmt: skip
UNITS: tuple[Unit, ...] = (
    *(unit for factor, words in _FACTORS for unit in _times(factor, words)),
    Unit("unit", "with the sign turned", lambda x: -x),
    Unit("unit", "in Fahrenheit for Celsius", lambda x: 1.8 * x + 32.0),
    Unit("unit", "in Celsius for Fahrenheit", lambda x: (x - 32.0) / 1.8),
    Unit("unit", "in Kelvin for Celsius", lambda x: x + 273.15),
    Unit("unit", "in Celsius for Kelvin", lambda x: x - 273.15),
    Unit("log-taken", "as log(1 + x)", np.log1p),
    Unit("log-taken", "as log(x)", np.log),
    Unit("log-taken", "as log10(x)", np.log10),
    Unit("log-not-taken", "as exp(x)", np.exp),
    Unit("log-not-taken", "as exp(x) - 1", np.expm1),
    Unit("log-not-taken", "as 10 ** x", lambda x: 10.0**x),
)


@dataclass(frozen=True, eq=False)
class Converted:
    """column: its index. gain: nats. after: squared distance to what chance would do, per cell, once undone."""

    column: int
    unit: Unit
    gain: float
    strain: float
    far: float


def converted(reference: Reference, sample: Sample, fit: Fit) -> tuple[list[Converted], float]:
    """The columns that went through a known function, and how the others fit; [] where none did."""
    looked = np.flatnonzero((np.nan_to_num(fit.strain) > SUSPECTED) & reference.varied)
    looked = looked[np.argsort(-fit.strain[looked], kind="stable")[:MOST]]
    found = [c for j in looked.tolist() if (c := _best(reference, sample, fit, j)) is not None]
    need = THRESHOLD + float(np.log(max(reference.width, 1)))
    found = [c for c in found if _convincing(c, need, 1.0)]
    strain = fit.strain.copy()
    for c in found:
        strain[c.column] = c.strain
    known = np.isfinite(strain)
    ease = max(1.0, float(strain[known].mean())) if known.any() else 1.0
    return [c for c in found if _convincing(c, need, ease)], ease


def _convincing(c: Converted, need: float, ease: float) -> bool:
    near = c.unit.verdict == "unit" and c.unit.size <= NEAR_ONE
    fits, far = (FITS_NEAR, FAR_NEAR) if near else (FITS, FAR)
    return c.gain > need * (2.0 if near else 1.0) * ease**3 and c.strain < fits * ease and c.far > far


def _best(reference: Reference, sample: Sample, fit: Fit, j: int) -> Converted | None:
    """The function under which column j fits best."""
    cells, law = reference.cells, reference.law.take(np.array([j]))
    own = Cells(
        cells.edges[j : j + 1],
        cells.mass[j : j + 1],
        cells.scores[:, j : j + 1],
        cells.prior[j : j + 1],
        cells.rows[j : j + 1],
    )
    values = sample.ordered[: int(sample.kept[j]), j]
    best: tuple[float, Converted] | None = None
    as_drift = _shifted(reference, values, own, fit, j)
    for unit in UNITS:
        mapped = law.mapped(unit.function)
        if not np.isfinite(mapped.points).all() or not (np.diff(mapped.points[0]) >= 0).all():
            continue
        mass = own.masses(mapped.at(0, own.edges[0])[None])[0]
        gain = float((fit.counts[j] * np.log(mass / own.mass[0])).sum())
        if gain < THRESHOLD:
            continue
        edges = np.sort(unit.function(own.edges[0]))
        falls = bool(unit.function(own.edges[0, -1:])[0] < unit.function(own.edges[0, :1])[0])
        counts = _counts(values, edges, fit.rows[j])
        expected = own.mass[0][::-1] if falls else own.mass[0]
        misfit = _misfit(counts, expected, fit.rows[j], own)
        scores = own.scores[:, 0, ::-1] if falls else own.scores[:, 0]
        noise = np.sqrt(max(fit.rows[j] * (1 + fit.rows[j] / float(own.rows[0, 0])), 1e-9))
        z = np.minimum(np.abs(scores @ counts) / noise, 5.0)
        strain = float((z**2).mean())
        if best is None or misfit < best[0]:
            best = (misfit, Converted(j, unit, gain, strain, _apart(law, mapped)))
    return None if best is None or best[0] > as_drift else best[1]


def _counts(values: Array, edges: Array, rows: float) -> Array:
    """In the cells between the edges, of so many rows."""
    share = np.searchsorted(values, edges, side="right") / max(values.size, 1)
    return np.asarray(np.diff(share, prepend=0.0, append=1.0) * rows)


def _misfit(counts: Array, expected: Array, rows: float, own: Cells) -> float:
    """Deviance of the counts in the cells from what is expected."""
    with np.errstate(all="ignore"):
        parts = np.where(counts > 0, counts * np.log(counts / (rows * expected)), 0.0)
    return 2 * float(parts.sum()) / (1 + rows / float(own.rows[0, 0]))


def _shifted(reference: Reference, values: Array, own: Cells, fit: Fit, j: int) -> float:
    """The misfit of the column once it is moved back to its middle: what a function must beat, unless drift does not go so far."""
    if not values.size:
        return np.inf
    by = float(np.median(values)) - float(reference.quartiles[1, j])
    if abs(by) > DRIFTS * float(reference.std[j]):
        return np.inf
    return _misfit(_counts(values - by, own.edges[0], fit.rows[j]), own.mass[0], fit.rows[j], own)


def _apart(raw: Law, mapped: Law) -> float:
    """Distance of a column's law from itself after a function, beside the mass of zero, which factors leave."""
    near = 1e-5 * float(np.abs(raw.points).max())
    held = float(raw.at(0, np.array([near]))[0] - raw.at(0, np.array([-near]))[0])
    return float(laws.between(raw, mapped)[0]) / max(1.0 - min(held, 0.95), 0.05)
