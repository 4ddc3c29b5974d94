"""Cue: the arithmetic that the graph itself begins with. A scaler in front takes raw values; one factor of 1/255 takes pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxscale.expecting.base import Evidence, Subject
from onnxscale.linting import KNOWN, NEAR
from onnxscale.step import Array

RANGES = {"pixels": (0.0, 255.0), "unit": (0.0, 1.0), "symmetric": (-1.0, 1.0)}


def leading(subject: Subject) -> Iterator[Evidence]:
    lead = subject.lead
    one = lead.transform.affine() if lead.ops else None
    if one is None:
        return
    scale, shift = np.atleast_1d(one.scale).ravel(), np.atleast_1d(one.shift).ravel()
    if not scale.all():
        return
    mean, std = -shift / scale, 1 / scale
    known = _known(mean, std)
    if known:
        name, unit = known
        which, range_ = ("pixels", "0 to 255") if unit == 255 else ("unit", "0 to 1")
        says = f"the graph itself normalizes by {name}'s constants for {range_}: {lead.prose()}"
        yield Evidence("leading nodes", says, {which: 8.0}, decides=True)
    elif lead.is_scaler:
        yield Evidence(
            "leading nodes", f"the graph itself scales: {lead.prose()}", {"raw": 8.0}, decides=subject.sort == "table"
        )
    elif scale.size == shift.size == 1:
        yield from _rescale(subject, float(scale[0]), float(shift[0]))


def _known(mean: Array, std: Array) -> tuple[str, float] | None:
    """The constants in use that these are, in either order of the channels, and the unit of their pixels."""
    for k in KNOWN:
        if max(mean.size, std.size) != len(k.mean) or len(k.mean) == 1:
            continue
        for unit in (1.0, 255.0):
            m, s = np.array(k.mean) * unit, np.array(k.std) * unit
            if any(_same(mean, m[o]) and _same(std, s[o]) for o in (slice(None), slice(None, None, -1))):
                return k.name, unit
    return None


def _same(a: Array, b: Array) -> bool:
    return bool(np.all(np.abs(a - b) <= NEAR * np.abs(b)))


def _rescale(subject: Subject, scale: float, shift: float) -> Iterator[Evidence]:
    """One factor and one shift: what range do they take to 0..1 or -1..1?"""
    for name, (low, high) in RANGES.items():
        ends = (scale * low + shift, scale * high + shift)
        for to in ((0.0, 1.0), (-1.0, 1.0)):
            if (
                name != "symmetric"
                and (low, high) != to
                and all(abs(a - b) < 0.01 for a, b in zip(ends, to, strict=True))
            ):
                says = f"the graph begins with {subject.lead.prose()}, which takes {low:g} to {high:g} to {to[0]:g} to {to[1]:g}"
                yield Evidence("leading nodes", says, {name: 6.0})
                return
