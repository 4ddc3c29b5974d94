"""Model and statistics -> Plan: which tensor, which axis, which form, which precision, and why. Pure; nothing is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx

from onnxscale import companions, folding, graph, guarding, pixels, precision, recognition
from onnxscale.errors import PlanError, names
from onnxscale.folding import Fold
from onnxscale.graph import FLOATS, InputSpec
from onnxscale.modelfile import ModelFile
from onnxscale.placing import find_axis, placed
from onnxscale.plans import Options, Placement, Plan
from onnxscale.statistics import Fitted, Source, Statistics
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform

INTEGERS = ("uint8", "int8", "int16", "uint16", "int32", "int64")
INPUT_DTYPES = ("keep", "float32", "float64", *INTEGERS)
FORMS = ("auto", "nodes", "fold")
LOST = 1e-3


def plan(model: ModelFile, statistics: Statistics, options: Options, target: Statistics | None = None) -> Plan:
    """Decide everything before anything is touched.

    target: statistics of the training target, whose inverse goes onto an output. Raises PlanError where statistics and
    model do not fit, naming both sides.
    """
    _known(options)
    proto = model.skeleton
    graph.needs_opset(proto)
    notes = _already(model, options)
    made = []
    for name, fitted in statistics.inputs.items():
        spec = _input(proto, name or options.input, len(statistics.inputs), fitted)
        made.append(_on_input(model, spec, fitted, statistics.source, options))
    outs = [(name, fitted, statistics.source) for name, fitted in statistics.outputs.items()]
    if target is not None:
        wanted = target.outputs or target.inputs
        outs += [(name, fitted, target.source) for name, fitted in wanted.items()]
    for name, fitted, source in outs:
        spec = _output(proto, name or options.output, fitted)
        made.append(_on_output(model, spec, fitted, source, options))
    if not made:
        raise PlanError("the statistics name no input and no output: there is nothing to bake")
    _once(made)
    if options.guard or options.guard_stats:
        made = [_guarded(model, p, options) for p in made]
        if all(p.guard is None for p in made):
            raise PlanError("a guard watches raw values, and the statistics scale no input")
    made = folded(model, made, options)
    scaled = {p.spec.name for p in made if p.role == "input"}
    left = tuple(s for s in graph.inputs(proto) if s.name not in scaled)
    for placement in made:
        notes += recognition.leading_notes(model, placement.spec.name) if placement.role == "input" else []
    return Plan(model.name, tuple(made), left, tuple(notes), options.keep_original)


def _guarded(model: ModelFile, p: Placement, options: Options) -> Placement:
    if p.role == "output":
        return p
    before = frozenset(recognition.guard_outputs(model))
    guard = guarding.decide(
        options.guard, options.guard_stats, p.outer, p.raw_axis, p.fitted, p.transform, model.skeleton, options.channels, before
    )  # fmt: skip
    return replace(p, guard=guard, notes=(*p.notes, *guard.notes))


def folded(model: ModelFile, placements: list[Placement], options: Options) -> list[Placement]:
    """The placements with how the model's own operators absorb each, one after the other on a scratch skeleton.

    Raises PlanError under --form fold where a reader of a scaled tensor cannot absorb the whole scaler.
    """
    if options.form == "nodes":
        return placements
    scratch = model.editable() if len(placements) > 1 else model.skeleton  # which the last fold leaves alone
    made = []
    for i, p in enumerate(placements):
        fold = _fold(model, scratch, p)
        if fold.form != "nodes" and i + 1 < len(placements):
            folding.apply(scratch, fold)
        left = [a for a in fold.absorptions if a.taken != "all"]
        if options.form == "fold" and left:
            said = "; ".join(f"{a.node} takes {a.taken}: {a.reason}" for a in left[:4])
            raise PlanError(
                f"--form fold: the scaler of {p.spec.name!r} does not fold whole. {said}. Use --form auto or nodes"
            )
        pixels = fold.form != "nodes" and p.graph_dtype == "uint8"
        made.append(replace(p, fold=fold, dtype="float32", precision="split") if pixels else replace(p, fold=fold))
    return made


def _fold(model: ModelFile, scratch: onnx.ModelProto, p: Placement) -> Fold:
    if p.transform.shape != p.transform.result:
        reason = f"the scaler makes {p.transform.result[-1]} columns of {p.transform.shape[-1]}"
        return Fold(p.spec.name, p.role, "nodes", (folding.Absorption("every reader", "nothing", reason),))
    if p.role == "output":
        return folding.fold_output(model, scratch, p.spec, p.transform, p.axis)
    if p.graph_dtype == "uint8":
        return folding.fold_pixels(model, scratch, p.spec, p.transform, p.axis)
    if p.graph_dtype != p.spec.dtype:
        reason = f"the app feeds {p.graph_dtype}, the model takes {p.spec.dtype}: a Cast stands there in any case"
        return Fold(p.spec.name, p.role, "nodes", (folding.Absorption("every reader", "nothing", reason),))
    return folding.fold_input(model, scratch, p.spec, p.transform, p.axis, precision=p.precision)


def _known(options: Options) -> None:
    for flag, value, allowed in (
        ("--precision", options.precision, precision.PRECISIONS),
        ("--form", options.form, FORMS),
        ("--input-dtype", options.input_dtype or "keep", INPUT_DTYPES),
        ("--layout", options.layout, pixels.LAYOUTS),
        ("--channels", options.channels, pixels.CHANNELS),
        ("--keep-original", options.keep_original, ("auto", "always", "never")),
        ("--guard", options.guard, guarding.MODES),
    ):
        if value not in allowed:
            raise PlanError(f"{flag} {value}: unknown; choose one of {', '.join(a for a in allowed if a)}")


def _already(model: ModelFile, options: Options) -> list[str]:
    found = recognition.carried(model)
    if found and not options.again:
        raise PlanError(
            f"{model.name}: {found}. Baking again would scale twice. Unbake it first (onnxscale unbake), or pass --again "
            f"if the new statistics are meant to come before that"
        )
    return [f"--again: {found}; the new scaler comes before it"] if found else []


def _once(made: Iterable[Placement]) -> None:
    seen: set[tuple[str, str]] = set()
    for p in made:
        if (p.role, p.spec.name) in seen:
            raise PlanError(f"two scalers are meant for {p.role} {p.spec.name!r}; name another one for each")
        seen.add((p.role, p.spec.name))


def _input(proto: onnx.ModelProto, name: str, scalers: int, fitted: Fitted) -> InputSpec:
    specs = graph.inputs(proto)
    if name:
        found = next((s for s in specs if s.name == name), None)
        if found is None:
            default = any(v.name == name for v in proto.graph.input)
            why = "has a default value in the model, so an app need not feed it" if default else "is not an input"
            raise PlanError(
                f"the statistics are for {name!r}, which {why}; the inputs are {names(s.name for s in specs)}"
            )
    else:
        floats = [s for s in specs if s.dtype in FLOATS]
        if not floats:
            raise PlanError(
                f"the model has no float input to scale: {', '.join(s.prose() for s in specs) or 'no inputs at all'}"
            )
        if len(floats) > 1:
            fits = [s for s in floats if find_axis(s, fitted.transform().result, fitted.axis).axis is not None]
            floats = fits if len(fits) == 1 and scalers == 1 and fitted.transform().shape else floats
        if len(floats) > 1:
            raise PlanError(
                f"the model has {len(floats)} float inputs, {names(s.name for s in floats)}: say with --input which one "
                f"the statistics are for, or name them in the file ({{'inputs': {{name: {{...}}}}}})"
            )
        found = floats[0]
    if found.dtype not in FLOATS:
        raise PlanError(
            f"input {found.prose()} holds {found.dtype} values, and a scaler gives real numbers; only float inputs can be scaled"
        )
    return found


def _output(proto: onnx.ModelProto, name: str, fitted: Fitted) -> InputSpec:
    specs = graph.outputs(proto)
    if name:
        found = next((s for s in specs if s.name == name), None)
        if found is None:
            raise PlanError(
                f"the target is {name!r}, which is not an output; the outputs are {names(s.name for s in specs)}"
            )
    else:
        floats = [s for s in specs if s.dtype in FLOATS]
        if len(floats) != 1:
            raise PlanError(
                f"the model has {len(floats)} float outputs ({', '.join(s.prose() for s in specs)}): say with --output "
                f"which one the target scaler is for"
            )
        found = floats[0]
    if found.dtype not in FLOATS:
        raise PlanError(f"output {found.prose()} holds {found.dtype} values; only float outputs can be scaled back")
    return found


def _on_input(model: ModelFile, spec: InputSpec, fitted: Fitted, source: Source, options: Options) -> Placement:
    if any(o.name == spec.name for o in model.skeleton.graph.output):
        raise PlanError(f"{spec.name!r} is both an input and an output: the output would become the raw values")
    transform = fitted.transform()
    found = placed(spec, transform.result, options.axis if options.axis is not None else fitted.axis)
    fitted, transform, said = pixels.fed(fitted, spec, found.axis, options.layout, options.channels)
    padding = pixels.padding(transform) if spec.shape is not None and len(spec.shape) == 4 else ""
    said += _character(transform)
    said += [f"a raw value of {padding} is 0 once scaled: pad images with that"] if padding else []
    if len(transform.shape) != len(transform.result):
        raise PlanError(
            f"the scaler makes features of shape {transform.result} of {transform.shape}: only the number of columns may change"
        )
    asked = options.input_dtype or ("float32" if spec.dtype in ("float16", "bfloat16") else "keep")
    outer = spec.dtype if asked == "keep" else asked
    dtype = _arithmetic(options.precision, outer, spec.dtype)
    if dtype != "float64" and any(s.op == "Beside" for s in transform.steps):
        raise PlanError(
            "parts side by side, which are not one step, are written in float64 alone: use --precision exact"
        )
    every = list(graph.readers(model.skeleton.graph, spec.name))
    stay = [r for r in every if r.node.op_type in graph.SHAPE_READERS and transform.elementwise]
    notes = said + (
        [f"{spec.dtype} input widened to {outer}: raw values may pass 65504"]
        if asked != "keep" and not options.input_dtype
        else []
    )
    if not every:
        notes.append(f"no node reads input {spec.name!r}: the scaler changes nothing")
    if dtype == "float64" and options.precision != "exact":
        notes.append("the model computes in float64, so the scaler does too")
    placement = Placement(
        spec, "input", fitted, source, transform, found.axis, found.reason, options.precision,
        outer, dtype, spec.dtype, None,
        tuple(r.prose() for r in every if r not in stay), tuple(r.prose() for r in stay), (*fitted.notes, *notes),
        added=companions.added(model, transform, outer, spec),
        fed={k: v for k, v in (("layout", options.layout), ("channels", options.channels)) if v != "keep"},
    )  # fmt: skip
    placement.lowered  # noqa: B018  raises where a constant does not fit
    return replace(placement, warnings=(*fitted.warnings, *_warnings(placement)))


def _character(transform: Transform) -> list[str]:
    """What no affine scaler does, in words: jumps, and values that depend on their whole row."""
    rows = [(OPERATORS[s.op], s) for s in transform.steps]
    inside = [(OPERATORS[p.op], p) for r, s in rows for part in r.parts(s) for p in part]
    plain = [(r, s) for r, s in (*rows, *inside) if s.op != "Cast" and not r.moves and not r.parts(s)]
    said = []
    if any(r.elementwise and not r.continuous for r, _ in plain):
        said.append("discontinuous: a value just beside a bound may fall on either side of it")
    if any(not r.elementwise for r, _ in plain):
        said.append("per row: a scaled value depends on other values of its row, not on its own feature alone")
    return said


def _on_output(model: ModelFile, spec: InputSpec, fitted: Fitted, source: Source, options: Options) -> Placement:
    forward = fitted.transform()
    inverse = forward if fitted.applied else forward.inverse()
    if inverse is None:
        raise PlanError(
            f"the target scaler ({forward.prose()}) has no inverse, so output {spec.name!r} cannot be scaled back"
        )
    found = placed(
        spec,
        inverse.shape,
        options.target_axis if options.target_axis is not None else fitted.axis,
        "target stats",
        "output",
    )
    dtype = _arithmetic(options.precision, spec.dtype, spec.dtype)
    notes = (
        ["a clip has no inverse; it is left out, as scikit-learn does"]
        if any(s.op in ("Max", "Min") for s in forward.steps)
        else []
    )
    return Placement(
        spec, "output", fitted, source, inverse, found.axis, found.reason, options.precision,
        spec.dtype, dtype, spec.dtype, None, (), (), (*fitted.notes, *notes),
        fitted.warnings, companions.added(model, inverse, spec.dtype, spec),
    )  # fmt: skip


def _arithmetic(wanted: str, outer: str, inner: str) -> str:
    if wanted == "exact" or inner == "float64":
        return "float64"
    if outer == "float64":
        raise PlanError(
            f"--precision {wanted} computes in float32, which a float64 input would lose its point by; use exact"
        )
    return "float32"


def _warnings(p: Placement) -> list[str]:
    affine = p.transform.affine()
    unit = precision.UNIT.get(p.graph_dtype)
    said = []
    if affine is not None and unit is not None:
        loss = np.atleast_1d(np.abs(affine.shift)) * unit
        bad = np.flatnonzero(loss.ravel() > LOST)
        if len(bad):
            i = int(bad[np.argmax(loss.ravel()[bad])])
            name = f" ({p.fitted.features[i]!r})" if i < len(p.fitted.features) else ""
            said.append(
                f"input {p.spec.name!r}: {p.graph_dtype} raw values have lost the signal of {len(bad)} feature(s) before any "
                f"model sees them; worst is feature {i}{name}, off by up to {loss.ravel()[i]:.2g} of its scaled unit. "
                f"Feed float64 (--input-dtype float64)"
            )
    if p.graph_dtype == "float16":
        top = np.max(np.abs(p.fitted.data_max)) if p.fitted.data_max is not None else None
        if top is None or top > 65504:
            said.append(f"input {p.spec.name!r}: float16 ends at 65504; larger raw values become infinite")
    if p.graph_dtype in INTEGERS:
        said += _integers(p)
    return said


def _integers(p: Placement) -> list[str]:
    info = np.iinfo(p.graph_dtype)
    low, high = int(info.min), int(info.max)
    known = [v for v in (p.fitted.data_min, p.fitted.data_max) if v is not None]
    if any(np.any((v < low) | (v > high) | (v != np.round(v))) for v in known):
        return [f"input {p.spec.name!r}: the training data were not {p.graph_dtype} numbers (range {low} to {high})"]
    return []
