"""What a model, or a statistics file, says that its data is like: the reference that data is held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxscale import origins, samples
from onnxscale.checking import reference as references
from onnxscale.checking.reference import Reference
from onnxscale.errors import StatisticsError, names
from onnxscale.profile import Profile
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Statistics
from onnxscale.step import Array
from onnxscale.transform import Transform


@dataclass(frozen=True, eq=False)
class Expectation:
    """reference: of the columns. input: the model's input, or "". axis: where the features lie in an array, or None. said: where it
    comes from, in words. steps: whether each step of a feature is a column, as [n, time, F] has time x F."""

    reference: Reference
    input: str
    axis: int | None
    said: str
    steps: bool = False


def expected(source: object, input: str = "", reading: Reading | None = None) -> Expectation:
    """What is expected of the data of one input. source: a model, a statistics file, or what `read` takes; a Profile too.

    Raises StatisticsError where nothing is known of the values, or where there are several inputs and none is named.
    """
    reading = reading or Reading()
    if isinstance(source, Profile):
        return Expectation(references.from_profile(source), input, None, "a profile")
    found = source if isinstance(source, Statistics) else origins.read(source, reading)
    name, fitted = _chosen(found, input, reading)
    said = found.source.path or found.source.format
    steps = len(fitted.transform().shape) > 1
    return Expectation(_reference(fitted, said), input or (name or ""), fitted.axis, said, steps)


def _chosen(found: Statistics, input: str, reading: Reading) -> tuple[str | None, Fitted]:
    if not found.inputs:
        raise StatisticsError(
            f"{found.source.path or 'the statistics'}: no scaler of an input, so nothing to hold data against"
        )
    if input and input in found.inputs:
        return input, found.inputs[input]
    named = {n: f for n, f in found.inputs.items() if n is not None}
    if input and named:
        raise StatisticsError(f"--input {input}: there is {names(named)}")
    if len(found.inputs) == 1:
        return next(iter(found.inputs.items()))
    name, fitted = picked(named, reading, "inputs with a scaler; name one with --input")
    return name, fitted


def _reference(fitted: Fitted, said: str) -> Reference:
    transform = fitted.transform()
    profile = fitted.profile
    image = fitted.scaler.kind == "image" or (profile is not None and "pictures" in profile.about)
    if profile is not None:
        size = int(np.prod(transform.shape)) if transform.shape else profile.width
        own = transform if size == profile.width and len(transform.shape) <= 1 else None
        found = references.from_profile(profile, own, image)
        return found if found.features or not fitted.features else references.named(found, fitted.features)
    if len(transform.shape) > 1:
        raise StatisticsError(
            f"{said}: a scaler of the shape {transform.shape} without a profile; fit it with onnxscale fit, which keeps one"
        )
    if not transform.elementwise or transform.inverse() is None:
        raise StatisticsError(
            f"{said}: its scaler ({transform.prose()}) does not say what raw values are like, and there is no profile; fit statistics "
            f"with onnxscale fit, which keeps one"
        )
    mean, std, low, high = _moments(fitted, transform)
    return references.from_moments(mean, std, low, high, features=fitted.features, scaler=transform, channels=image)


def _moments(fitted: Fitted, t: Transform) -> tuple[Array, Array, Array | None, Array | None]:
    """Mean and std that a scaler speaks of: what it maps to 0 and 1 (z-scores), or the middle of what it maps to its range."""
    shape = t.shape or (max(len(fitted.features), 1),)
    low, high = (
        (None if v is None else np.broadcast_to(v, shape).astype(np.float64))
        for v in (fitted.data_min, fitted.data_max)
    )
    if _is_range(fitted, t):
        inverse = t.inverse()
        assert inverse is not None
        ends = low, high
        if low is None or high is None:
            first, second = (inverse(np.full(shape, v)) for v in (0.0, 1.0))
            ends = np.minimum(first, second), np.maximum(first, second)
        assert ends[0] is not None and ends[1] is not None
        return (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 4, ends[0], ends[1]
    found = samples.raw_range(t, shape)
    return found.center, found.width, low, high


def _is_range(fitted: Fitted, t: Transform) -> bool:
    """Whether a scaler maps a range to [0, 1]: min-max by its kind, or by its form, a product and a sum (and a clip)."""
    return fitted.scaler.kind == "minmax" or [s.op for s in t.steps[:2]] == ["Mul", "Add"]
