"""Where the features of a scaler lie in a tensor: given, or derived where only one axis fits. Never guessed."""

from __future__ import annotations

from dataclasses import dataclass

from onnxscale.errors import PlanError
from onnxscale.graph import InputSpec


@dataclass(frozen=True)
class Place:
    """axis: of the first dimension of the features, or None with the reason why there is none."""

    axis: int | None
    reason: str


@dataclass(frozen=True)
class Placed:
    axis: int
    reason: str


def placed(
    spec: InputSpec, shape: tuple[int, ...], axis: int | None, what: str = "stats", role: str = "input"
) -> Placed:
    """As `find_axis`; PlanError where there is none."""
    place = find_axis(spec, shape, axis, what, role)
    if place.axis is None:
        raise PlanError(place.reason)
    return Placed(place.axis, place.reason)


def find_axis(
    spec: InputSpec, shape: tuple[int, ...], axis: int | None, what: str = "stats", role: str = "input"
) -> Place:
    """The axis of the first feature dimension in a tensor.

    shape: of the features, () for one value for all. axis: as the user or the file says, negative counts from the end.
    A dimension of known size counts before one of unknown size; the first dimension of several is the batch, unless its
    size is known to be right.
    """
    width = len(shape)
    if width == 0:
        return Place(-1, "one value for the whole tensor")
    if spec.shape is None:
        if axis is None or axis >= 0:
            return Place(
                None,
                f"{spec.prose()} has an unknown rank: say with --axis where the features lie, counted from the end (-1)",
            )
        return Place(axis, "given")
    rank = len(spec.shape)
    fits = [a for a in range(rank - width + 1) if _fits(spec.shape[a : a + width], shape)]
    if axis is not None:
        at = axis + rank if axis < 0 else axis
        if at in fits:
            return Place(at, "given")
        return Place(None, _mismatch(spec, shape, at, what, role))
    known = {a: sum(isinstance(d, int) for d in spec.shape[a : a + width]) for a in fits}
    fits = [a for a in fits if a > 0 or rank == width or known[a] == width]
    best = [a for a in fits if known[a] == max(known[b] for b in fits)]
    if not best:
        return Place(None, _mismatch(spec, shape, None, what, role))
    if len(best) > 1 and shape != (1,):
        listed = ", ".join(map(str, best))
        return Place(
            None, f"{what} of {_size(shape)} fit {spec.prose()} at axis {listed}: say with --axis which one is meant"
        )
    only = "the only one of that size" if known[best[-1]] else "the only one of open size"
    return Place(best[-1], only if rank > width else "the whole tensor")


def _fits(dims: tuple[int | str | None, ...], shape: tuple[int, ...]) -> bool:
    return all(not isinstance(d, int) or d == s for d, s in zip(dims, shape, strict=True))


def _size(shape: tuple[int, ...]) -> str:
    return (
        f"{shape[0]} feature{'s' if shape[0] != 1 else ''}"
        if len(shape) == 1
        else "x".join(map(str, shape)) + " values"
    )


def _mismatch(spec: InputSpec, shape: tuple[int, ...], axis: int | None, what: str, role: str) -> str:
    assert spec.shape is not None
    rank = len(spec.shape)
    if axis is not None and not 0 <= axis <= rank - len(shape):
        return f"{what} of {_size(shape)} at axis {axis}: {spec.prose()} has {rank} dimensions"
    at = axis if axis is not None else rank - len(shape)
    if at < 0:
        return f"{what} have {_size(shape)}, {role} {spec.prose()} has {rank} dimension(s)"
    dims = spec.shape[at : at + len(shape)]
    return (
        f"{what} have {_size(shape)}, {role} {spec.name!r} has {'x'.join(map(str, dims))} at axis {at - rank} (it is {spec.prose()}). "
        f"Take the statistics that were fitted for this model"
    )
