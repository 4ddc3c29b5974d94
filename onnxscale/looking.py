"""What a model says of itself: inspect reads it without running, selftest runs the golden vectors it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale import graph, modelfile, ports, recognition, record
from onnxscale.comparing import DIFFERS, NOT_VERIFIED, VERIFIED, relative, same
from onnxscale.errors import ModelError
from onnxscale.pipeline import Model, opened
from onnxscale.recognition import Leading
from onnxscale.spaces import fingerprint
from onnxscale.verifying import Golden
from onnxscale.worker import Died, Failure, Runnable, started


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a model says of itself. record: None where no scaler of ours is in it; leading: what each input meets first.
    fingerprints: of the function that scales a tensor, to 9 digits: one for every way to write it."""

    name: str
    size: int
    ir: int
    opsets: Mapping[str, int]
    inputs: tuple[graph.InputSpec, ...]
    outputs: tuple[graph.InputSpec, ...]
    record: Mapping[str, Any] | None
    leading: Mapping[str, Leading]
    fingerprints: Mapping[str, str]


def inspect(model: Model) -> Inspection:
    """Read what a model carries, without running it. Raises ModelError."""
    m = modelfile.open_model(model)
    proto = m.skeleton
    held = recognition.recorded(m)
    leading = (
        {} if held else {s.name: recognition.leading(m, s.name) for s in graph.inputs(proto) if s.dtype in graph.FLOATS}
    )
    return Inspection(
        m.name, len(m.data), proto.ir_version, {o.domain or "ai.onnx": o.version for o in proto.opset_import},
        tuple(graph.inputs(proto)), tuple(graph.outputs(proto)), held, leading,
        {str(p.name): fingerprint(p.inside) for p in ports.of_model(m) if p.inside.transform is not None},
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Selftest:
    """The golden vectors on the runtime at hand. verdict as in Comparison; errors: relative, by output."""

    verdict: str
    reason: str
    rows: int
    errors: Mapping[str, float]
    versions: Mapping[str, str]


def selftest(model: Model, *, seconds: float = 300) -> Selftest:
    """Run the golden vectors that a baked file carries. Never raises for what the model does."""
    m = opened(model)
    held = recognition.recorded(m)
    if held is None:
        raise ModelError(f"{m.name}: carries no record of onnxscale's, so there is nothing to test itself against")
    golden = record.golden_of(held)
    if golden is None:
        return Selftest(
            NOT_VERIFIED, "the record holds no golden vectors (the model is too large, or was not verified)", 0, {}, {}
        )
    try:
        with started(len(m.data), seconds) as worker:
            answers = worker.run(Runnable(str(m.path) if m.path else m.read(0, len(m.data))), [golden.raw])
            versions = worker.versions()
    except Died as death:
        return Selftest(NOT_VERIFIED, str(death), 0, {}, {})
    bad = answers if isinstance(answers, Failure) else answers[0] if isinstance(answers[0], Failure) else None
    if bad is not None:
        return Selftest(NOT_VERIFIED, f"onnxruntime cannot run the model: {bad.message}", 0, {}, versions)
    assert isinstance(answers, list) and isinstance(answers[0], dict)
    return _held(golden, answers[0], versions)


def _held(golden: Golden, got: Mapping[str, Any], versions: Mapping[str, str]) -> Selftest:
    errors: dict[str, float] = {}
    wrong = []
    for name, expected in golden.outputs.items():
        mine = got.get(name)
        if not isinstance(mine, np.ndarray) or mine.shape != expected.shape:
            errors[name] = float("inf")
        elif expected.dtype.kind == "f":
            difference, scale = relative(mine, expected)
            errors[name] = float(difference.max()) / scale if scale else float(difference.max() > 0)
        else:
            errors[name] = 0.0 if same(mine, expected) else float("inf")
        if not errors[name] <= golden.tolerance.get(name, 0.0):
            wrong.append(name)
    rows = next((len(v) for v in golden.raw.values() if v.ndim), 1)
    if wrong:
        return Selftest(DIFFERS, f"output {wrong[0]!r} is off by {errors[wrong[0]]:.3g}", rows, errors, versions)
    return Selftest(VERIFIED, "the golden vectors give their recorded answers", rows, errors, versions)
