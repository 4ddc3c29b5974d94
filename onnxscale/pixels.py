"""How the app feeds images where the model takes them otherwise: the dimensions in another order, the channels reversed, one
gray channel for several. Each is a step before those of the scaler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxscale.errors import PlanError
from onnxscale.graph import InputSpec
from onnxscale.statistics import Fitted
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

LAYOUTS = ("keep", "nhwc", "nchw")
CHANNELS = ("keep", "reversed", "gray")


def fed(fitted: Fitted, spec: InputSpec, axis: int, layout: str, channels: str) -> tuple[Fitted, Transform, list[str]]:
    """The scaler for what the app feeds, its transform, and notes. axis: of the channels in the model's input.

    Raises PlanError where the input is no image of that layout, or has no channels to move.
    """
    transform, notes = fitted.transform(), list[str]()
    steps: tuple[Step, ...] = ()
    if layout != "keep":
        steps += (_layout(spec, axis, layout),)
        notes.append(f"the app feeds {layout.upper()} images")
    if channels != "keep":
        size = None if spec.shape is None else spec.shape[axis]
        count = size if isinstance(size, int) else (transform.shape or (None,))[-1]
        if not isinstance(count, int) or count < 2:
            raise PlanError(f"--channels {channels}: {spec.prose()} has no known number of channels at axis {axis}")
        reverse = channels == "reversed"
        chosen = np.arange(count)[::-1] if reverse else np.zeros(count)
        steps += (Step("Select", (chosen,), {"features": count if reverse else 1}),)
        notes.append("the app feeds the channels in reverse order" if reverse else "the app feeds one gray channel")
        fitted = _reordered(fitted, reverse)
    return fitted, Transform(steps) | transform, notes


def _layout(spec: InputSpec, axis: int, layout: str) -> Step:
    rank = 0 if spec.shape is None else len(spec.shape)
    there = {"nhwc": rank - 1, "nchw": 1}
    model = next((name for name, at in there.items() if at == axis % max(rank, 1)), "")
    if rank < 3 or not model:
        raise PlanError(f"--layout {layout}: {spec.prose()} is no image with its channels at axis 1 or last")
    if model == layout:
        raise PlanError(f"--layout {layout}: that is what {spec.prose()} takes already; leave --layout away")
    places = list(range(rank))
    order = [0, rank - 1, *places[1:-1]] if layout == "nhwc" else [0, *places[2:], 1]
    return Step("Transpose", (), {"order": ",".join(map(str, order))})


def _reordered(fitted: Fitted, reverse: bool) -> Fitted:
    """What is known of the features, for those that the app feeds."""

    def moved(values: Array | None, one: np.ufunc) -> Array | None:
        if values is None or values.ndim == 0:
            return values
        return values[::-1] if reverse else np.atleast_1d(one.reduce(values))

    names = fitted.features[::-1] if reverse else ()
    low, high = moved(fitted.data_min, np.minimum), moved(fitted.data_max, np.maximum)
    units = fitted.units[::-1] if reverse else fitted.units[:1]
    seen = None
    if fitted.profile is not None and reverse:
        seen = fitted.profile.of(np.arange(fitted.profile.width)[::-1])
    return replace(fitted, data_min=low, data_max=high, features=names, units=units, profile=seen)


def padding(transform: Transform) -> str:
    """The raw value of each channel that becomes 0, with which an app pads images; "" where it is 0, or none is."""
    affine = transform.affine()
    if affine is None or (affine.scale == 0).any():
        return ""
    zero = np.atleast_1d(-affine.shift / affine.scale).ravel()
    return "" if not zero.any() else ", ".join(f"{v:.6g}" for v in zero[:4])
