"""Keras models (.keras, .h5, .weights.h5): their Normalization and Rescaling layers; those that follow each other at an input as one.

keras/src/layers/preprocessing/normalization.py: (x - mean) / maximum(sqrt(variance), epsilon()), in the layer's compute dtype;
rescaling.py: x * scale + offset. keras/src/saving/saving_lib.py names the groups of weights.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.sources import hdf5_nodes, jsons, npzs
from onnxscale.sources.hdf5_nodes import Node
from onnxscale.sources.keras_layers import DTYPES, EPSILON, Layer, fitted, normalization
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.transform import Transform

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
SCALERS, DEPTH, LAYERS = ("Normalization", "Rescaling"), 16, 20_000
ZERO_VARIANCE = "a constant feature is divided by 1e-7"
_OWN = re.compile(r"(?:.*/)?normalization(?:_\d+)?")  # not batch_normalization, layer_normalization


def sniff(data: bytes, name: str) -> bool:
    """A zip with a config.json and weights beside it."""
    del name
    if data[:4] != b"PK\x03\x04" or CONFIG.encode() not in data:
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            held = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return b"model.weights" in data
    return CONFIG in held and any(n.startswith("model.weights") for n in held)


def read(data: bytes, reading: Reading) -> Statistics:
    """The scaler of a .keras archive. Raises StatisticsError for a damaged one, for no such layer, for several and none picked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if len(members) != len(archive.infolist()) or WEIGHTS not in members:
                raise StatisticsError(f"the archive holds {names(members)}; expected {WEIGHTS} among them, once")
            config = jsons.read(npzs.member(archive, members[CONFIG]), 200)
            about = jsons.read(npzs.member(archive, members["metadata.json"])) if "metadata.json" in members else {}
            weights = npzs.member(archive, members[WEIGHTS], hdf5_nodes.LARGEST * 16)
    except npzs.DAMAGE as error:
        raise StatisticsError(f"a damaged .keras archive ({str(error)[:120]})") from None
    version = str(about.get("keras_version", ""))[:40] if isinstance(about, Mapping) else ""
    return hdf5_nodes.opened(weights, lambda nodes: _statistics(config, nodes, version, reading))  # type: ignore[no-any-return]


def has_layers(nodes: Mapping[str, Node]) -> bool:
    """Whether an HDF5 file is a model or weights of Keras'."""
    return "model_config" in nodes[""].attributes or any(
        p == "vars" or p.endswith("/vars") or "layer_names" in node.attributes for p, node in nodes.items()
    )


def of_hdf5(nodes: Mapping[str, Node], reading: Reading) -> Statistics:
    """The scaler of a whole model (.h5), or of weights alone, whose layers have no configuration."""
    said = nodes[""].attributes.get("model_config")
    if said is None:
        return _weights_alone(nodes, reading)
    text = said if isinstance(said, bytes) else str(said).encode("utf-8", "surrogatepass")
    return _statistics(jsons.read(text, 200), nodes, str(nodes[""].attributes.get("keras_version", ""))[:40], reading)


def _statistics(config: Any, nodes: Mapping[str, Node], version: str, reading: Reading) -> Statistics:
    layers = list(_layers(config, "", "", 0))
    scalers = {x.name: x for x in layers if x.kind in SCALERS}
    if not scalers:
        raise StatisticsError(
            f"the model has no Normalization and no Rescaling; it has {names(dict.fromkeys(x.kind for x in layers))}"
        )
    chains = {"+".join(x.name for x in chain): chain for chain in _chains(layers)}
    inside = {x.name for chain in chains.values() for x in chain}
    alternatives = chains | {n: (x,) for n, x in scalers.items() if n not in inside}
    if reading.pick in scalers and reading.pick not in alternatives:
        alternatives = {reading.pick: (scalers[reading.pick],)}
    name, chain = picked(alternatives, reading, "layers that scale")
    notes = [f"the layer {name!r} of the Keras model; leave it out of what is exported, or it scales twice"]
    if name not in chains:
        notes.append(f"{name!r} alone: what stands before it in the model is not in the scaler")
    made = [fitted(x, nodes, version) for x in chain]
    axes = {m.axis for m in made if m.transform().shape}
    if len(axes) > 1:
        raise StatisticsError(
            f"the layers {name!r} scale along different axes: {names(sorted(map(str, axes)))}; pick one with --pick"
        )
    steps = tuple(step for m in made for step in m.transform().steps)
    if any(x.kind == "Normalization" for x in chain):
        notes.append("epsilon is keras.config.epsilon(), 1e-7 unless it was set otherwise; a file does not say it")
    source = Source("keras", framework="keras", version=version, ddof=0, zero_variance=ZERO_VARIANCE, eps=EPSILON)
    return alone(Fitted(Steps(Transform(steps)), next(iter(axes), None), notes=tuple(notes)), source)


