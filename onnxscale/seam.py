"""The seam: the scaled tensor itself, cut out of the baked model and compared with float64, column by column.

A scaler fault that the model's answers hide (a column the model hardly uses, an answer that is one constant) shows here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx

from onnxscale import graph, precision, walk
from onnxscale.comparing import SeamCheck, Worst, relative, ulps
from onnxscale.errors import ModelError
from onnxscale.feeding import Feed
from onnxscale.plans import Placement
from onnxscale.step import Array
from onnxscale.worker import Failure, Runnable, Worker

MOST_NODES = 1000


Loaded = Callable[[onnx.TensorProto], onnx.TensorProto]


def cut(
    proto: onnx.ModelProto, starts: Iterable[onnx.ValueInfoProto], ends: Sequence[str], tensor: Loaded, dtype: int = 0
) -> onnx.ModelProto | None:
    """The nodes of the main graph from `starts` to `ends` as a model of their own, whose inputs are those of the starts
    that are needed; None where the ends do not follow from them and constants alone. tensor: gives an initializer with
    its values. dtype: of the ends, an element type of ONNX; 0 leaves it to the runtime."""
    first = {v.name: v for v in starts}
    producers = {o: node for node in proto.graph.node for o in node.output}
    held = {t.name: t for t in proto.graph.initializer}
    kept: dict[int, onnx.NodeProto] = {}
    constants: dict[str, onnx.TensorProto] = {}
    waiting, met = list(ends), dict[str, onnx.ValueInfoProto]()
    while waiting:
        name = waiting.pop()
        if name in first and name not in held:
            met[name] = first[name]
        elif name in held:
            constants[name] = held[name]
        elif name in producers:
            node = producers[name]
            if id(node) not in kept:
                kept[id(node)] = node
                waiting += [n for n in (*node.input, *walk.captured(node)) if n]
            if len(kept) > MOST_NODES:
                return None
        else:
            return None
    if not met:
        return None
    made = onnx.ModelProto(ir_version=proto.ir_version)
    made.opset_import.extend(proto.opset_import)
    made.functions.extend(proto.functions)
    made.graph.name = "seam"
    made.graph.input.extend(met.values())
    made.graph.output.extend(
        onnx.helper.make_tensor_value_info(end, dtype, None) if dtype else onnx.ValueInfoProto(name=end) for end in ends
    )
    made.graph.node.extend(n for n in proto.graph.node if id(n) in kept)
    made.graph.initializer.extend(tensor(t) for t in constants.values())
    return made


def check(
    worker: Worker, proto: onnx.ModelProto, p: Placement, seam: str, feeds: Sequence[Feed],
    tensor: Loaded, before: Sequence[Array] | None = None, last: str = "",
) -> SeamCheck | str:  # fmt: skip
    """Compare the seam of one placement on every feed. before: for an output, the unscaled values to feed instead; last: what holds
    the scaled ones, where a guard takes rows out of them after that.
    last: the scaled output before a guard takes rows out of it.

    Returns why in words where there is nothing to compare.
    """
    start, end = (p.spec.name, seam) if p.role == "input" else (seam, last or p.spec.name)
    dtypes = (p.graph_dtype, p.inner_dtype) if p.role == "input" else (p.inner_dtype, p.graph_dtype)
    first = onnx.helper.make_tensor_value_info(start, graph.ELEMENTS[dtypes[0]], None)
    names = [c.name for c in p.transform.reads]
    others = [v for v in proto.graph.input if v.name in names and v.name != start]
    part = cut(proto, [first, *others], [end], tensor, graph.ELEMENTS[dtypes[1]])
    if part is None:
        return f"the scaled tensor {seam!r} does not follow from {', '.join(map(repr, (start, *names)))} alone"
    fed = [{n: f.raw[n] for n in names} for f in feeds]
    arrays = [f.raw[p.spec.name] for f in feeds] if before is None else list(before)
    answers = worker.run(
        Runnable(part.SerializeToString()), [{**b, start: a} for a, b in zip(arrays, fed, strict=True)]
    )
    if isinstance(answers, Failure):
        raise ModelError(f"the scaler's own nodes do not load: {answers.message}")
    return _compare(p, end, feeds, arrays, answers, dtypes[1])


def _compare(
    p: Placement, end: str, feeds: Sequence[Feed], arrays: Sequence[Array], answers: Sequence[object], dtype: str
) -> SeamCheck:
    most, error_at_worst, bound_at_worst, most_ulp, rows, holds = -1.0, 0.0, 0.0, 0.0, 0, True
    worst: Worst | None = None
    column: int | None = None
    read = [p.clamped(a) for a in arrays] if p.role == "input" else arrays
    for feed, raw, answer in zip(feeds, read, answers, strict=True):
        if raw.size == 0:
            continue
        axis = p.axis % raw.ndim if raw.ndim else 0
        expected = precision.rounded(p.transform(raw, axis, beside=feed.raw), dtype)
        got = answer[end] if isinstance(answer, dict) else np.full(expected.shape, np.nan, expected.dtype)
        rows += len(raw) if raw.ndim else 1
        if got.shape != expected.shape:
            return SeamCheck(end, p.role, rows, np.inf, 0.0, np.inf, None, False)
        error, _ = relative(got, expected)
        bound = precision.bound(p.transform, p.precision, raw, axis, p.dtype, dtype, feed.raw)
        most_ulp = max(most_ulp, ulps(got, expected)) if feed.ordinary else most_ulp
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(error == 0, 0.0, error / bound)
        share = np.where(np.isnan(share), 0.0, share)  # no bound where the analysis itself overflows
        holds = holds and bool(np.all(share <= 1))
        if float(np.max(share)) > most:
            most = float(np.max(share))
            place = np.unravel_index(int(np.argmax(share)), share.shape)
            error_at_worst, bound_at_worst = float(error[place]), float(bound[place])
            column = int(place[axis]) if p.transform.shape and raw.ndim else None
            row = int(place[0]) if place else 0
            worst = Worst(
                feed.label,
                row,
                {p.spec.name: _given(raw, expected, place)},
                _brief(got[place]),
                _brief(expected[place]),
            )
    return SeamCheck(end, p.role, rows, error_at_worst, bound_at_worst, most_ulp, column, holds, worst)


def _given(raw: Array, expected: Array, place: tuple[np.intp, ...]) -> object:
    """The raw value at a place of the result, or the whole row of it where the columns are others."""
    if raw.shape == expected.shape:
        return _brief(raw[place])
    return (raw[place[0]] if raw.ndim > 1 else raw).tolist()


def _brief(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
