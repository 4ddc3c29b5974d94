"""What changed between two spaces, constant by constant, and what the change looks like.

An affine of the canonical form is told as (x - mean) / std: `mean` is the raw value that becomes 0, `std` the raw distance
that becomes 1, whatever the files call theirs. Two functions are the same where their fingerprints are, that is to 9
significant digits; or within a tolerance in sigmas, where one is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from onnxscale.canonical import DIGITS, canonical, rounded
from onnxscale.likening import Pair, likeness
from onnxscale.spaces import TOLERANCE, Difference, Space, compare, fingerprint, in_place
from onnxscale.step import Array
from onnxscale.transform import Transform

NOISE = 1e-11  # relative; far below the ninth digit, far above what float64 rounds on the way to a constant


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
    words = likeness(mine, yours)
    return Difference(words, found.off) if words else found


def _alike(here: Pair, there: Pair) -> Array:
    """Per feature, flat, whether every constant is the same to DIGITS digits, or but for the noise of float64."""
    same: Array = np.ones((), bool)
    for key in here:
        a, b, std = np.broadcast_arrays(here[key], there[key], np.abs(here["std"]))
        with np.errstate(all="ignore"):
            noise = np.abs(a - b) <= NOISE * np.abs(a) + np.where(np.isfinite(std), 1e-15 * std, 0.0)
            noise &= np.isfinite(a - b)  # no bound is as far from a bound as no number
        digits = np.asarray(rounded(a, DIGITS) == rounded(b, DIGITS))
        same = same & (noise | digits | (np.isnan(a) & np.isnan(b)))
    return np.ravel(same)


def constants(transform: Transform) -> dict[str, Array]:
    """The canonical form as named constants of one shape, float64: low and high (clip bounds of raw values), mean and std;
    {} for what is more than a clip and an affine."""
    steps = list(in_place(canonical(transform)).steps)
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
        mine, yours = ({k: np.broadcast_to(v, shape) for k, v in c.items()} for c in (mine, yours))
    told = []
    for off in found.off:
        alone = off.feature >= int(np.prod(shape))
        at = () if alone else np.unravel_index(off.feature, shape)
        where = ",".join(str(int(i)) for i in at) or str(off.feature)
        pairs: dict[str, tuple[float, float]] = {}
        if mine and yours and not alone:
            for key in mine:
                a, b = float(mine[key][at]), float(yours[key][at])
                near = np.isfinite(a - b) and abs(a - b) <= 1e-15 * max(abs(a), abs(b))
                if not (near or a == b or (np.isnan(a) and np.isnan(b))):
                    pairs[key] = (a, b)
        told.append(Changed(off.feature, where, off.name, _sigmas(pairs, mine, yours, at, off.sigmas), pairs))
    return tuple(told)


def _sigmas(
    pairs: Mapping[str, object], mine: Mapping[str, Array], yours: Mapping[str, Array],
    at: tuple[object, ...], otherwise: float,
) -> float:  # fmt: skip
    """|((x - mean) / std) here - there|, the largest for raw values within 3 std of the mean here."""
    if not pairs or not set(pairs) <= {"mean", "std"}:
        return otherwise
    (m, s), (n, t) = (
        tuple(float(c[key][at]) for key in ("mean", "std"))  # type: ignore[index]
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
    only = [
        f"only in {w}: {', '.join(map(repr, left[:8]))}{' and more' if len(left) > 8 else ''}"
        for w, left in (("A", [n for n in a if n not in b]), ("B", [n for n in b if n not in a]))
        if left
    ]
    return "", "; ".join([f"feature {first} is called {names}", *only])


def reordered(here: Space, there: Space) -> str:
    """Whether both do the same to each feature, by its name, and take them in another order; "" where not."""
    a, b = here.features, there.features
    if a == b or sorted(a) != sorted(b) or len(set(a)) != len(a) or here.transform is None or there.transform is None:
        return ""
    mine, yours = constants(here.transform), constants(there.transform)
    if not mine or not yours or {mine["mean"].shape, yours["mean"].shape} - {(), (len(a),)}:
        return ""
    place = {name: i for i, name in enumerate(b)}
    order = [place[name] for name in a]
    moved = {k: np.broadcast_to(v, (len(a),))[order] for k, v in yours.items()}
    if not _alike(mine, moved).all():
        return ""
    i = next(i for i, (u, v) in enumerate(zip(a, b, strict=True)) if u != v)
    return f"each feature has the same constants, but they come in another order: feature {i} is {a[i]!r} in A, {b[i]!r} in B"
