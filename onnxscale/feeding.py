"""Feeds for a model: raw rows for the scaled inputs, plausible values for the others, shapes that the model accepts.

Shapes that an exporter left open are found by trying: the original model must run on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import onnx

from onnxscale import graph, samples, walk
from onnxscale.graph import InputSpec
from onnxscale.plans import Placement
from onnxscale.samples import Family, Range
from onnxscale.step import Array, Companion

SIZES = (8, 32, 64, 5, 1, 224, 3, 512, 576, 16, 160, 16000)
INTEGERS = (1, 0, 16000)
ELEMENTS = 200_000
GOLDEN = "golden rows"
MOST_ROWS, MOST_RUNS, TRIES = 512, 24, 96
ANYTHING = ("", "?", "None", "unk", "-1")  # names that exporters give to dimensions they know nothing of


@dataclass(frozen=True, eq=False)
class Feed:
    """Raw arrays by input name. ordinary: see samples.Family."""

    label: str
    raw: Mapping[str, Array]
    ordinary: bool = True


@dataclass(frozen=True)
class Shape:
    """One way to fill the open dimensions. sizes: symbol -> size. integer: the value of integer inputs.
    rows: how many rows a feed must have, None where that is free."""

    sizes: Mapping[str, int]
    integer: int
    rows: int | None = None


@dataclass(frozen=True, eq=False)
class Feeder:
    """What is known of a model's inputs. placed: scaler placements by input name. words: strings the model knows.
    companions: inputs that a scaler reads beside its own, each with the name of that one."""

    inputs: Sequence[InputSpec]
    placed: Mapping[str, Placement]
    ranges: Mapping[str, Range]
    words: Sequence[str]
    numbers: Sequence[int]
    companions: Mapping[str, tuple[Companion, str]] = field(default_factory=dict)

    def symbol(self, spec: InputSpec, i: int) -> str | None:
        """The name of an open dimension, None for one of known size."""
        assert spec.shape is not None
        d = spec.shape[i]
        if isinstance(d, int):
            return None
        return d if d and d not in ANYTHING else "batch" if i == 0 else f"{spec.name}[{i}]"

    def batches(self) -> set[str]:
        """Symbols of the dimensions that count rows."""
        return {s for spec in self.inputs if self._has_rows(spec) and (s := self.symbol(spec, 0))}

    def fixed_batch(self) -> int | None:
        """The number of rows that the model insists on, None where it is free; 1 where there is no row dimension."""
        first = self.inputs[0] if not self.placed else next(s for s in self.inputs if s.name in self.placed)
        if not self._has_rows(first):
            return 1
        assert first.shape is not None
        return first.shape[0] if isinstance(first.shape[0], int) else None

    def _has_rows(self, spec: InputSpec) -> bool:
        if not spec.shape:
            return False
        p = self.placed.get(spec.name)
        return p is None or not p.transform.shape or p.axis % len(spec.shape) > 0

    def shapes(self) -> Iterator[Shape]:
        """Ways to fill the open dimensions, the likeliest first."""
        symbols = {
            s for spec in self.inputs if spec.shape for i in range(len(spec.shape)) if (s := self.symbol(spec, i))
        }
        open_ = sorted(symbols - self.batches() - set(self._feature_sizes()))
        ours = {
            s
            for spec in self.inputs
            if spec.shape and spec.name in self.placed
            for i in range(len(spec.shape))
            if (s := self.symbol(spec, i))
        }
        states = [s for s in open_ if s not in ours]  # dimensions of the other inputs may count rows without saying so
        integers = INTEGERS if any(s.dtype.startswith(("int", "uint")) for s in self.inputs) else INTEGERS[:1]
        fixed = self.fixed_batch()
        for rows, size, integer in product(
            (2, 1) if fixed is None else (fixed,), SIZES if open_ else SIZES[:1], integers
        ):
            only = rows if fixed is not None or rows == 1 else None
            for others in (size, rows) if states and size != rows else (size,):
                sizes = {**dict.fromkeys(open_, size), **dict.fromkeys(states, others), **self._feature_sizes()}
                yield Shape(sizes, integer, rows if others != size else only)

    def _feature_sizes(self) -> dict[str, int]:
        sizes = {}
        for spec in self.inputs:
            p = self.placed.get(spec.name)
            if p is not None and p.spec.shape:
                for i, size in enumerate(p.transform.result):  # the model's own sizes, which other inputs may share
                    symbol = self.symbol(p.spec, p.axis % len(p.spec.shape) + i)
                    if symbol:
                        sizes[symbol] = size
        return sizes

    def dims(self, spec: InputSpec, shape: Shape) -> tuple[int, ...]:
        """The dimensions of an input after the row dimension."""
        if spec.shape is None:
            p = self.placed.get(spec.name)
            return (p.transform.shape + (8,) * (-p.axis - len(p.transform.shape))) if p else ()
        start = 1 if self._has_rows(spec) else 0
        found = []
        for i in range(start, len(spec.shape)):
            d = spec.shape[i]
            found.append(d if isinstance(d, int) else shape.sizes.get(self.symbol(spec, i) or "", 1))
        return tuple(found)

    def feed(self, label: str, rows: int, raw: Mapping[str, Array], shape: Shape, rng: np.random.Generator) -> Feed:
        """A feed of `rows` rows: `raw` for the scaled inputs, made-up values for the others."""
        arrays = {}
        for spec in self.inputs:
            if spec.name in raw:
                arrays[spec.name] = raw[spec.name] if self._has_rows(spec) or spec.shape is None else raw[spec.name][0]
                continue
            at_rows = (rows,) if self._has_rows(spec) and self.symbol(spec, 0) in self.batches() else ()
            if self._has_rows(spec) and not at_rows:
                assert spec.shape is not None and isinstance(spec.shape[0], int)
                at_rows = (spec.shape[0],)
            companion = self.companions.get(spec.name)
            if companion is not None and companion[1] in raw:
                arrays[spec.name] = _drawn(companion[0], spec, arrays.get(companion[1], raw[companion[1]]), rng)
                continue
            arrays[spec.name] = self._other(spec, at_rows + self.dims(spec, shape), shape.integer, rng)
        return Feed(label, arrays)

    def _other(self, spec: InputSpec, dims: tuple[int, ...], integer: int, rng: np.random.Generator) -> Array:
        if spec.dtype == "string":
            return np.asarray(rng.choice(np.array(list(self.words) or ["a"], dtype=object), dims), dtype=object)
        if spec.dtype == "bool":
            return np.asarray(rng.random(dims) < 0.5)
        if spec.dtype in graph.FLOATS:
            return np.asarray(rng.standard_normal(dims)).astype(np.dtype(spec.dtype))
        if self.numbers and spec.dtype in ("int64", "int32"):
            return np.asarray(rng.choice(np.array(self.numbers), dims)).astype(spec.dtype)
        return np.full(dims, min(integer, np.iinfo(spec.dtype).max), spec.dtype)


def _drawn(c: Companion, spec: InputSpec, x: Array, rng: np.random.Generator) -> Array:
    """Values for a companion of x, in the type and the rank that the input has."""
    values = c.draw(rng, tuple(x.shape[a] for a in c.axes))
    extra = 0 if spec.shape is None else len(spec.shape) - values.ndim
    shaped = values.reshape(values.shape + (1,) * max(extra, 0))
    return shaped if spec.dtype == "string" else shaped.astype(np.dtype(spec.dtype))


def feeder(proto: onnx.ModelProto, placements: Sequence[Placement]) -> Feeder:
    """What is known of the inputs of a model with these scalers on them."""
    placed = {p.spec.name: p for p in placements if p.role == "input"}
    ranges = {}
    for name, p in placed.items():
        ranges[name] = samples.raw_range(p.transform, p.transform.shape, p.fitted.data_min, p.fitted.data_max)
    words, numbers = _known(proto)
    outer = [replace(placed[s.name].outer, dtype=s.dtype) if s.name in placed else s for s in graph.inputs(proto)]
    known = {s.name for s in outer}
    outer += [s for p in placements for s in p.added if s.name not in known]
    companions = {c.name: (c, p.spec.name) for p in placed.values() for c in p.transform.reads if c.name not in placed}
    return Feeder(outer, placed, ranges, words, numbers, companions)


def _known(proto: onnx.ModelProto) -> tuple[list[str], list[int]]:
    """Categories that the model's encoders know, so that made-up strings and numbers are among them."""
    words: list[str] = []
    numbers: list[int] = []
    for body, _ in walk.bodies(proto):
        for node in body.node:
            for a in node.attribute if node.domain == "ai.onnx.ml" else ():
                if a.name in ("cats_strings", "keys_strings"):
                    words += [w.decode("utf-8", "replace") for w in a.strings]
                if a.name in ("cats_int64s", "keys_int64s"):
                    numbers += list(a.ints)
    return sorted(set(words))[:64], sorted(set(numbers))[:64]


