"""Configurations of frameworks: documents (JSON, YAML, TOML) that are known by their keys. A new one is one file and one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxscale.sources import (
    audios,
    bioimages,
    bridgescalers,
    cmvns,
    deepstreams,
    images,
    latents,
    lerobots,
    nnunets,
    pixelnorms,
    sentences,
    timms,
    writtenout,
)
from onnxscale.sources import runtimesettings as runtimes
from onnxscale.statistics import Reading, Source, Statistics


@dataclass(frozen=True)
class Config:
    """A framework's document. of: a mapping, a list, or either (object). sniff: whether such a one is it. read: its scalers; raises
    StatisticsError. framework: that writes it. version: the key under which it says its version, or ""."""

    name: str
    sniff: Callable[[Any], bool]
    read: Callable[[Any, Reading, Source], Statistics]
    framework: str
    of: type = Mapping
    version: str = ""

    def located(self, read: Statistics, content: Any) -> Statistics:
        """What was read, with the framework and its version."""
        said = content.get(self.version) if self.version and isinstance(content, Mapping) else None
        version = read.source.version or (said[:40] if isinstance(said, str) else "")
        own = next((e for f in read.inputs.values() if (e := getattr(f.scaler, "eps", None)) is not None), None)
        eps = own if read.source.eps is None else read.source.eps
        source = replace(read.source, framework=read.source.framework or self.framework, version=version, eps=eps)
        return replace(read, source=source)


CONFIGS: tuple[Config, ...] = (
    Config(
        "Hugging Face audio feature extractor",
        audios.is_audio,
        audios.read,
        "transformers",
        version="transformers_version",
    ),
    Config("LeRobot dataset", lerobots.is_lerobot, lerobots.read, "LeRobot"),
    Config("sentence-transformers modules", sentences.is_modules, sentences.read, "sentence-transformers", list),
    Config("timm model", timms.is_timm, timms.read, "timm"),
    Config("diffusers autoencoder", latents.is_latent, latents.read, "diffusers", version="_diffusers_version"),
    Config(
        "Hugging Face image processor", images.is_image, images.read, "transformers", version="transformers_version"
    ),
    Config("bioimage.io model", bioimages.is_bioimage, bioimages.read, "bioimage.io"),
    Config("bridgescaler", bridgescalers.is_bridge, bridgescalers.read, "bridgescaler"),
    Config("scikit-learn attributes", writtenout.is_written_out, writtenout.read, "scikit-learn"),
    Config("CMVN statistics", cmvns.is_cmvn, cmvns.statistics, ""),
    Config("nnU-Net plans", nnunets.is_nnunet, nnunets.read, "nnU-Net"),
    Config(
        "pixels of Detectron2, OpenMMLab, PaddlePaddle, albumentations",
        pixelnorms.is_pixels,
        pixelnorms.read,
        "",
        object,
    ),
    Config("DeepStream configuration", deepstreams.is_deepstream, deepstreams.mapping, "DeepStream"),
    Config("RKNN configuration", runtimes.is_rknn, runtimes.rknn, "RKNN-Toolkit"),
    Config("OpenVINO arguments", runtimes.is_openvino, runtimes.openvino, "OpenVINO"),
    Config("TFLite metadata", runtimes.is_tflite, runtimes.tflite, "TensorFlow Lite"),
)


def config_of(content: object) -> Config | None:
    """The row that this document is of, or None."""
    return next((c for c in CONFIGS if isinstance(content, c.of) and c.sniff(content)), None)
