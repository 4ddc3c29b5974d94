"""Tables, and what goes wrong between a table and a model: what benchmarks/checking.py and its tests are made of.

TUNED are the four tables that the rules of `check` were tuned on; OTHERS were only ever measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.step import Array

TUNED = ("diabetes", "wine", "breast_cancer", "digits")
OTHERS = ("iris", "linnerud", "housing", "lognormal", "counts", "bimodal", "zeros", "heavy", "codes", "sensors")
GLOBAL = ("z-scored", "min-maxed", "twice", "x255", "/255")
LOCAL = ("permuted", "exchanged", "unit")
CLEAN = ("clean", "conditioned", "shifted")
HARM = 0.5


@dataclass(frozen=True, eq=False)
class Table:
    """rows: float64 (N, F); target: N numbers; `conditioned` takes the rows above their mean."""

    rows: Array
    target: Array


def table(name: str) -> Table:
    """A table by name, always the same."""
    from sklearn import datasets

    if name in (*TUNED, "iris"):
        raw = {"scaled": False} if name == "diabetes" else {}
        held: Any = getattr(datasets, f"load_{name}")(**raw)
        return Table(np.asarray(held.data, np.float64), np.asarray(held.target, np.float64))
    if name == "linnerud":  # 20 rows are too few to halve: bodies drawn around them, the six columns together
        held = datasets.load_linnerud()
        rows = np.hstack([held.data, held.target])
        draw = np.random.default_rng(7)
        grown = rows[draw.integers(0, 20, 800)] + draw.normal(0, 0.35 * rows.std(0), (800, 6))
        grown = np.round(np.maximum(grown, 1))
        return Table(grown, grown[:, 3])
    return _made(name)


def _made(name: str) -> Table:
    draw = np.random.default_rng(sorted(OTHERS).index(name))
    n, f = 4000, 12
    hidden = draw.normal(size=(n, 3))
    mixed = hidden @ draw.normal(size=(3, f)) * 0.6 + draw.normal(size=(n, f))
    mixed /= mixed.std(0)
    size = 10.0 ** draw.uniform(-2, 4, f)
    kinds: dict[str, Callable[[], Array]] = {
        "housing": lambda: _housing(draw, n),
        "lognormal": lambda: np.exp(mixed * draw.uniform(0.3, 1.2, f) + np.log(size)),
        "counts": lambda: draw.poisson(np.exp(np.clip(mixed * 0.5 + draw.uniform(-1, 4, f), -4, 9))).astype(np.float64),
        "bimodal": lambda: size * (mixed + draw.uniform(2, 6, f) * (hidden[:, :1] + draw.normal(0, 0.5, (n, f)) > 0.3)),
        "zeros": lambda: np.where(draw.random((n, f)) < draw.uniform(0.3, 0.75, f), 0.0, size * np.exp(mixed * 0.7)),
        "heavy": lambda: size * (draw.uniform(-3, 3, f) + mixed / np.sqrt(draw.chisquare(2.5, (n, 1)) / 2.5)),
        "codes": lambda: np.floor(draw.uniform(2, 40, f) * (0.5 + 0.5 * np.tanh(mixed)) ** draw.uniform(0.5, 2, f)),
        "sensors": lambda: draw.uniform(-50, 900, f) + draw.uniform(0.5, 30, f) * mixed,
    }
    rows = kinds[name]()
    return Table(rows, mixed[:, 0] + draw.normal(0, 0.5, n))


def _housing(draw: np.random.Generator, n: int) -> Array:
    """Eight columns as in the Californian census: income, age, rooms, bedrooms, people, household, latitude, longitude."""
    income = np.clip(draw.lognormal(1.25, 0.45, n), 0.5, 15)
    age = np.minimum(np.round(draw.gamma(5, 6, n)), 52)
    rooms = 4.2 + 0.35 * income + draw.gamma(2, 0.4, n)
    bedrooms = 1 + draw.gamma(1.2, 0.06, n)
    people = np.round(draw.lognormal(7.05, 0.72, n))
    household = 1.6 + draw.gamma(5, 0.28, n)
    north = draw.random(n) < 0.42
    latitude = np.where(north, draw.normal(37.9, 0.8, n), draw.normal(34.0, 0.5, n))
    longitude = np.where(north, draw.normal(-121.8, 0.9, n), draw.normal(-118.0, 0.7, n))
    return np.column_stack([income, age, rooms, bedrooms, people, household, latitude, longitude])


@dataclass(frozen=True, eq=False)
class Trained:
    """mean, std, min, max of the training rows, (F,)."""

    mean: Array
    std: Array
    low: Array
    high: Array

    @staticmethod
    def of(rows: Array) -> Trained:
        return Trained(rows.mean(0), rows.std(0), rows.min(0), rows.max(0))

    def scaled(self, x: Array) -> Array:
        std = np.where(self.std > 0, self.std, 1.0)
        return np.asarray((x - self.mean) / std)

    def unit(self, x: Array) -> Array:
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        return np.asarray((x - self.low) / width)


def harmful(t: Trained) -> list[tuple[int, int]]:
    """Pairs whose exchange moves the mean of a column by more than HARM of the larger sigma, or its spread by a factor exp(HARM)."""
    pairs = []
    for j in range(t.mean.size):
        for k in range(j + 1, t.mean.size):
            wide, thin = max(t.std[j], t.std[k]), min(t.std[j], t.std[k])
            if thin > 0 and (abs(t.mean[j] - t.mean[k]) > HARM * wide or np.log(wide / thin) > HARM):
                pairs.append((j, k))
    return pairs


def spoiled(kind: str, x: Array, t: Trained, draw: np.random.Generator) -> Array:
    """The sample as a pipeline with this fault gives it. `unit` takes a column that is something in a fifth of the rows."""
    f = x.shape[1]
    if kind == "z-scored":
        return t.scaled(x)
    if kind == "min-maxed":
        return t.unit(x)
    if kind == "twice":
        return t.scaled(t.scaled(x))
    if kind in ("x255", "/255"):
        return x * 255.0 if kind == "x255" else x / 255.0
    if kind == "permuted":
        while True:
            order = draw.permutation(f)
            if (order != np.arange(f)).sum() >= min(f, max(3, f // 2)):
                return np.asarray(x[:, order])
    if kind == "exchanged":
        pairs = harmful(t)
        j, k = pairs[draw.integers(len(pairs))]
        x = x.copy()
        x[:, [j, k]] = x[:, [k, j]]
        return x
    if kind == "unit":
        fit = np.flatnonzero(((x != 0).mean(0) > 0.2) & (t.std > 0))
        x = x.copy()
        x[:, draw.choice(fit)] *= draw.choice([1000.0, 0.001])
        return x
    if kind == "shifted":
        return np.asarray(x + draw.normal(0, 0.3, f) * t.std)
    return x


def parted(held: Table, halves: bool, draw: np.random.Generator) -> tuple[Array, Array]:
    """Numbers of the training rows, and of those that samples are drawn from. halves: two random halves; else 10,000 rows drawn from
    all, and all."""
    count = len(held.rows)
    if not halves:
        return draw.integers(0, count, 10_000), np.arange(count)
    order = draw.permutation(count)
    return order[: count // 2], order[count // 2 :]


def taken(
    held: Table, rest: Array, kind: str, n: int, halves: bool, trained: Trained, draw: np.random.Generator
) -> Array | None:
    """A sample of n rows with a fault, of two halves without replacement; None where there are too few rows."""
    if kind == "conditioned":
        rest = rest[held.target[rest] > held.target.mean()]
    if halves and len(rest) < n:
        return None
    return spoiled(kind, held.rows[draw.choice(rest, n, replace=not halves)], trained, draw)


def drawn(held: Table, kind: str, n: int, halves: bool, draw: np.random.Generator) -> tuple[Array, Array] | None:
    """Training rows and a sample with a fault, or None where there are too few rows."""
    train, rest = parted(held, halves, draw)
    reference = held.rows[train]
    got = taken(held, rest, kind, n, halves, Trained.of(reference), draw)
    return None if got is None else (reference, got)
