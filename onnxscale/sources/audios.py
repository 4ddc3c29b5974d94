"""Hugging Face feature extractors for audio: preprocessor_config.json with a feature_extractor_type and a sampling_rate.

transformers/models/audio_spectrogram_transformer/feature_extraction_audio_spectrogram_transformer.py, normalize:
(features - mean) / (std * 2). Others normalize each clip by its own statistics, which no constant can stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Standard
from onnxscale.scalers.values import divisor, numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone

DOUBLED = ("ASTFeatureExtractor",)
OWN = {
    "WhisperFeatureExtractor": "cuts each log-mel clip off 8 below its own maximum, then (x + 4) / 4",
    "Wav2Vec2FeatureExtractor": "gives each clip zero mean and unit variance of its own (do_normalize)",
    "SeamlessM4TFeatureExtractor": "normalizes each mel bin of a clip by the clip's own mean and variance",
    "SpeechT5FeatureExtractor": "gives each clip zero mean and unit variance of its own (do_normalize)",
    "Speech2TextFeatureExtractor": "normalizes each clip by its own mean and variance",
    "ClapFeatureExtractor": "takes decibels relative to each clip",
}


def is_audio(content: Mapping[Any, Any]) -> bool:
    return "feature_extractor_type" in content and "sampling_rate" in content


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of an audio feature extractor, for the features that it makes. Raises StatisticsError for one that works clip
    by clip, and for one that is not known."""
    del reading
    kind = str(content["feature_extractor_type"])
    if kind in OWN and content.get("do_normalize") is not False:
        raise StatisticsError(
            f"{kind} {OWN[kind]}: that depends on the clip, and no constant of this file says it. Keep it in the app"
        )
    if kind not in DOUBLED:
        raise StatisticsError(
            f"{kind[:60]!r} is no feature extractor that is known; known are {names([*DOUBLED, *OWN])}"
        )
    missing = [k for k in ("mean", "std", "do_normalize") if k not in content]
    if missing:
        raise StatisticsError(f"a {kind} without {names(missing)}; write what the model was trained with into the file")
    if content["do_normalize"] is not True:
        raise StatisticsError(f"do_normalize is {content['do_normalize']!r}: this {kind} scales nothing")
    scaler = Standard(numbers(content["mean"], "mean"), 2 * divisor(content["std"], "std"))
    note = f"{kind} divides by twice the std; the features (a log-mel filter bank) stay with the app"
    return alone(Fitted(scaler, notes=(note,)), source)
