"""Whether two places normalize alike: their functions as numbers, with what nobody wrote down (the range of pixels) left open."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from onnxscale.auditing.facts.base import Model, Norm
from onnxscale.auditing.facts.values import affine, rescales
from onnxscale.step import Array

CLOSE = 1e-3
FACTORS = (1.0, 255.0, 1 / 255)


def known(norm: Norm) -> tuple[Array, Array] | None:
    """(zero, unit) per feature: the raw value that becomes 0, the raw distance that becomes 1; None where not known."""
    one = affine(norm.steps) if norm.steps else None
    if one is None or (one[0] == 0).any() or one[0].ndim > 1:
        return None
    scale, shift = (np.atleast_1d(v) for v in one)
    return -shift / scale, 1 / scale


def width(norm: Norm) -> int:
    """The number of features that a normalization has constants for; 1 for one value for all, 0 where not known."""
    sizes = [v.size for _, v in norm.steps if isinstance(v, np.ndarray)]
    return max(sizes, default=0)


def is_rescale(norm: Norm) -> bool:
    """Whether a normalization is no more than a change of the range of pixels, as x / 255 or x / 127.5 - 1."""
    values = [v for _, v in norm.steps if isinstance(v, np.ndarray)]
    factors = [(op, float(v.ravel()[0])) for op, v in norm.steps if isinstance(v, np.ndarray) and v.size == 1]
    one = all(v.size == 1 for v in values)
    return len(values) == len(norm.steps) > 0 and one and any(rescales(op, f) for op, f in factors)


def is_full(norm: Norm) -> bool:
    """Whether a normalization subtracts and divides by more than the range of pixels; of unknown constants, that it does."""
    ops = {op for op, _ in norm.steps}
    return bool(norm.steps) and not is_rescale(norm) and bool(ops & {"Sub", "Add"}) and bool(ops & {"Div", "Mul"})


def differs(a: Norm, b: Norm, close: float = CLOSE) -> str:
    """ "" where two are the same function, or nobody can tell; else "width", "order", "unit" or "constants"."""
    one, two = known(a), known(b)
    if one is None or two is None:
        return ""
    if one[0].size != two[0].size and 1 not in (one[0].size, two[0].size):
        return "width"
    if "config" in (a.by, b.by) and any(np.unique(u).size == 1 < u.size for _, u in (one, two)):
        close = max(close, 0.03)  # a runtime that has one factor for all channels takes their mean
    agree = [k for k in FACTORS if _same(one, two, k, close)]
    sure = bool(a.unit and b.unit)
    if 1.0 in agree or (agree and not sure):
        return ""
    if agree:
        return "unit"
    return "order" if _turned(one, two, close) else "constants"


def _same(one: tuple[Array, Array], two: tuple[Array, Array], factor: float, close: float) -> bool:
    (z1, u1), (z2, u2) = one, (two[0] * factor, two[1] * factor)
    return bool((np.abs(u1 - u2) <= close * np.abs(u2)).all() and (np.abs(z1 - z2) <= close * np.abs(u2)).all())


def _turned(one: tuple[Array, Array], two: tuple[Array, Array], close: float) -> bool:
    size = two[0].size
    if size != one[0].size or not 2 <= size <= 4:
        return (
            size == one[0].size
            and size > 4
            and any(
                _same((np.sort(one[0]), np.sort(one[1])), (np.sort(two[0]), np.sort(two[1])), k, close) for k in FACTORS
            )
        )
    orders = [list(o) for o in permutations(range(size)) if list(o) != list(range(size))]
    return any(_same(one, (two[0][o], two[1][o]), k, close) for o in orders for k in FACTORS)


def carried(model: Model) -> list[Norm]:
    """What a model does to its inputs itself, as norms."""
    found = []
    for space in model.spaces.values():
        one = space.transform.affine() if space.transform is not None else None
        steps = () if one is None or one.scale.ndim > 1 else (("Mul", one.scale), ("Add", one.shift))
        found.append(Norm(model.where, steps, "model", space.prose()[:160], names=space.features))
    return found


def clashes(norm: Norm, inside: Norm) -> bool:
    """Whether code that does `norm` scales what a model that does `inside` scales already. A code that only divides by the
    range of pixels is right before constants of 0 to 1."""
    held = known(inside)
    if held is not None and _only_factors(norm) and not _same_factors(norm, held):
        return False  # a change of units
    if is_rescale(inside):
        return is_rescale(norm) or _takes_pixels(known(norm))
    if is_rescale(norm):
        return held is not None and held[0].size in (1, 3) and _takes_pixels(held) and not _small(held)
    return True


def _only_factors(norm: Norm) -> bool:
    values = [(op, v) for op, v in norm.steps if isinstance(v, np.ndarray)]
    return len(values) == len(norm.steps) > 0 and all(op in ("Mul", "Div") and v.size > 1 for op, v in values)


def _same_factors(norm: Norm, held: tuple[Array, Array]) -> bool:
    one = known(norm)
    alike = one is not None and one[1].size == held[1].size
    return one is not None and alike and any(np.allclose(one[1], held[1] * k, rtol=1e-2) for k in FACTORS)


def _takes_pixels(held: tuple[Array, Array] | None) -> bool:
    """Whether the constants are for pixels of 0 to 255."""
    return held is not None and bool((np.abs(held[1]) > 2).all() and (np.abs(held[1]) < 300).all())


def _small(held: tuple[Array, Array]) -> bool:
    return bool((np.abs(held[0]) <= 1).all() and (np.abs(held[1]) <= 1).all())


def shown(norm: Norm) -> str:
    """The constants of a normalization in few words."""
    held = known(norm)
    if held is None:
        return norm.text
    zero, unit = (", ".join(f"{v:.4g}" for v in part[:4]) + (", ..." if part.size > 4 else "") for part in held)
    return f"(x - [{zero}]) / [{unit}]"
