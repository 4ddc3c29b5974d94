"""What an expression in Python source stands for, as far as normalization goes: constants, data on its way through
arithmetic, objects. Nothing is executed: this is arithmetic over what is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Operand, Ref
from onnxscale.step import Array

Steps = tuple[tuple[str, Operand], ...]
MOST = 1 << 16
SLIPS = (225.0, 252.0, 525.0, 2555.0, 25.5)  # for 255
RANGES = (255.0, 256.0, 127.5, 128.0, 65535.0)


@dataclass(frozen=True, eq=False)
class Known:
    """A constant. name: of the variable that it comes from, or ""."""

    values: Array
    name: str = ""


@dataclass(frozen=True)
class Text:
    """A string; of a path, the end of it that is known."""

    value: str


@dataclass(frozen=True)
class Own:
    """A statistic of data computed on the spot. of: the root of the data."""

    role: str
    of: str


@dataclass(frozen=True, eq=False)
class Data:
    """What is not constant. root: what it began as. steps: the normalization so far; own: by its own mean and std; unit: the
    largest value of the root where it is known; foreign: the imported function that gave it; serial: of the record of
    this normalization, 0 where there is none. touched: something else was computed with it; out: it is a model's answer; decibels: a
    spectrogram in them; partial: only some columns were; before: functions that were applied first; rgb: pixels,
    red first."""

    root: str
    steps: Steps = ()
    own: bool = False
    unit: float = 0.0
    serial: int = 0
    written: tuple[Array | None, Array | None] = (None, None)
    foreign: str = ""
    touched: bool = False
    out: bool = False
    decibels: bool = False
    partial: bool = False
    before: tuple[str, ...] = ()
    rgb: bool = False


@dataclass(frozen=True, eq=False)
class Made:
    """An object. of: its class, by the last part of the name. steps: what it does to data; of objects inside, theirs."""

    of: str
    steps: Steps = ()
    text: str = ""
    serial: int = 0
    unit: float = 0.0
    whole: bool = False
    written: tuple[Array | None, Array | None] = (None, None)


@dataclass(frozen=True, eq=False)
class Held:
    """A dictionary or a class with attributes."""

    items: Mapping[str, object] = field(default_factory=dict)


Value = Known | Text | Own | Data | Made | Held | Ref | None


def lost(data: Data) -> Data:
    """Data after something that is no normalization."""
    return Data(data.root, touched=True, out=data.out)


def number(value: object) -> Array | None:
    """The numbers of a constant, or None."""
    return value.values if isinstance(value, Known) else None


def folded(op: str, a: Array, b: Array) -> Array | None:
    """Arithmetic of two constants."""
    try:
        with np.errstate(all="ignore"):
            made = np.asarray({"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op](a, b))
    except ValueError:
        return None
    return made if made.size <= MOST and np.isfinite(made).all() else None


def listed(items: list[Value]) -> Known | None:
    """A list of constants as one; a tensor's shape stays as it is written."""
    found = [number(i) for i in items]
    if not found or any(f is None for f in found):
        return None
    arrays = [f for f in found if f is not None]
    if len({a.shape for a in arrays}) != 1 or sum(a.size for a in arrays) > MOST:
        return None
    return Known(np.stack(arrays))


def _flat(values: Array) -> Array:
    """A constant per feature: shapes such as (1, 3, 1, 1) say only where the features lie."""
    squeezed = values.reshape([d for d in values.shape if d != 1] or ())
    return squeezed if squeezed.ndim <= 1 else values


def arithmetic(op: str, left: Value, right: Value) -> Value:
    """`left op right`, where one may be data that is normalized by the other."""
    a, b = number(left), number(right)
    if a is not None and b is not None:
        made = folded(op, a, b)
        return None if made is None else Known(made, _joined(left, right))
    if isinstance(left, Own) or isinstance(right, Own):
        return _own(op, left, right)
    if isinstance(left, Data):
        return _step(op, left, right)
    if isinstance(right, Data):
        return _step(op, right, left) if op in ("Mul", "Add") else lost(right)
    if isinstance(left, Ref) or isinstance(right, Ref):
        return _refs(op, left, right)
    return None


def _joined(left: Value, right: Value) -> str:
    return next((v.name for v in (left, right) if isinstance(v, Known) and v.name), "")


def _refs(op: str, left: Value, right: Value) -> Value:
    """Unknown constants with each other: max - min is a range, std + 1e-8 a std."""
    both = [v.role for v in (left, right) if isinstance(v, Ref)]
    if op == "Sub" and both == ["max", "min"]:
        return Ref("max", "max - min")
    kept = next(v for v in (left, right) if isinstance(v, Ref))
    return kept if op in ("Add", "Mul", "Div") and _small(op, left, right) else Ref(kept.role, kept.text)


def _small(op: str, left: Value, right: Value) -> bool:
    """Whether the other operand only keeps a division from failing."""
    other = number(right) if isinstance(left, Ref) else number(left)
    return op == "Add" and other is not None and other.ndim == 0 and 0 < float(other) <= 1e-3


