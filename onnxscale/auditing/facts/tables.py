"""Statistics files of every known format, and the settings of runtimes that scale: what they make of values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath

from onnxscale import linting, ports, sources
from onnxscale.auditing.facts import words
from onnxscale.auditing.facts.base import Facts, Norm, Table, Trouble
from onnxscale.auditing.finding import Where
from onnxscale.errors import StatisticsError
from onnxscale.sources import jsons, native, tomls, yamls
from onnxscale.sources.configs import config_of
from onnxscale.statistics import Fitted, Reading, Source, Statistics

READING = Reading(accept_defaults=True, zero_std="one")
APPLIED = {
    "Hugging Face image processor", "Hugging Face audio feature extractor", "DeepStream configuration", "RKNN configuration",
    "OpenVINO arguments", "TFLite metadata", "bioimage.io model",
    "Triton configuration",
}  # fmt: skip
_PASSED = {"diffusers autoencoder"}
_PARSED = {".json": jsons.read, ".yaml": yamls.read, ".yml": yamls.read, ".toml": tomls.read}
_KEY = re.compile(
    r"^\W*(image_mean|mean\w*|center\w*|data_min\w*|offsets?|net-scale-factor|mean_values|std\w*|scale\w*|min\w*|key: .(mean|std))\b",
    re.MULTILINE | re.IGNORECASE,
)
_MODEL = re.compile(
    r"(?:^\s*(?:onnx-file|model-engine-file|default_model_filename|model_file)\s*[=:]|--input_model[\s=]|\bovc\s)\s*\"?([^\s\"]+)",
    re.MULTILINE,
)
_BLUE_FIRST = re.compile(r"^\s*model-color-format\s*[=:]\s*1\b", re.MULTILINE)  # DeepStream
_TARGETS = {"target", "targets", "y", "label", "labels", "output", "outputs"}
_RUNS = re.compile(r"calls (\S+), which no fitted scaler does")


def read(source: str, path: str, data: bytes | None) -> Facts:
    """The facts of a file that may be statistics; one that is not says nothing. data: its bytes, where it is small text."""
    suffix = PurePosixPath(path).suffix.lower()
    try:
        kind, found = _statistics(source, path, data, suffix)
    except StatisticsError as error:
        return Facts(path, "statistics", troubles=_trouble(path, suffix, str(error)))
    if kind in _PASSED:
        return Facts(path, "statistics")
    text = data.decode("utf-8", "replace") if data is not None else ""
    where = Where(path, _line(text))
    digest = found.source.sha256 or (hashlib.sha256(data).hexdigest() if data is not None else "")
    named = _MODEL.search(text)
    target = bool(set(words.words(PurePosixPath(path).stem)) & _TARGETS)
    tables = [
        _table(where, kind, fitted, found, target or role == "outputs", digest, named[1] if named else "")
        for role, part in (("inputs", found.inputs), ("outputs", found.outputs))
        for fitted in part.values()
    ]
    if _BLUE_FIRST.search(text):
        tables = [replace(t, reverse=True) for t in tables]
    return Facts(path, "statistics", words.role_of_path(path), tables=tuple(tables))


def _statistics(source: str, path: str, data: bytes | None, suffix: str) -> tuple[str, Statistics]:
    if data is None or suffix not in _PARSED:
        found = sources.read(source, READING)
        return found.source.format, found
    content = _PARSED[suffix](data)
    config = config_of(content)
    if not isinstance(content, Mapping | list):
        raise StatisticsError("no statistics")
    origin = Source(suffix[1:], path, hashlib.sha256(data).hexdigest())
    try:
        made = native.from_mapping(content, READING, origin)
    except StatisticsError:
        inner = list(islice(_inside([content], 5), 2))
        if config is not None or len(inner) != 1:
            raise
        made = native.from_mapping(inner[0], READING, origin)
    return (config.name if config is not None else suffix[1:]), made


def _inside(content: object, depth: int) -> Iterator[Mapping[str, object]]:
    """Parts of a larger document that are a mean and a std, such as `preprocessing: {mean: [...], std: [...]}`."""
    for part in content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ():
        whole = depth == 5  # mean and std among other settings; alone, one number of each is anybody's
        if isinstance(part, Mapping) and {"mean", "std"} <= set(part) and (not whole or isinstance(part["mean"], list)):
            yield {"mean": part["mean"], "std": part["std"]}
        elif depth:
            yield from _inside(part, depth - 1)


def _table(where: Where, kind: str, fitted: Fitted, found: Statistics, target: bool, digest: str, model: str) -> Table:
    transform = fitted.transform()
    one = transform.affine()
    steps = () if one is None or one.scale.ndim > 1 else (("Mul", one.scale), ("Add", one.shift))
    config = kind in APPLIED
    role = "serve" if config else "train"
    nominal = fitted.layout.get("Image.NominalPixelRange") == "NominalRange_0_255"
    norm = Norm(
        where, steps, "config" if config else "statistics", transform.prose()[:160], "", role, 255.0 if nominal else 0.0,
        names=fitted.features,
    )  # fmt: skip
    lint = tuple((f.code, f.message) for f in linting.findings(fitted))
    space = ports.of_fitted(fitted, found.source)
    return Table(where, kind, norm, space, config, target, digest, model, lint)


def _line(text: str) -> int:
    found = _KEY.search(text)
    return text.count("\n", 0, found.start(1)) + 1 if found else 1


def _trouble(path: str, suffix: str, reason: str) -> tuple[Trouble, ...]:
    """Only what would run code when it is loaded is worth a word: most files are no statistics."""
    if suffix in (".pkl", ".pickle", ".joblib", ".skops") and _RUNS.search(reason):
        return (Trouble(Where(path), reason[:300], unsafe=True),)
    return ()
