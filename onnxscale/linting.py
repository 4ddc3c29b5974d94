"""A linter of constants: statistics that are well formed and yet look like a mistake, with the suspected fix.

It warns and never repairs. What it compares with are the constants that image models are trained with: torchvision's
(ImageNet; references/classification), OpenAI's CLIP, Inception's 0.5, Caffe's channel means, CIFAR and MNIST.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from onnxscale.statistics import Fitted
from onnxscale.step import Array

NEAR = 1.5e-3  # two constants are the same where they agree so far: files round them to three digits
UNITS = (1.0, 255.0)


@dataclass(frozen=True)
class Finding:
    """code: of the mistake. message: what was found and the suspected fix."""

    code: str
    message: str


@dataclass(frozen=True)
class Known:
    """Constants that are in use. mean, std: per channel, in 0 to 1."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


CAFFE = tuple(v / 255 for v in (123.68, 116.779, 103.939))
KNOWN = (
    Known("ImageNet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    Known("CLIP", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    Known("CIFAR-10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    Known("CIFAR-10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    Known("CIFAR-100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    Known("Caffe", CAFFE, (1 / 255,) * 3),
    Known("Caffe", CAFFE[::-1], (1 / 255,) * 3),
    Known("Inception", (0.5,) * 3, (0.5,) * 3),
    Known("MNIST", (0.1307,), (0.3081,)),
)


def findings(fitted: Fitted) -> tuple[Finding, ...]:
    """What looks like a mistake in the statistics of one tensor; () where nothing does."""
    moments = _moments(fitted)
    found: list[Finding] = []
    if moments is not None:
        mean, std = moments
        for check in _CHECKS:
            one = next(check(mean, std), None)
            if one is not None:
                found.append(one)
                break  # the first says what is wrong; what follows would say it again
    return (*found, *_range(fitted, moments))


def _moments(fitted: Fitted) -> tuple[Array, Array] | None:
    """Mean and std, one value for each feature, of a scaler that is (x - mean) / std; None for another."""
    mean, std = (getattr(fitted.scaler, k, None) for k in ("mean", "std"))
    if hasattr(fitted.scaler, "lambdas") or mean is None or std is None:
        return None
    size = max(mean.size, std.size)
    if max(mean.ndim, std.ndim) > 1:
        return None
    return np.broadcast_to(mean.ravel(), size).astype(float), np.broadcast_to(std.ravel(), size).astype(float)


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= NEAR * np.abs(b)))


def _scaled(values: tuple[float, ...], unit: float) -> Array:
    return np.array(values) * unit


def _text(values: Array) -> str:
    return "[" + ", ".join(f"{v:.6g}" for v in values) + "]"


def _constants(size: int) -> Iterator[tuple[Known, float, Array, Array]]:
    for known in KNOWN:
        if len(known.mean) == size:
            for unit in UNITS:
                yield known, unit, _scaled(known.mean, unit), _scaled(known.std, unit)


def _true(mean: Array, std: Array) -> bool:
    """Whether these are constants in use as they are; Caffe's mean also stands with no std at all."""
    return any(_same(mean, m) and _same(std, s) for _, _, m, s in _constants(mean.size))


def _identity(mean: Array, std: Array) -> Iterator[Finding]:
    if not mean.any() and (std == 1).all():
        yield Finding(
            "identity", "all means are 0 and all stds are 1, which looks like an identity: was the scaler fitted?"
        )


def _equal(mean: Array, std: Array) -> Iterator[Finding]:
    if mean.size > 1 and np.array_equal(mean, std) and not _true(mean, std):
        yield Finding(
            "mean-equals-std", f"mean and std are the same values, {_text(mean[:4])}: one was probably written for both"
        )


def _swapped(mean: Array, std: Array) -> Iterator[Finding]:
    for known, _, m, s in _constants(mean.size):
        if _same(mean, s) and _same(std, m) and not _true(mean, std):
            yield Finding(
                "swapped", f"mean and std are {known.name}'s, swapped: expected mean {_text(m)}, std {_text(s)}"
            )


def _units(mean: Array, std: Array) -> Iterator[Finding]:
    means = {unit: known for known, unit, m, _ in _constants(mean.size) if _same(mean, m)}
    stds = {unit: known for known, unit, _, s in _constants(mean.size) if _same(std, s)}
    if means and stds and not set(means) & set(stds) and not (std == 1).all():
        say = {1.0: "0 to 1", 255.0: "0 to 255"}
        unit, known = next(iter(means.items()))
        yield Finding(
            "units",
            f"the mean is {known.name}'s for pixels of {say[unit]}, the std for pixels of {say[next(iter(stds))]}: expected "
            f"std {_text(_scaled(known.std, unit))}",
        )


def _variance(mean: Array, std: Array) -> Iterator[Finding]:
    for known, unit, m, s in _constants(mean.size):
        squares = (s**2, s**2 / unit)  # of pixels of 0 to 255, also written as 255 times the square of 0 to 1
        if _same(mean, m) and not _same(std, s) and any(_close(std, v) for v in squares):
            yield Finding(
                "variance", f"the std is the square of {known.name}'s: a variance was given, expected {_text(s)}"
            )


