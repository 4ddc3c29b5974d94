"""diffusers autoencoders: config.json with scaling_factor, shift_factor, latents_mean and latents_std, which stand between the
autoencoder and the denoiser.

diffusers/pipelines/flux/pipeline_flux.py and others: into the denoiser (z - shift_factor) * scaling_factor, out of it, before
the decoder, z / scaling_factor + shift_factor. With latents_mean and latents_std (stable_diffusion_xl, ltx, mochi; wan and
qwenimage, which have no scaling_factor): (z - mean) * scaling_factor / std, and z * std / scaling_factor + mean. Which of the two
directions a model needs, the file does not say: --dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.scalers import Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Step
from onnxscale.transform import Transform

DIALECTS = {
    "encode": "what the denoiser is fed, (z - shift) * scale, or (z - mean) * scale / std",
    "decode": "what the decoder is fed, z / scale + shift, or z * std / scale + mean",
}


def is_latent(content: Mapping[Any, Any]) -> bool:
    held = "scaling_factor" in content or content.get("latents_mean") is not None
    return held and str(content.get("_class_name", "")).startswith(("Autoencoder", "AsymmetricAutoencoder"))


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of latents in the direction of reading.dialect. Raises StatisticsError without one, and for statistics that no
    pipeline has together."""
    kind = str(content["_class_name"])
    if reading.dialect not in DIALECTS:
        listed = "; ".join(f"--dialect {name}: {formula}" for name, formula in DIALECTS.items())
        raise StatisticsError(
            f"the scaling of a {kind} has two directions, and only you know which one this model is for: {listed}"
        )
    encode, axis = _encode(content, kind)
    steps = encode if reading.dialect == "encode" else encode.inverse()
    assert steps is not None  # Sub, Mul and Div have inverses
    note = f"{kind}, {reading.dialect}: {DIALECTS[reading.dialect]}"
    return alone(Fitted(Steps(steps), axis, notes=(note,)), source)


def _encode(content: Mapping[Any, Any], kind: str) -> tuple[Transform, int | None]:
    """The steps into the denoiser, and the axis of the channels where there are several values."""
    scale = [] if content.get("scaling_factor") is None else [divisor(content["scaling_factor"], "scaling_factor")]
    shift = content.get("shift_factor")
    mean, std = (content.get(k) for k in ("latents_mean", "latents_std"))
    if mean is None and std is None:
        if not scale:
            raise StatisticsError(f"this {kind} has no scaling_factor")
        moved = [] if shift is None else [Step("Sub", (numbers(shift, "shift_factor"),))]
        return Transform((*moved, Step("Mul", (scale[0],)))), None
    if mean is None or std is None or shift:
        raise StatisticsError(f"this {kind} has latents_mean without latents_std, or a shift_factor beside them")
    center, spread = numbers(mean, "latents_mean").reshape(-1), divisor(std, "latents_std").reshape(-1)
    middle = [Step("Mul", (v,)) for v in scale if (v != 1).any()]
    return Transform((Step("Sub", (center,)), *middle, Step("Div", (spread,)))), 1
