"""OpenVINO IR: mean and scale that the converter noted in rt_info, and the steps that PrePostProcessor put behind a Parameter.

Those steps carry the mark "preprocessing" (openvino/core/preprocess), which tells them from the model's own arithmetic. When the
IR is saved, a scale may be moved into the weights of the layer behind; that layer then has the mark too, and is refused.
The constants lie in the .bin beside the .xml, at the offset that their layer says; only those bytes are read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.sources import openvinoargs, xmls
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

LARGEST, LONGEST = 64 << 20, 64
_OPS = {"Subtract": "Sub", "Divide": "Div", "Multiply": "Mul", "Add": "Add"}
_TYPES = {"f64": "<f8", "f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4", "i16": "<i2", "i8": "i1", "u8": "u1"}
_PASSED = ("Convert", "Transpose", "Interpolate")
_ARGUMENTS = ("mean_values", "scale_values", "scale", "reverse_input_channels")


@dataclass(frozen=True)
class Layer:
    """A layer of the IR. data: its attributes. marked: whether PrePostProcessor made it, or something was moved into it."""

    key: str
    name: str
    type: str
    data: Mapping[str, str]
    marked: bool
    tensor: str


@dataclass(frozen=True)
class Graph:
    """The layers, what feeds (layer, input port), and what a layer feeds. weights: the .bin, or None where there is no path."""

    layers: Mapping[str, Layer]
    feeds: Mapping[tuple[str, int], str]
    fed: Mapping[str, tuple[tuple[str, int], ...]]
    weights: Path | None

    def inputs(self, key: str) -> list[str]:
        return [self.feeds[key, i] for i in range(sum(k == key for k, _ in self.feeds)) if (key, i) in self.feeds]


def sniff(data: bytes, name: str) -> bool:
    del name
    return xmls.root_name(data) == "net"


def read(data: bytes, reading: Reading) -> Statistics:
    """The scalers of an IR whose weights are not at hand."""
    return beside(data, reading, None)


def beside(data: bytes, reading: Reading, path: Path | None) -> Statistics:
    """The scalers of an IR at `path`. Raises StatisticsError saying which layer cannot be read, and why."""
    del reading
    root = xmls.parse(data)
    graph = _graph(root, None if path is None else path.with_suffix(".bin"))
    params = [x for x in graph.layers.values() if x.type == "Parameter"]
    noted = _noted(root)
    made: dict[str | None, Fitted] = {}
    if noted:
        made = openvinoargs.arguments(noted, [p.tensor for p in params])
    walked = {p.tensor: _walked(graph, p, bool(noted)) for p in params}
    found = {n: f for n, f in walked.items() if f is not None}
    if not noted:
        made = {(None if len(params) == 1 else name): fitted for name, fitted in found.items()}
    elif found:
        _agree(made, found)
    if not made:
        raise StatisticsError(
            f"no mean and scale: neither in rt_info nor as preprocessing behind {names(p.tensor for p in params)}. Arithmetic that "
            f"is not marked as preprocessing is the model's own"
        )
    version = next(
        (
            str(e.get("value"))
            for e in root.iter()
            if "OpenVINO Runtime" in (e.get("name"), e.tag) or e.tag == "MO_version"
        ),
        "",
    )
    return Statistics(made, {}, Source("OpenVINO IR", framework="OpenVINO", version=version))


def _graph(root: Any, weights: Path | None) -> Graph:
    layers: dict[str, Layer] = {}
    for item in root.iterfind("./layers/layer"):
        data = item.find("data")
        marks = {a.get("name") for a in item.iterfind("./rt_info/attribute")}
        listed = next((p.get("names") for p in item.iterfind("./output/port") if p.get("names")), "") or ""
        layer = Layer(
            str(item.get("id")), str(item.get("name")), str(item.get("type")), {} if data is None else dict(data.attrib),
            "preprocessing" in marks, listed.split(",")[0] or str(item.get("name")),
        )  # fmt: skip
        if layer.key in layers:
            raise StatisticsError(f"two layers have the id {layer.key[:20]!r}")
        layers[layer.key] = layer
    edges: list[tuple[str, str, int]] = []
    for edge in root.iterfind("./edges/edge"):
        port = str(edge.get("to-port"))
        if (
            not port.isdecimal()
            or len(port) > 6
            or edge.get("to-layer") not in layers
            or edge.get("from-layer") not in layers
        ):
            raise StatisticsError("an edge between layers that are not there")
        edges.append((str(edge.get("from-layer")), str(edge.get("to-layer")), int(port)))
    fed: dict[str, tuple[tuple[str, int], ...]] = {}
    for start, end, port_number in edges:
        fed[start] = (*fed.get(start, ()), (end, port_number))
    return Graph(layers, {(end, number): start for start, end, number in edges}, fed, weights)


def _noted(root: Any) -> dict[str, str]:
    """Arguments of the conversion that speak of a mean or a scale."""
    held = [e for e in root.iter() if e.tag in ("conversion_parameters", "cli_parameters")]
    given = {e.tag: str(e.get("value")) for part in held for e in part if e.tag in _ARGUMENTS and e.get("value")}
    unset = ("", "()", "[]", "{}", "None")
    return given if any(given.get(k, "") not in unset for k in _ARGUMENTS[:3]) else {}


def _chain(graph: Graph, start: Layer) -> Iterator[tuple[Layer, int]]:
    """The layers behind a Parameter, one after the other as long as each feeds one; with the port that is fed."""
    key, seen = start.key, 0
    while len(graph.fed.get(key, ())) == 1 and seen < LONGEST:
        (key, port), seen = graph.fed[key][0], seen + 1
        yield graph.layers[key], port


def _walked(graph: Graph, parameter: Layer, noted: bool) -> Fitted | None:
    """The marked steps behind a Parameter, or None. noted: rt_info has the numbers, so what was moved away does not matter."""
    rank = len(_shape(parameter.data.get("shape", "")))
    steps: list[tuple[str, Array, int | None]] = []
    turned = moved = half = colors = False
    for layer, port in _chain(graph, parameter):
        if layer.type in _OPS and layer.marked:
            values, axis, short = _operand(graph, layer, port, rank)
            steps, moved, half = [*steps, (_OPS[layer.type], values, axis)], turned, half or short
        elif layer.type == "Transpose" and rank:
            turned, order = True, _constant(graph, graph.inputs(layer.key)[1:], layer).astype(int).tolist()
            if sorted(order) != list(range(rank)):
                raise StatisticsError(f"the Transpose {layer.name[:40]!r} has the order {str(order)[:60]}")
            steps = [(o, v, None if a is None else order.index(a)) for o, v, a in steps]
        elif layer.type == "Gather" and not steps:
            colors = True  # the channels are put in the model's order first, so the constants are in that order
        elif layer.type not in _PASSED:
            if layer.marked and steps and not noted:
                raise StatisticsError(
                    f"OpenVINO moved a part of the preprocessing into the weights of the {layer.type} {layer.name[:60]!r}, where it "
                    f"cannot be read; give mean and scale as they were given to PrePostProcessor"
                )
            break
    if not steps:
        return None
    axes = {a for _, _, a in steps if a is not None}
    if len(axes) > 1:
        raise StatisticsError(f"the preprocessing of {parameter.tensor!r} has constants along the axes {sorted(axes)}")
    said = "the channels are in the order of the IR's input; a color conversion that was moved into the weights is not seen"
    if colors:
        said = "the IR reorders the channels first, which stays with the app; the constants are in the model's order"
    notes = [said]
    if half:
        notes.append("the constants are stored as float16")
    axis = next(iter(axes)) - rank if axes and turned == moved else None
    made = Transform(tuple(Step(op, (values,)) for op, values, _ in steps))
    return Fitted(Steps(made), axis=axis, notes=tuple(notes))


def _operand(graph: Graph, layer: Layer, port: int, rank: int) -> tuple[Array, int | None, bool]:
    """The constant of a step, flat; the axis that it lies along, None for one value; whether it is float16."""
    if port != 0 and layer.type in ("Subtract", "Divide"):
        raise StatisticsError(f"the {layer.type} {layer.name[:40]!r} has the input on its right side")
    source = [graph.feeds[k, i] for k, i in graph.feeds if k == layer.key and i != port]
    values = _constant(graph, source, layer)
    wide = [i for i, n in enumerate(values.shape) if n != 1]
    if len(wide) > 1 or values.ndim > rank:
        raise StatisticsError(
            f"the {layer.type} {layer.name[:40]!r} has a constant of shape {values.shape}: a mean image is not read"
        )
    axis = wide[0] + rank - values.ndim if wide else None
    return (values.reshape(-1) if wide else values.reshape(())).astype(np.float64), axis, values.dtype == np.float16


def _constant(graph: Graph, sources: list[str], layer: Layer) -> Array:
    """The constant that feeds a layer, through a Convert where it is stored compressed."""
    at = graph.layers[sources[0]] if len(sources) == 1 else None
    if at is not None and at.type == "Convert":
        inner = graph.inputs(at.key)
        at = graph.layers[inner[0]] if len(inner) == 1 else None
    if at is None or at.type != "Const":
        raise StatisticsError(f"the {layer.type} {layer.name[:40]!r} is marked as preprocessing, and has no constant")
    kind = _TYPES.get(at.data.get("element_type", ""))
    where = [at.data.get(k, "") for k in ("offset", "size")]
    if kind is None or not all(w.isdecimal() and len(w) < 16 for w in where):
        raise StatisticsError(f"the constant {at.name[:40]!r} has no type, offset and size that are known")
    offset, size = map(int, where)
    shape = _shape(at.data.get("shape", ""))
    if size > LARGEST or size != int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize:
        raise StatisticsError(f"the constant {at.name[:40]!r} of shape {shape} has {size:,} bytes, which do not fit")
    return np.frombuffer(_bytes(graph.weights, offset, size), kind).reshape(shape)


def _shape(text: str) -> tuple[int, ...]:
    """The dimensions of "1, 3, ?, 8"; 0 for one that is not known."""
    parts = [p.strip() for p in text.split(",")] if text.strip() else []
    return tuple(int(p) if p.isdecimal() and len(p) < 10 else 0 for p in parts)


def _bytes(path: Path | None, offset: int, size: int) -> bytes:
    if path is None:
        raise StatisticsError("its constants lie in the .bin beside it; give the path of the .xml")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise StatisticsError(f"its constants lie in {path.name}, which cannot be read ({error.strerror})") from None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or offset + size > state.st_size:
            raise StatisticsError(
                f"{path.name} has {state.st_size:,} bytes; a constant lies at {offset:,}: of another model?"
            )
        file.seek(offset)
        return file.read(size)


def _agree(made: Mapping[str | None, Fitted], found: Mapping[str, Fitted]) -> None:
    """The steps that are left must not contradict rt_info: each of their constants is one of its own, as float16 has them."""
    for name, fitted in made.items():
        steps = next(iter(found.values())) if name is None else found.get(name)
        if steps is None:
            continue
        ours, theirs = fitted.transform().affine(), steps.transform().affine()
        assert ours is not None and theirs is not None
        whole = len(steps.transform().steps) > 1
        with np.errstate(divide="ignore", invalid="ignore"):
            same = ours.scale.shape == theirs.scale.shape or () in (ours.scale.shape, theirs.scale.shape)
            same = same and (not whole or np.allclose(ours.scale, theirs.scale, rtol=2e-3))
            same = same and np.allclose(ours.shift / ours.scale, theirs.shift / theirs.scale, rtol=2e-3, atol=1e-6)
        if not same:
            raise StatisticsError(
                f"rt_info says {fitted.transform().prose()}, the preprocessing behind the Parameter {steps.transform().prose()}; "
                f"which of the two is meant cannot be told"
            )
