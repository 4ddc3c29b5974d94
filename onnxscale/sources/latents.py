"""diffusers autoencoders: config.json with scaling_factor and shift_factor, which stand between the autoencoder and the denoiser.

diffusers/pipelines/flux/pipeline_flux.py and others: into the denoiser (z - shift_factor) * scaling_factor, out of it, before
the decoder, z / scaling_factor + shift_factor. Which of the two a model needs, the file does not say: --dialect.
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
    "encode": "(z - shift) * scale, what the denoiser is fed",
    "decode": "z / scale + shift, what the decoder is fed",
}


def is_latent(content: Mapping[Any, Any]) -> bool:
    return "scaling_factor" in content and str(content.get("_class_name", "")).startswith(
        ("Autoencoder", "AsymmetricAutoencoder")
    )


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of latents in the direction of reading.dialect. Raises StatisticsError without one, and for an autoencoder with
    latents_mean, whose formula differs between pipelines."""
    kind = str(content["_class_name"])
    if content.get("latents_mean") is not None or content.get("latents_std") is not None:
        raise StatisticsError(
            f"this {kind} has latents_mean and latents_std: pipelines use them in different formulas; write the scaler as steps, "
            f"or as mean and std"
        )
    if reading.dialect not in DIALECTS:
        listed = "; ".join(f"--dialect {name}: {formula}" for name, formula in DIALECTS.items())
        raise StatisticsError(
            f"the scaling of a {kind} has two directions, and only you know which one this model is for: {listed}"
        )
    scale = divisor(content["scaling_factor"], "scaling_factor")
    shift = content.get("shift_factor")
    moved = [] if shift is None else [numbers(shift, "shift_factor")]
    encode = (*(Step("Sub", (v,)) for v in moved), Step("Mul", (scale,)))
    decode = (Step("Div", (scale,)), *(Step("Add", (v,)) for v in moved))
    steps = encode if reading.dialect == "encode" else decode
    note = f"{kind}, {reading.dialect}: {DIALECTS[reading.dialect]}"
    return alone(Fitted(Steps(Transform(steps)), notes=(note,)), source)
