"""Functions that ONNX lacks, or that runtimes have no float64 kernel for, written in core operators.

Each takes a `Builder` and the names of tensors, and returns the name of the result. NaN stays NaN.

    log1p(x) = log(u) + (x - (u - 1)) / u           u = fl(1 + x); the second term is what rounding u lost
                                                    (Goldberg 1991, theorem 4; Hewlett-Packard HP-15C Advanced Functions)
    expm1(x) = tanh(x / 2) (exp(x) + 1)             an identity; both factors keep their relative accuracy everywhere
    x is NaN = not (x < 1 or x > 0)
    x == c   = c- < x < c+                          c-, c+ the floats next to c; Equal has float kernels from opset 11
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onnxscale.step import Array, Builder, Place


def scalar(build: Builder, value: float) -> str:
    """A constant of rank 0 in the arithmetic type."""
    return build.constant(np.float64(value), "value")


def require(build: Builder, opset: int, what: str) -> None:
    """Refuse where the model's opset is older than `what` needs."""
    if build.opset < opset:
        raise build.refuse(
            f"{what} needs opset {opset} and the model is written for opset {build.opset}; "
            f"convert it with onnx.version_converter or export it again"
        )


def where(build: Builder, condition: str, yes: str, no: str) -> str:
    require(build, 9, "a choice between two values (Where)")
    return build.node("Where", condition, yes, no)


def clamp(build: Builder, x: str, low: float | None, high: float | None, what: str) -> str:
    """x cut to [low, high]; Max and Min broadcast, and have float64 kernels, from opset 8."""
    require(build, 8, what)
    x = x if low is None else build.node("Max", x, scalar(build, low))
    return x if high is None else build.node("Min", x, scalar(build, high))


def is_nan(build: Builder, x: str) -> str:
    below = build.node("Less", x, scalar(build, 1.0))
    above = build.node("Greater", x, scalar(build, 0.0))
    return build.node("Not", build.node("Or", below, above))


def equals(build: Builder, x: str, values: Array) -> str:
    """True where x is the constant, per feature."""
    if build.opset >= 11:
        return build.node("Equal", x, build.constant(values, "equal"))
    exact = values.astype(build.dtype)
    kind = build.dtype.type
    below = build.node("Less", x, build.constant(np.nextafter(exact, kind(np.inf)), "above"))
    above = build.node("Greater", x, build.constant(np.nextafter(exact, kind(-np.inf)), "below"))
    return build.node("And", below, above)


def keep_nan(build: Builder, result: str, x: str) -> str:
    """`result`, a finite function of x, with NaN where x is NaN: 0 * tanh(x) is 0 for every other x."""
    zero = build.node("Mul", build.node("Tanh", x), scalar(build, 0.0))
    return build.node("Add", result, zero)


def sign(build: Builder, x: str) -> str:
    """-1 below zero, else 1 (the operator Sign begins at opset 9)."""
    below = build.node("Cast", build.node("Less", x, scalar(build, 0.0)), to=build.dtype)
    return build.node("Sub", scalar(build, 1.0), build.node("Mul", below, scalar(build, 2.0)))


def log1p(build: Builder, x: str) -> str:
    limits = np.finfo(build.dtype)
    one = scalar(build, 1.0)
    high = clamp(build, x, None, float(limits.max), "log1p")
    u = build.node("Add", high, one)
    lost = build.node("Sub", high, build.node("Sub", u, one))
    lost = build.node("Div", lost, clamp(build, u, float(limits.tiny), None, "log1p"))
    return build.node("Add", build.node("Log", build.node("Add", x, one)), lost)


def expm1(build: Builder, x: str) -> str:
    half = build.node("Tanh", build.node("Mul", x, scalar(build, 0.5)))
    return build.node("Mul", half, build.node("Add", build.node("Exp", x), scalar(build, 1.0)))


def polynomial(build: Builder, x: str, coefficients: Sequence[float]) -> str:
    """Horner's rule, constant term first."""
    y = scalar(build, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        y = build.node("Add", build.node("Mul", y, x), scalar(build, c))
    return y


def features_of(values: Array) -> Array:
    """The number of each feature, in the features' shape: 0, 1, 2, ..."""
    return np.arange(max(values[0].size, 1), dtype=np.float64).reshape(values.shape[1:])


def strides(count: int) -> list[int]:
    """The offsets of a uniform binary search among `count` sorted values (Knuth, TAOCP 3, section 6.2.1, Shar's method).

    The largest i with t[i] <= x, given t[0] <= x, is the sum of those taken: take an offset where t[i + offset] <= x.
    """
    power = 1 << (count.bit_length() - 1)
    rest = [count - power] if count > power else []
    while power > 1:
        power //= 2
        rest.append(power)
    return rest


def flat(table: Array) -> Array:
    """Values (Q, *features) as one row, feature by feature: feature f begins at f * Q."""
    return np.moveaxis(table, 0, -1).reshape(-1)


def look_up(x: Array, table: Array, place: Place) -> tuple[Array, Array]:
    """The position of x in the flat table, and the flat index of the start of its feature. See `search`."""
    count = len(table)
    values = flat(table).astype(x.dtype)
    start = place(features_of(table)).astype(np.int64) * count
    at = np.zeros(x.shape, np.int64) + start
    for offset in strides(count):
        at = np.where(values[at + offset] > x, at, at + offset)
    return at, start


def search(build: Builder, x: str, table: Array, values: str) -> tuple[str, str]:
    """The same as nodes: where x lies among the values (Q, *features) of its feature, as flat int64 indices.

    values: the tensor that holds `flat(table)`. NaN is found at the end.
    """
    count = np.int64(len(table))
    start = build.node("Cast", build.constant(features_of(table), "feature"), to=np.int64)
    start = build.node("Mul", start, build.tensor(np.array(count), "stride"))
    # x only lends its shape here
    at = build.node("Cast", build.node("Less", x, x), to=np.int64)
    at = build.node("Add", at, start)
    for offset in strides(int(count)):
        further = build.node("Add", at, build.tensor(np.array(offset, np.int64), "offset"))
        beyond = build.node("Greater", build.node("Gather", values, further), x)
        at = where(build, beyond, at, further)
    return at, start


def gather(build: Builder, values: npt.ArrayLike, at: str, name: str) -> str:
    """values[at], in the arithmetic type."""
    return build.node("Gather", build.tensor(np.asarray(values).astype(build.dtype), name), at)
