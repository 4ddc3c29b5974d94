"""Configurations of frameworks: documents (JSON, YAML, TOML) that are known by their keys. A new one is one file and one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxscale.sources import audios, bioimages, bridgescalers, deepstreams, images, latents, lerobots, sentences, timms
from onnxscale.sources import runtimesettings as runtimes
from onnxscale.statistics import Reading, Source, Statistics


@dataclass(frozen=True)
class Config:
    """A framework's document. of: a mapping, or a list. sniff: whether such a one is it. read: its scalers; raises StatisticsError."""

    name: str
    sniff: Callable[[Any], bool]
    read: Callable[[Any, Reading, Source], Statistics]
    of: type = Mapping


CONFIGS: tuple[Config, ...] = (
    Config("Hugging Face audio feature extractor", audios.is_audio, audios.read),
    Config("LeRobot dataset", lerobots.is_lerobot, lerobots.read),
    Config("sentence-transformers modules", sentences.is_modules, sentences.read, list),
    Config("timm model", timms.is_timm, timms.read),
    Config("diffusers autoencoder", latents.is_latent, latents.read),
    Config("Hugging Face image processor", images.is_image, images.read),
    Config("bioimage.io model", bioimages.is_bioimage, bioimages.read),
    Config("bridgescaler", bridgescalers.is_bridge, bridgescalers.read),
    Config("DeepStream configuration", deepstreams.is_deepstream, deepstreams.mapping),
    Config("RKNN configuration", runtimes.is_rknn, runtimes.rknn),
    Config("OpenVINO arguments", runtimes.is_openvino, runtimes.openvino),
    Config("TFLite metadata", runtimes.is_tflite, runtimes.tflite),
)


def config_of(content: object) -> Config | None:
    """The row that this document is of, or None."""
    return next((c for c in CONFIGS if isinstance(content, c.of) and c.sniff(content)), None)