def _layers(model: Any, prefix: str, weights: str, depth: int) -> Iterator[Layer]:
    """The layers of a model and of the models inside it, as saving_lib walks them: a group per layer, by its class, numbered."""
    config = model.get("config") if isinstance(model, Mapping) else None
    listed = config.get("layers") if isinstance(config, Mapping) else None
    if not isinstance(listed, list):
        raise StatisticsError(
            "the configuration lists no layers: a model of a class of its own; name its weights file instead"
        )
    if depth > DEPTH or len(listed) > LAYERS:
        raise StatisticsError(f"models nested more than {DEPTH} levels deep, or of more than {LAYERS:,} layers")
    met: dict[str, int] = {}
    before: str | None = None
    shapes: dict[str, list[Any]] = {}  # what comes out of inputs and of scalers, which keep it
    for item in listed:
        inner = item.get("config") if isinstance(item, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(item.get("class_name"), str):
            raise StatisticsError("the configuration has a layer that Keras would not write")
        kind, name = item["class_name"], str(inner.get("name", item.get("name", "")))
        snake = re.sub(
            r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", kind))
        ).lower()
        met[snake] = met.get(snake, -1) + 1
        at = f"{weights}layers/{snake}" + (f"_{met[snake]}" if met[snake] else "")
        if "layers" in inner:
            yield from _layers(item, f"{prefix}{name}/", f"{at}/", depth + 1)
        sources = _feeds(item["inbound_nodes"], 0) if "inbound_nodes" in item else ((before,) if before else ())
        built = item.get("build_config")
        shape = built.get("input_shape") if isinstance(built, Mapping) else None
        if kind == "InputLayer":
            shape = inner.get("batch_shape", inner.get("batch_input_shape"))
        elif shape is None and len(sources) == 1:
            shape = shapes.get(sources[0])
        if isinstance(shape, list) and kind in (*SCALERS, "InputLayer"):
            shapes[name] = shape
        yield Layer(
            f"{prefix}{name}",
            kind,
            inner,
            at,
            tuple(f"{prefix}{s}" for s in sources),
            tuple(shape) if isinstance(shape, list) else None,
        )
        before = name


def _feeds(nodes: Any, depth: int) -> tuple[str, ...]:
    """Names of the layers in inbound_nodes: keras_history of Keras 3, ["name", node, tensor, ...] of Keras 2."""
    if depth > DEPTH:
        return ()
    if isinstance(nodes, Mapping):
        return tuple(
            n for k, v in nodes.items() for n in _feeds(v, depth + 1) if k != "kwargs" or isinstance(v, Mapping)
        )
    if isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            return (nodes[0],)
        return tuple(n for v in nodes for n in _feeds(v, depth + 1))
    return ()


def _chains(layers: list[Layer]) -> list[tuple[Layer, ...]]:
    """The scalers that stand at an input, one after the other, as long as nothing else reads what is between them."""
    fed: dict[str, list[Layer]] = {}
    for layer in layers:
        for source in dict.fromkeys(layer.sources):
            fed.setdefault(source, []).append(layer)
    starts = [fed.get(x.name, []) for x in layers if x.kind == "InputLayer"]
    starts += [[x] for x in layers if not x.sources and x.kind in SCALERS]
    made = []
    for start in starts:
        chain: list[Layer] = []
        follow = start
        while len(follow) == 1 and follow[0].kind in SCALERS and follow[0] not in chain and len(follow[0].sources) <= 1:
            chain.append(follow[0])
            follow = fed.get(follow[0].name, [])
        if chain:
            made.append(tuple(chain))
    return made


def _weights_alone(nodes: Mapping[str, Node], reading: Reading) -> Statistics:
    found: dict[str, tuple[Node, Node]] = {}
    for path, node in nodes.items():
        group = path.removesuffix("/vars")
        mean, variance, count, more = (nodes.get(f"{path}/{i}") for i in range(4))
        if (
            group != path
            and _OWN.fullmatch(group)
            and mean
            and variance
            and count
            and count.shape == ()
            and more is None
        ):
            found[str(node.attributes.get("name", group.rpartition("/")[2]))] = mean, variance
    if not found:
        raise StatisticsError(
            "weights without a configuration, and no group that is called normalization; give the .keras file instead"
        )
    name, (center, spread) = picked(found, reading, "layers that scale")
    shape = center.shape
    if not reading.accept_defaults:
        raise StatisticsError(
            f"weights alone: whether {name!r} is inverted, and along which axis, is not in them; the defaults of Normalization are "
            f"invert=False and axis=-1. Accept them with --accept-defaults, or give the .keras file"
        )
    if shape is None or shape != spread.shape or len(shape) > 1:
        raise StatisticsError(
            f"{name!r} has statistics of shape {shape}, which axis=-1 does not make; give the .keras file"
        )
    scaler = normalization(center.read(), spread.read(), (-1,) if shape else (), DTYPES["float32"], False, name)
    notes = (
        f"{name!r}: invert=False, axis=-1, float32 and epsilon 1e-7, the defaults of Normalization (--accept-defaults)",
    )
    source = Source("keras", framework="keras", ddof=0, zero_variance=ZERO_VARIANCE, eps=EPSILON)
    return alone(Fitted(scaler, -1 if shape else None, notes=notes), source)