def _own(op: str, left: Value, right: Value) -> Value:
    if isinstance(left, Own) and (not isinstance(right, Data) or isinstance(right, Own)):
        return left
    if isinstance(right, Own) and isinstance(left, Data):
        if op not in ("Sub", "Div") or left.out:
            return lost(left)
        mine = right.of == left.root
        operand = Ref("mean" if op == "Sub" else "std", f"{right.of}.{right.role}()")
        return replace(left, steps=(*left.steps, (op, operand)), own=left.own or mine)
    return right if isinstance(right, Own) else None


def _step(op: str, data: Data, by: Value) -> Value:
    if data.out:
        return lost(data)
    if isinstance(by, Known) and by.values.ndim <= 4:
        values = _flat(by.values)
        if _neutral(op, values):
            return data
        if values.ndim <= 1 and _plausible(op, by.name, values, data) and not words.is_drawn(data.root):
            return replace(data, steps=(*data.steps, (op, values)), written=_written(op, data, values))
        return lost(data)
    if isinstance(by, Ref):
        wanted = {"Sub": ("mean", "min"), "Div": ("std", "max", "var"), "Mul": (), "Add": ()}[op]
        return replace(data, steps=(*data.steps, (op, by))) if by.role in wanted else lost(data)
    return lost(data)


def _neutral(op: str, values: Array) -> bool:
    return bool((values == (0.0 if op in ("Sub", "Add") else 1.0)).all())


def _written(op: str, data: Data, values: Array) -> tuple[Array | None, Array | None]:
    mean, std = data.written
    if mean is not None and values.size == 1 and rescales(op, float(values.ravel()[0])):
        return folded(op, mean, values), std
    if op == "Sub" and values.size > 1:
        return values, std
    return (mean, values) if op == "Div" and values.size > 1 else (mean, std)


def rescales(op: str, value: float) -> bool:
    """Whether a step brings pixels from their range to about 1: a division by 255, or a multiplication with one over it."""
    by = 1 / value if op == "Mul" and value else value
    return op in ("Div", "Mul") and any(math.isclose(abs(by), r, rel_tol=1e-4) for r in RANGES)


def _plausible(op: str, name: str, values: Array, data: Data) -> bool:
    """Whether a constant that data meets is one of a normalization."""
    begun = bool(data.steps)
    role = words.part(name) if name else ""
    if values.size > 1:
        undoes = (op == "Mul" and role == "std" and "std" in words.words(name)) or (op == "Add" and role == "mean")
        return not undoes and values.size <= MOST
    value = abs(float(values.ravel()[0]))
    if data.decibels and op in ("Add", "Sub", "Div"):
        return True
    if op == "Div" and value in SLIPS and data.unit == 255:
        return True
    if op in ("Div", "Mul"):
        return (
            rescales(op, value)
            or (op == "Div" and role in ("std", "max", "var"))
            or (begun and op == "Mul" and value == 2)
        )
    if op == "Sub":
        return role in ("mean", "min") or value in (127.5, 128.0, 127.0) or (begun and value in (0.5, 1.0))
    return False


def alike(a: Steps, b: Steps) -> bool:
    """Whether two chains are the same operators with the same operands."""
    pairs = zip(a, b, strict=False)
    return len(a) == len(b) and all(
        o == p and (v == w if isinstance(v, Ref) or isinstance(w, Ref) else np.array_equal(v, w))
        for (o, v), (p, w) in pairs
    )


def scales(steps: Steps) -> bool:
    """Whether a chain is a normalization: a change of the range of pixels, a centre and a unit, or a mean for each channel."""
    factors = [v for op, v in steps if op in ("Div", "Mul")]
    centres = [v for op, v in steps if op in ("Sub", "Add")]
    ranges = any(not isinstance(v, Ref) and v.size == 1 and rescales(op, float(v.ravel()[0])) for op, v in steps)
    return (
        ranges or bool(factors and centres) or any(not isinstance(v, Ref) and v.size >= 3 for v in (*centres, *factors))
    )


def affine(steps: Steps) -> tuple[Array, Array] | None:
    """(scale, shift) of y = scale x + shift; None where an operand is not known, or does not fit the others."""
    scale: Array = np.ones(())
    shift: Array = np.zeros(())
    for op, operand in steps:
        if isinstance(operand, Ref):
            return None
        try:
            with np.errstate(all="ignore"):
                if op in ("Mul", "Div"):
                    factor = operand if op == "Mul" else 1 / operand
                    scale, shift = scale * factor, shift * factor
                else:
                    shift = shift + (operand if op == "Add" else -operand)
        except ValueError:
            return None
    try:
        scale, shift = np.broadcast_arrays(scale, shift)
    except ValueError:
        return None
    return (scale, shift) if np.isfinite(scale).all() and np.isfinite(shift).all() else None
