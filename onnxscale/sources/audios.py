"""Hugging Face feature extractors for audio: preprocessor_config.json with a feature_extractor_type and a sampling_rate.

transformers/models/*/feature_extraction_*.py: AST (features - mean) / (std * 2); Wav2Vec2 and SpeechT5 each clip by its own mean
and variance, as far as the attention mask says; Speech2Text each mel bin of a clip; Whisper max(x, top - 8), (x + 4) / 4. What the
extractors do before that (spectra, logarithms) stays with the app.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Instance, LogMel, Scaler, Standard
from onnxscale.scalers.values import divisor, numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone

MASK = "attention_mask"
OWN = {
    "SeamlessM4TFeatureExtractor": "normalizes each mel bin before it lays two frames side by side",
    "ClapFeatureExtractor": "takes decibels relative to each clip",
}


def _asked(content: Mapping[Any, Any], kind: str, *keys: str) -> list[Any]:
    missing = [k for k in keys if k not in content]
    if missing:
        raise StatisticsError(f"a {kind} without {names(missing)}; write what the model was trained with into the file")
    return [content[k] for k in keys]


def _on(content: Mapping[Any, Any], kind: str, *flags: str) -> list[bool]:
    values = _asked(content, kind, *flags)
    odd = next((k for k, v in zip(flags, values, strict=True) if not isinstance(v, bool)), None)
    if odd is not None:
        raise StatisticsError(f"{odd}: expected true or false, got {content[odd]!r}")
    return values


def _nothing(kind: str, flag: str) -> StatisticsError:
    return StatisticsError(f"{flag} is off: this {kind} scales nothing")


def _spectrogram(content: Mapping[Any, Any], kind: str) -> tuple[Scaler, str]:
    _, mean, std = _asked(content, kind, "do_normalize", "mean", "std")
    if _on(content, kind, "do_normalize") == [False]:
        raise _nothing(kind, "do_normalize")
    scaler = Standard(numbers(mean, "mean"), 2 * divisor(std, "std"))
    return scaler, "divides by twice the std; the features (a log-mel filter bank) stay with the app"


def _wave(content: Mapping[Any, Any], kind: str) -> tuple[Scaler, str]:
    normalize, masked = _on(content, kind, "do_normalize", "return_attention_mask")
    if not normalize:
        raise _nothing(kind, "do_normalize")
    how: dict[str, Any] = {"over": (-1,), "eps": 1e-7, "eps_at": "var"}
    if not masked:
        return Instance(**how), "scales each clip by all of its samples, padding too, as it has no attention mask"
    (pad,) = _asked(content, kind, "padding_value")
    return Instance(**how, mask=MASK, pad=pad), f"scales each clip by its samples, as far as {MASK} says"


def _utterance(content: Mapping[Any, Any], kind: str) -> tuple[Scaler, str]:
    flags = ("do_ceptral_normalize", "normalize_means", "normalize_vars")
    normalize, means, variances = _on(content, kind, *flags)
    if not normalize or not (means or variances):
        raise _nothing(kind, flags[0])
    (pad,) = _asked(content, kind, "padding_value")
    center, spread = "mean" if means else "none", "std" if variances else "none"
    scaler = Instance(over=(1,), center=center, spread=spread, mask=MASK, pad=pad)
    return scaler, f"scales each mel bin of a clip by its frames, as far as {MASK} says"


def _whisper(content: Mapping[Any, Any], kind: str) -> tuple[Scaler, str]:
    del content, kind
    return (
        LogMel(),
        "cuts each clip off 8 below its largest value; the app feeds log10 of the mel energies (1e-10 at least)",
    )


KNOWN: dict[str, Callable[[Mapping[Any, Any], str], tuple[Scaler, str]]] = {
    "ASTFeatureExtractor": _spectrogram,
    "Wav2Vec2FeatureExtractor": _wave,
    "SpeechT5FeatureExtractor": _wave,
    "Speech2TextFeatureExtractor": _utterance,
    "WhisperFeatureExtractor": _whisper,
}


def is_audio(content: Mapping[Any, Any]) -> bool:
    return "feature_extractor_type" in content and "sampling_rate" in content


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of an audio feature extractor, for the features that it makes. Raises StatisticsError for one whose scaling no
    step stands for, and for one that is not known."""
    del reading
    kind = str(content["feature_extractor_type"])
    if kind in OWN:
        raise StatisticsError(f"{kind} {OWN[kind]}, which cannot be baked behind it. Keep it in the app")
    if kind not in KNOWN:
        raise StatisticsError(f"{kind[:60]!r} is no feature extractor that is known; known are {names([*KNOWN, *OWN])}")
    scaler, note = KNOWN[kind](content, kind)
    return alone(Fitted(scaler, notes=(f"{kind} {note}",)), source)