def feeds(
    f: Feeder,
    shape: Shape,
    rng: np.random.Generator,
    thresholds: Mapping[str, Sequence[tuple[int, float]]],
    most: int = MOST_ROWS,
) -> list[Feed]:
    """Every family of rows as feeds of a size that the model takes. most: rows of a family, for a slow model."""
    per_row = max(1, sum(int(np.prod(f.dims(s, shape))) for s in f.inputs if s.name in f.placed))
    fixed = shape.rows
    count = int(np.clip(ELEMENTS // per_row, 4, min(most, MOST_ROWS if fixed is None else MOST_RUNS)))
    by_label: dict[str, dict[str, Family]] = {}
    for name, p in f.placed.items():
        for family in samples.families(f.ranges[name], rng, count, thresholds.get(name, ()), p.graph_dtype):
            by_label.setdefault(family.label, {})[name] = family
    made: list[Feed] = []
    for label, named in by_label.items():
        rows = max(len(x.rows) for x in named.values())
        limit = max(4, 4 * ELEMENTS // per_row)
        rows = min(rows, 4 * most if most > MOST_RUNS else max(most, 2), limit if fixed is None else MOST_RUNS * fixed)
        raw = {name: _laid_out(f, name, x, shape, rows, rng) for name, x in named.items()}
        ordinary = all(x.ordinary for x in named.values())
        made += _cut(f, label, raw, rows, fixed, shape, rng, ordinary)
    if fixed is None:
        for rows in (0, 1, 3, min(257, max(5, min(4 * most, ELEMENTS // per_row)))):
            made.append(f.feed(f"a batch of {rows}", rows, _in_distribution(f, shape, rows, rng), shape, rng))
    return made


def _laid_out(f: Feeder, name: str, family: Family, shape: Shape, rows: int, rng: np.random.Generator) -> Array:
    p = f.placed[name]
    some = replace(family, rows=np.resize(family.rows, (rows, *family.rows.shape[1:])))
    dims = f.dims(p.outer, shape)
    lead = 0 if p.spec.shape is None else len(p.spec.shape) - len(dims)
    axis = p.raw_axis - lead if p.raw_axis >= 0 else len(dims) + p.raw_axis
    return samples.as_dtype(samples.spread(some, f.ranges[name], dims, max(axis, 0), rng), p.graph_dtype)


def _cut(
    f: Feeder,
    label: str,
    raw: Mapping[str, Array],
    rows: int,
    fixed: int | None,
    shape: Shape,
    rng: np.random.Generator,
    ordinary: bool,
) -> list[Feed]:
    if fixed is None:
        return [replace(f.feed(label, rows, raw, shape, rng), ordinary=ordinary)]
    made = []
    for at in range(0, rows, fixed):
        index = np.arange(at, at + fixed) % max(rows, 1)
        made.append(replace(f.feed(label, fixed, {n: v[index] for n, v in raw.items()}, shape, rng), ordinary=ordinary))
    return made


def golden(f: Feeder, shape: Shape, rng: np.random.Generator) -> Feed:
    """The few rows that a record keeps; they depend on nothing but the statistics, the shape and the seed."""
    rows = shape.rows or 3
    return f.feed(GOLDEN, rows, _in_distribution(f, shape, rows, rng), shape, rng)


def _in_distribution(f: Feeder, shape: Shape, rows: int, rng: np.random.Generator) -> dict[str, Array]:
    made = {}
    for name, r in f.ranges.items():
        family = Family("in distribution", r.center + r.width * rng.standard_normal((max(rows, 1), *r.center.shape)))
        made[name] = _laid_out(f, name, family, shape, rows, rng)
    return made


def find_shapes(f: Feeder, runs: Callable[[Feed], bool], rng: np.random.Generator, most: int = 3) -> list[Shape]:
    """The first few ways to fill the open dimensions on which the original model runs; [] where none does."""
    found: list[Shape] = []
    for tried, shape in enumerate(f.shapes(), 1):
        rows = shape.rows or 2
        raw = _in_distribution(f, shape, rows, rng)
        if runs(f.feed("trial", rows, raw, shape, rng)):
            found.append(shape)
        if len(found) >= most or tried >= TRIES or (found and (found[0].rows != shape.rows or tried >= 12)):
            break
    return found
