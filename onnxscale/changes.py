"""What changed between two spaces, constant by constant, and what the change looks like.

An affine of the canonical form is told as (x - mean) / std: `mean` is the raw value that becomes 0, `std` the raw distance
that becomes 1, whatever the files call theirs. Two functions are the same where their fingerprints are, that is to 9
significant digits; or within a tolerance in sigmas, where one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from onnxscale.canonical import DIGITS, canonical, rounded
from onnxscale.spaces import TOLERANCE, Difference, Space, compare, fingerprint
from onnxscale.step import Array
from onnxscale.transform import Transform

ROUNDED = 5e-10  # half a unit of the ninth significant digit
NOISE = 1e-11  # relative; far below the ninth digit, far above what float64 rounds on the way to a constant
EPSILONS = tuple(10.0**-k for k in range(2, 16))

Pair = Mapping[str, Array]


@dataclass(frozen=True)
class Changed:
    """One feature whose function changed. feature: its flat index; where: its index as text, "2" or "3,2". name: or "".
    sigmas: the largest difference of the scaled values. constants: what changed -> its value here and there."""

    feature: int
    where: str
    name: str
    sigmas: float
    constants: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def differs(here: Space, there: Space, tolerance: float | None = None) -> Difference | None:
    """None where two spaces are the same function; else how they differ, in words too.

    tolerance: in sigmas; None stands for 9 significant digits of every constant, or what float32 can tell where
    constants were read back from a graph.
    """
    read_back = bool(here.rounding or there.rounding)
    exact = tolerance is None and not read_back
    known = here.transform is not None and there.transform is not None
    mine, yours = (constants(s.transform) if known and s.transform is not None else {} for s in (here, there))
    least = TOLERANCE if read_back else 0.0 if mine and yours else NOISE
    found = compare(here, there, least if tolerance is None else tolerance)
    if found is None or not found.off:
        return found
    if exact and mine and yours:
        same = _alike(mine, yours)
        found = Difference(found.reason, tuple(o for o in found.off if o.feature >= same.size or not same[o.feature]))
    elif exact and fingerprint(here) == fingerprint(there):
        return None
    if not found.off:
        return None
    words = _likeness(mine, yours)
    return Difference(words, found.off) if words else found


def _alike(here: Pair, there: Pair) -> Array:
    """Per feature, flat, whether every constant is the same to DIGITS digits, or but for the noise of float64."""
    same: Array = np.ones((), bool)
    for key in here:
        a, b, std = np.broadcast_arrays(here[key], there[key], np.abs(here["std"]))
        with np.errstate(all="ignore"):
            noise = np.abs(a - b) <= NOISE * np.abs(a) + np.where(np.isfinite(std), 1e-15 * std, 0.0)
        digits = np.asarray(rounded(a, DIGITS) == rounded(b, DIGITS))
        same = same & (noise | digits | (np.isnan(a) & np.isnan(b)))
    return np.ravel(same)


def constants(transform: Transform) -> dict[str, Array]:
    """The canonical form as named constants of one shape, float64: low and high (clip bounds of raw values), mean and std;
    {} for what is more than a clip and an affine."""
    steps = list(canonical(transform).steps)
    found: dict[str, Array] = {}
    for op, name, none in (("Max", "low", -np.inf), ("Min", "high", np.inf)):
        found[name] = steps.pop(0).operands[0] if steps and steps[0].op == op else np.asarray(none)
    one = Transform(tuple(steps)).affine()
    if one is None:
        return {}
    with np.errstate(all="ignore"):
        mean = np.where(one.scale == 0, np.nan, -one.shift / one.scale) + 0.0
        std = np.where(one.scale == 0, np.inf, 1 / one.scale)
    arrays = np.broadcast_arrays(found["low"], found["high"], mean, std)
    return dict(zip(("low", "high", "mean", "std"), arrays, strict=True))


def changed(here: Space, there: Space, found: Difference) -> tuple[Changed, ...]:
    """The features of a difference, each with the constants that are not the same."""
    if not found.off or here.transform is None or there.transform is None:
        return ()
    mine, yours = constants(here.transform), constants(there.transform)
    shape: tuple[int, ...] = ()
    if mine and yours:
        shape = np.broadcast_shapes(mine["mean"].shape, yours["mean"].shape)
    told = []
    for off in found.off:
        alone = off.feature >= int(np.prod(shape))
        at = () if alone else np.unravel_index(off.feature, shape)
        where = ",".join(str(int(i)) for i in at) or str(off.feature)
        pairs: dict[str, tuple[float, float]] = {}
        if mine and yours and not alone:
            for key in mine:
                a, b = (float(np.broadcast_to(c[key], shape)[at]) for c in (mine, yours))
                if not (a == b or (np.isnan(a) and np.isnan(b)) or abs(a - b) <= 1e-15 * max(abs(a), abs(b))):
                    pairs[key] = (a, b)
        told.append(Changed(off.feature, where, off.name, _sigmas(pairs, mine, yours, shape, at, off.sigmas), pairs))
    return tuple(told)


def _sigmas(
    pairs: Mapping[str, object], mine: Mapping[str, Array], yours: Mapping[str, Array], shape: tuple[int, ...],
    at: tuple[object, ...], otherwise: float,
) -> float:  # fmt: skip
    """|((x - mean) / std) here - there|, the largest for raw values within 3 std of the mean here."""
    if not pairs or not set(pairs) <= {"mean", "std"}:
        return otherwise
    (m, s), (n, t) = (
        tuple(float(np.broadcast_to(c[key], shape)[at]) for key in ("mean", "std"))  # type: ignore[index]
        for c in (mine, yours)
    )
    with np.errstate(all="ignore"):
        k = np.array([-3.0, 0.0, 3.0])
        gap = np.abs((np.float64(m) - n + k * s) / np.float64(t) - k)
    return float(gap.max()) if np.isfinite(gap).all() else otherwise


def digit(here: float, there: float) -> int:
    """The first significant digit in which two numbers differ, counted from 1, of 12 (what follows may be
    rounding); 0 where they are of another size or sign."""
    if not (np.isfinite(here) and np.isfinite(there)) or here == 0 or there == 0 or (here < 0) != (there < 0):
        return 0
    one, two = f"{abs(here):.11e}", f"{abs(there):.11e}"
    if one.partition("e")[2] != two.partition("e")[2]:
        return 0
    digits = zip(one.partition("e")[0].replace(".", ""), two.partition("e")[0].replace(".", ""), strict=True)
    return next((i for i, (a, b) in enumerate(digits, 1) if a != b), 0)


def renamed(here: Space, there: Space) -> tuple[str, str]:
    """What the names of the features say: a contradiction, and a note; "" each where there is none.

    The same names in another order contradict constants that stayed where they were; other units do in any case.
    """
    wrong = [
        f"feature {i}{f' ({here.features[i]!r})' if i < len(here.features) else ''} is in {u!r} in A, in {v!r} in B"
        for i, (u, v) in enumerate(zip(here.units, there.units, strict=False))
        if u != v
    ]
    if wrong:
        return "; ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""), ""
    a, b = here.features, there.features
    if not a or not b or a == b:
        return "", ""
    moved = [i for i, (u, v) in enumerate(zip(a, b, strict=False)) if u != v]
    first = moved[0] if moved else min(len(a), len(b))
    names = " and ".join(
        f"{n[first]!r} in {w}" if first < len(n) else f"nothing in {w}" for n, w in ((a, "A"), (b, "B"))
    )
    if sorted(a) == sorted(b):
        return f"the same features in another order: feature {first} is {names}", ""
    return "", f"feature {first} is called {names}"


def _likeness(here: Pair, there: Pair) -> str:
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
    if clips[0] == clips[1] or not (_near(here["mean"], there["mean"]) and _near(here["std"], there["std"])):
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
    _left_out, _variance, _zero_variance, _ddof, _epsilon, _rounded,
)  # fmt: skip
