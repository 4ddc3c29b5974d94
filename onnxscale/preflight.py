"""What is checked of a model before anything native sees it: in Python, with Python's integers, in bounded time.

The dangers are measured: tensors that lie about their size, function calls that expand without end, nesting, names
used twice. Disagreement is an error, never a guess.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict

import onnx

from onnxscale import external, lazy, walk
from onnxscale.errors import ModelError, names
from onnxscale.modelfile import ModelFile
from onnxscale.tensors import BITS
from onnxscale.wire import fields

DEPTH, EXPANDED = 64, 1_000_000
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def check(model: ModelFile) -> None:
    """Raises ModelError for a model that no tool should open."""
    proto = model.skeleton
    _expansion(proto)
    sizes: dict[str, int] = {}
    for tensor in walk.tensors(proto):
        _tensor(model, tensor, sizes)
    for graph, _ in walk.bodies(proto):
        _text(model, graph)
        if isinstance(graph, onnx.GraphProto):
            seen: set[str] = set()
            for tensor in graph.initializer:
                if tensor.name in seen:
                    raise ModelError(
                        f"{model.name}: two initializers are called {tensor.name!r}; only one can be meant"
                    )
                seen.add(tensor.name)


def _text(model: ModelFile, graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """protobuf gives text that is not UTF-8 as bytes, and no name of a graph may be that."""
    found: list[object] = []
    if isinstance(graph, onnx.GraphProto):
        found += (v.name for v in (*graph.input, *graph.output))
        found += (t.name for t in graph.initializer)
    else:
        found += (*graph.input, *graph.output)
    for n in graph.node:
        found += (n.op_type, n.domain, n.name, *n.input, *n.output, *(a.name for a in n.attribute))
    wrong = next((n for n in found if not isinstance(n, str)), None)
    if wrong is not None:
        raise ModelError(f"{model.name}: the name {wrong!r} in its graph is not UTF-8; the model is damaged")


def _tensor(model: ModelFile, tensor: onnx.TensorProto, sizes: dict[str, int]) -> None:
    def wrong(reason: str) -> ModelError:
        return ModelError(f"{model.name}: tensor {tensor.name!r} {reason}; the model is damaged")

    bits = BITS.get(tensor.data_type)
    if bits is None:
        raise wrong(f"has the unknown data type {tensor.data_type}")
    if any(d < 0 for d in tensor.dims):
        raise wrong(f"has the shape {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    stub = lazy.payload(tensor)
    held = [f for f in _FIELDS if len(getattr(tensor, f))] + (["raw_data"] if tensor.HasField("raw_data") else [])
    marks = sum(e.value == lazy.MARK for e in tensor.external_data)
    if marks and (held or len(tensor.external_data) > 3):
        raise wrong(f"has its values twice{', also in ' + names(held) if held else ''}")
    if stub is not None:
        field = next(iter(fields(model.data, stub.offset, stub.offset + stub.length)))
        have = field.end - field.value
    elif tensor.data_location == onnx.TensorProto.EXTERNAL:
        if held:
            raise wrong(f"has values both in another file and in {names(held)}")
        _external(model, tensor, (count * bits + 7) // 8, sizes, wrong)
        return
    elif len(held) > 1:
        raise wrong(f"has its values twice, in {names(held)}")
    elif held == ["raw_data"]:
        have = len(tensor.raw_data)
    else:
        _typed(tensor, count, held, wrong)
        return
    if have != (count * bits + 7) // 8:
        raise wrong(f"has {have:,} bytes where its shape {list(tensor.dims)} asks for {(count * bits + 7) // 8:,}")


def _typed(tensor: onnx.TensorProto, count: int, held: list[str], wrong: type | object) -> None:
    have = len(getattr(tensor, held[0])) if held else 0
    pairs = tensor.data_type in (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)
    packed = {4: 2, 2: 4}.get(BITS[tensor.data_type], 1)
    expected = {count * 2 if pairs else count, -(-count // packed)}
    if have not in expected:
        raise wrong(f"has {have:,} values where its shape {list(tensor.dims)} asks for {count:,}")  # type: ignore[operator]


def _external(model: ModelFile, tensor: onnx.TensorProto, need: int, sizes: dict[str, int], wrong: object) -> None:
    location = external.entries(tensor).get("location", "")
    if location not in sizes:
        path = external.located(external.needs_path(model.path, tensor), location, tensor.name)
        descriptor = external.opened(path, real=True)
        sizes[location] = os.fstat(descriptor).st_size
        os.close(descriptor)
    offset, said = external.extent(tensor)
    length = need if said is None else said
    if length != need:
        raise wrong(f"says {length:,} bytes from {offset:,} where its shape asks for {need:,}")  # type: ignore[operator]
    if offset + length > sizes[location]:
        raise wrong(  # type: ignore[operator]
            f"needs {location!r} up to byte {offset + length:,}, which has {sizes[location]:,}"
        )


def _expansion(proto: onnx.ModelProto) -> None:
    """Nesting, and the number of nodes when every call of a local function is written out, without writing it out."""
    functions = {(f.domain, f.name, getattr(f, "overload", "")): f for f in proto.functions}
    calls: dict[object, dict[object, int]] = {}
    own: dict[object, int] = {}
    roots: list[tuple[object, onnx.GraphProto | onnx.FunctionProto]] = [(None, proto.graph), *functions.items()]
    for key, root in roots:
        called: dict[object, int] = defaultdict(int)
        own[key] = 0
        waiting: list[tuple[onnx.GraphProto | onnx.FunctionProto, int]] = [(root, 0)]
        while waiting:
            graph, depth = waiting.pop()
            if depth > DEPTH:
                raise ModelError(f"the graphs are nested more than {DEPTH} deep")
            own[key] += len(graph.node)
            for node in graph.node:
                target = (node.domain, node.op_type, getattr(node, "overload", ""))
                if target in functions:
                    called[target] += 1
                if node.attribute:
                    waiting += [(g, depth + 1) for g in walk.subgraphs(node)]
        calls[key] = called
    if functions:
        _count(own, calls)


def _count(own: dict[object, int], calls: dict[object, dict[object, int]]) -> None:
    total: dict[object, int] = {}
    path: set[object] = set()
    stack: list[tuple[object, bool]] = [(None, False)]
    while stack:
        key, done = stack.pop()
        if done:
            path.discard(key)
            total[key] = own[key] + sum(n * total[c] for c, n in calls[key].items())
            if total[key] > EXPANDED:
                raise ModelError(
                    f"the local functions expand to more than {EXPANDED:,} nodes; such a model hangs every runtime"
                )
        elif key not in total:
            if key in path:
                raise ModelError("a local function calls itself, directly or through others")
            path.add(key)
            stack.append((key, True))
            stack += [(c, False) for c in calls[key] if c not in total]