def _close(a: Array, b: Array) -> bool:
    return bool(np.all(np.abs(a - b) <= 2 * NEAR * np.abs(b)))


def _permuted(mean: Array, std: Array) -> Iterator[Finding]:
    if _true(mean, std):
        return
    for known, _, m, s in _constants(mean.size):
        for what, values, right in (("mean", mean, m), ("std", std, s)):
            orders = [o for o in permutations(range(len(right))) if _same(values, right[list(o)])]
            if orders and list(range(len(right))) not in map(list, orders):
                bgr = orders[0] == tuple(range(len(right)))[::-1]
                if bgr and known.name == "Caffe":  # either order is in use
                    return
                why = (
                    "they are in BGR order, right only if the model was trained on BGR"
                    if bgr
                    else "the channels are mixed up"
                )
                yield Finding(
                    "permuted",
                    f"the {what} holds {known.name}'s constants in another order: {why}; expected {_text(right)}",
                )


def _digit(mean: Array, std: Array) -> Iterator[Finding]:
    """All channels but one are those of a known set."""
    if _true(mean, std):
        yield from _exact(mean, std)
        return
    for known, _, m, s in _constants(mean.size):
        for what, values, right in (("mean", mean, m), ("std", std, s)):
            if any(_same(values, a if what == "mean" else b) for _, _, a, b in _constants(mean.size)):
                continue  # another set's, as it is
            off = np.flatnonzero(np.abs(values - right) > NEAR * np.abs(right))
            if off.size == 1 and np.unique(right).size == right.size >= 3:
                yield _slipped(what, int(off[0]), values, known.name, right)
    yield from _exact(mean, std)
    yield from _single(mean, std)


def _reversed_digit(mean: Array, std: Array) -> Iterator[Finding]:
    """A slipped digit in constants of which the others are a known set's, in the order of BGR."""
    for known, _, m, s in _constants(mean.size):
        for what, values, right, kept, of in (("mean", mean, m, std, s), ("std", std, s, mean, m)):
            off = np.flatnonzero(np.abs(values - right[::-1]) > NEAR * np.abs(right[::-1]))
            if (
                off.size == 1
                and np.unique(right).size == right.size >= 3
                and _same(kept, of[::-1])
                and not _same(kept, of)
            ):
                yield _slipped(what, int(off[0]), values, known.name, right[::-1])


def _slipped(what: str, i: int, values: Array, name: str, right: Array) -> Finding:
    said = f"the {what} of channel {i} is {values[i]:.9g} where {name} has {right[i]:.9g}: a slipped digit?"
    return Finding("digit", said)


def _exact(mean: Array, std: Array) -> Iterator[Finding]:
    """Constants of eight digits, of which all but one agree in every digit."""
    for known, _, m, s in _constants(mean.size):
        right, values = np.concatenate([m, s]), np.concatenate([mean, std])
        off = np.flatnonzero(np.abs(values - right) > 1e-5 * np.abs(right))
        long = max(len(repr(v)) for v in known.mean) >= 9
        same = np.abs(np.delete(values, off) - np.delete(right, off)) <= 1e-7
        if long and off.size == 1 and same.all() and _same(values, right):
            i = int(off[0])
            what, at = ("mean", i) if i < m.size else ("std", i - m.size)
            yield _slipped(what, at, mean if what == "mean" else std, known.name, m if what == "mean" else s)


def _single(mean: Array, std: Array) -> Iterator[Finding]:
    """Of one channel: one of the two constants to four digits, the other off by a little."""
    for known, unit, m, s in _constants(1):
        if mean.size == 1 and unit == 1 and known.mean != known.std:
            for what, (kept, of), (values, right) in (("std", (mean, m), (std, s)), ("mean", (std, s), (mean, m))):
                far = abs(values[0] - right[0]) / right[0]
                if abs(kept[0] - of[0]) < 5e-5 and 1e-3 < far < 0.1:
                    yield _slipped(what, 0, values, known.name, right)


def _range(fitted: Fitted, moments: tuple[Array, Array] | None) -> Iterator[Finding]:
    """What no data can have: a mean outside their range, or a std above it (it is at most the range over sqrt 2)."""
    low, high = fitted.data_min, fitted.data_max
    if moments is None or low is None or high is None or low.size != moments[0].size:
        return
    mean, std = moments
    low, high = low.ravel(), high.ravel()
    slack = 1e-6 * np.maximum(np.abs(low), np.abs(high)) + 1e-12
    outside = np.flatnonzero((mean < low - slack) | (mean > high + slack))
    wide = np.flatnonzero((std > (high - low) * 0.7072 + slack) & (high > low))
    for at, code, what in (
        (
            outside,
            "mean-outside",
            "the mean of feature {} is outside its own data_min and data_max: of another data set, or swapped",
        ),
        (
            wide,
            "std-too-large",
            "the std of feature {} is larger than data with its data_min and data_max can have: a variance?",
        ),
    ):
        if at.size:
            yield Finding(code, what.format(at[0]) + (f" ({at.size - 1} more)" if at.size > 1 else ""))


_CHECKS: tuple[Callable[[Array, Array], Iterator[Finding]], ...] = (
    _identity, _equal, _swapped, _units, _variance, _reversed_digit, _permuted, _digit,
)  # fmt: skip
