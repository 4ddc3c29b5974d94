"""What the change of an affine looks like: ddof, another rule for constant features, an epsilon, another unit, a half left out.

Each row of LIKENESSES compares two functions by their constants, arrays of one shape under the names low, high (bounds of a clip),
mean and std, and says in words that it is the change it knows, or "".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from onnxscale.step import Array

ROUNDED = 5e-10  # half a unit of the ninth significant digit
LEAST = 1.5  # times as large, from which on two values are taken for two units
EPSILONS = tuple(10.0**-k for k in range(2, 16))

Pair = Mapping[str, Array]


def likeness(here: Pair, there: Pair) -> str:
    """The first of the known changes of an affine that this one is, in words; "" where it is none of them."""
    if not here or not there:
        return ""
    with np.errstate(all="ignore"):
        if any(not np.array_equal(here[k], there[k]) for k in ("low", "high")):
            return _clipped(here, there)
        return next((words for row in LIKENESSES if (words := row(here, there))), "")


def _clipped(here: Pair, there: Pair) -> str:
    """One of the two cuts values off, and does the same to all others."""
    clips = [any(np.isfinite(p[k]).any() for k in ("low", "high")) for p in (here, there)]
    means = (np.abs(here["mean"] - there["mean"]) <= 1e-6 * (np.abs(here["std"]) + np.abs(here["mean"]))).all()
    if clips[0] == clips[1] or not (means and _near(here["std"], there["std"], 1e-6)):
        return ""
    return f"{'A' if clips[0] else 'B'} clips its values, {'B' if clips[0] else 'A'} does not"


def _left_out(here: Pair, there: Pair) -> str:
    """One half of the z-score is missing."""
    for one, two, letter in ((here, there, "B"), (there, here, "A")):
        if _near(one["std"], two["std"]) and (two["mean"] == 0).all() and (one["mean"] != 0).any():
            return f"{letter} does not subtract the mean"
        if _near(one["mean"], two["mean"]) and (two["std"] == 1).all() and (one["std"] != 1).any():
            return f"{letter} does not divide by the std"
    return ""


def _variance(here: Pair, there: Pair) -> str:
    """The square of the std where the std belongs."""
    for one, two, letter in ((here, there, "B"), (there, here, "A")):
        if _near(one["mean"], two["mean"]) and _near(one["std"] ** 2, two["std"]) and (one["std"] != 1).any():
            return f"{letter} divides by the variance, the square of the std"
    return ""


def _near(a: Array, b: Array, rtol: float = ROUNDED) -> bool:
    return bool(np.allclose(a, b, rtol=rtol, atol=0, equal_nan=True))


def _rounded(here: Pair, there: Pair) -> str:
    with np.errstate(all="ignore"):
        alike = all(_near(here[k].astype("f"), there[k].astype("f"), 6e-8) for k in ("mean", "std"))
    return "the constants differ only by what float32 rounds" if alike else ""


def _ddof(here: Pair, there: Pair) -> str:
    """std with ddof 1 is sqrt(n / (n - 1)) times the one with ddof 0, for every feature the same."""
    with np.errstate(all="ignore"):
        ratio = np.ravel(there["std"] / here["std"])
        means = np.all(np.abs(here["mean"] - there["mean"]) <= 1e-9 * np.abs(here["std"]))
    off = np.abs(ratio - 1) > ROUNDED
    varied = ratio[off]
    constant = np.broadcast_to(
        np.ravel(here["std"]) == 1, ratio.shape
    )  # a constant feature, divided by 1, does not move
    if not means or not varied.size or not _near(varied, varied[0], 1e-7) or not (off | constant).all():
        return ""
    square = float(max(varied[0], 1 / varied[0])) ** 2 if varied[0] > 0 else 0.0
    if not 1 < square <= 2:
        return ""
    rows = square / (square - 1)
    whole = rows > 1e5 or abs(rows - round(rows)) < 1e-3 * rows / 100
    if not whole or (varied.size == 1 and rows > 1e5):
        return ""
    large, small = ("B", "A") if varied[0] > 1 else ("A", "B")
    return f"ddof changed: every std is sqrt(n / (n - 1)) times as large in {large} as in {small}, for n about {rows:,.0f} rows"


def _unit(here: Pair, there: Pair) -> str:
    """Some features as in another unit: k x for x, or degrees Fahrenheit for Celsius."""
    m, s, n, t = (np.ravel(v) for v in np.broadcast_arrays(here["mean"], here["std"], there["mean"], there["std"]))
    off = (np.abs(s - t) > ROUNDED * np.abs(s)) | (np.abs(m - n) > ROUNDED * (np.abs(m) + np.abs(s)))
    if not off.any():
        return ""
    which = f"feature {int(np.flatnonzero(off)[0])}" + (f" and {off.sum() - 1} more" if off.sum() > 1 else "")
    for one, two, letter in (((m, s), (n, t), "B"), ((n, t), (m, s), "A")):
        if _near(two[1][off], 1.8 * one[1][off]) and np.allclose(two[0][off], 1.8 * one[0][off] + 32, rtol=1e-8):
            return f"{which} is as in degrees Fahrenheit in {letter}, as in Celsius in {'B' if letter == 'A' else 'A'}"
    k = float(t[off][0] / s[off][0])
    if not np.isfinite(k) or abs(k) <= 1 or (m[off] == 0).any():
        return _unit(there, here).translate({65: 66, 66: 65}) if np.isfinite(k) and 0 < abs(k) < 1 else ""
    if not (_near(t[off], k * s[off]) and _near(n[off], k * m[off])):
        return ""
    if abs(k) < LEAST:
        return ""
    if off.all():
        return f"B expects raw values {k:.6g} times as large as A does"
    return f"{which} is as in another unit: its mean and std are {k:.6g} times as large in B as in A"


def _zero_variance(here: Pair, there: Pair) -> str:
    """Features that are divided by 1 in one and by next to nothing, or not at all, in the other; nothing else moved."""
    a, b = (np.ravel(np.broadcast_arrays(p["std"], here["std"], there["std"])[0]) for p in (here, there))
    off = ~np.isclose(a, b, rtol=ROUNDED, atol=0)
    with np.errstate(all="ignore"):
        tiny = [(np.abs(p) < 1e-3) | ~np.isfinite(p) for p in (a, b)]
        flat = ((a == 1) & tiny[1]) | ((b == 1) & tiny[0])
    if not off.any() or not flat[off].all():
        return ""
    i = int(np.flatnonzero(off)[0])
    return f"the rule for constant features changed: feature {i} is divided by {a[i]:.6g} in A, by {b[i]:.6g} in B"


def _epsilon(here: Pair, there: Pair) -> str:
    """sqrt(var + eps) or std + eps for std, as normalization layers have it."""
    a, b = np.abs(here["std"]), np.abs(there["std"])
    with np.errstate(all="ignore"):
        means = np.all(np.abs(here["mean"] - there["mean"]) <= 1e-9 * a)
        gaps = {"variance": np.ravel(b * b - a * a), "std": np.ravel(b - a)}
        noise = {"variance": np.ravel(a * a) * 1e-14, "std": np.ravel(a) * 1e-14}
    if not means or (np.ravel(a) == 1).all():
        return ""
    for what, gap in gaps.items():
        first = float(gap[int(np.argmin(noise[what]))])
        eps = next((e for e in EPSILONS if abs(abs(first) - e) <= 1e-3 * e), 0.0)
        if eps and np.all(np.abs(np.abs(gap) - eps) <= 1e-3 * eps + noise[what]) and len(set(np.sign(gap))) == 1:
            return f"an epsilon of {eps:g} is added to the {what} in {'B' if first > 0 else 'A'} only"
    return ""


LIKENESSES: tuple[Callable[[Pair, Pair], str], ...] = (
    _left_out, _variance, _zero_variance, _ddof, _epsilon, _rounded, _unit,
)  # fmt: skip
