"""Model and transformer -> the plan of a bake by way of skl2onnx, and the edited model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from onnxscale import baking, graph, planning, recognition
from onnxscale.baking import Edited
from onnxscale.converting import columns as of
from onnxscale.converting import exporting, merging
from onnxscale.converting.columns import Column
from onnxscale.converting.rebuilding import transformer
from onnxscale.errors import PlanError, StatisticsError, Unread, names
from onnxscale.graph import FLOATS, InputSpec
from onnxscale.modelfile import ModelFile
from onnxscale.plans import Converted, Options, Plan
from onnxscale.statistics import Source, Statistics


def bake(
    model: ModelFile, unread: Unread, options: Options, target: Statistics | None
) -> tuple[ModelFile, Plan, Edited]:
    """The transformer that `unread` holds in front of a model, and the inverse of a target scaler behind it.

    Raises StatisticsError where the transformer cannot be exported, PlanError where it does not fit the model.
    """
    source = unread.source if isinstance(unread.source, Source) else Source("scikit-learn")
    graph.needs_opset(model.skeleton)
    notes = _unfit(options, model)
    try:
        estimator = transformer(unread.estimator)
        found = of.columns(estimator)
        opset = graph.needs_opset(model.skeleton)
        made = exporting.exported(estimator, found, opset, graph.opset(model.skeleton, graph.ML))
    except StatisticsError as error:
        what = str(unread).partition("; known are")[0]
        raise StatisticsError(f"{what}. By way of skl2onnx: {error}") from None
    width = _width(estimator, found)
    spec = _input(model, options.input, width)
    asked = options.input_dtype or ("float32" if spec.dtype in ("float16", "bfloat16") else "keep")
    dtype = spec.dtype if asked == "keep" else asked
    if dtype not in ("float32", "float64"):
        raise PlanError(f"--input-dtype {dtype}: a transformer takes float32 or float64 numbers")
    fed = merging.fed(found, spec, dtype)
    prose = " of ".join(dict.fromkeys(type(e).__name__ for e in of.every(estimator)))
    said = [] if made.dtype == "float64" else ["skl2onnx has no float64 kernels for it: its graph computes in float32"]
    said += ["text is taken as it is: an empty text stands for itself"] if of.apart(found) else []
    left_out = [c.name for c in found if not c.used]
    said += [f"the transformer drops {names(left_out)}: no input is made of it"] if left_out and of.apart(found) else []
    converted = Converted(spec, fed, prose, made.dtype, made.version, source, estimator, found, tuple(said))
    plan = Plan(model.name, (), (), tuple(notes), options.keep_original, converted)
    if target is not None:
        plan = replace(
            planning.plan(model, Statistics({}, {}, source), replace(options, again=True, form="nodes"), target),
            converted=converted, notes=tuple(notes),
        )  # fmt: skip
    plan = replace(plan, left=tuple(s for s in graph.inputs(model.skeleton) if s.name != spec.name))
    edited = baking.apply(model, replace(plan, converted=None))
    merged = merging.merged(edited.proto, made, converted, found)
    seams = {**edited.seams, ("input", spec.name): merged.seam}
    return model, plan, Edited(merged.proto, seams, model.render(merged.proto))


def _unfit(options: Options, model: ModelFile) -> list[str]:
    if options.form == "fold":
        raise PlanError("--form fold: a transformer by way of skl2onnx is nodes; leave --form away")
    if options.layout != "keep" or options.channels != "keep":
        raise PlanError("--layout and --channels are for scalers of images, not for a transformer of columns")
    carried = recognition.carried(model)
    if carried and not options.again:
        raise PlanError(
            f"{model.name}: {carried}. Baking again would scale twice. Unbake it first (onnxscale unbake), or pass --again"
        )
    return [f"--again: {carried}; the transformer comes before it"] if carried else []


def _width(estimator: Any, found: tuple[Column, ...]) -> int:
    """How many columns the transformer gives, asked of itself."""
    import numpy as np

    for odd in (None, 0.0):
        raw = of.rows(found, 2, np.random.default_rng(0), "float64", odd=odd)
        want = of.answer(estimator, raw, found)
        if want is not None and want.ndim == 2:
            return int(want.shape[1])
    raise StatisticsError("the transformer refuses every row that is made up from what it was fitted on")


def _input(model: ModelFile, name: str, width: int) -> InputSpec:
    """The input that the transformer's answer goes to: the one named, or the one float matrix of that width."""
    specs = graph.inputs(model.skeleton)
    floats = [s for s in specs if s.dtype in FLOATS]
    if name:
        floats = [s for s in floats if s.name == name]
        if not floats:
            raise PlanError(f"--input {name}: no float input; the inputs are {names(s.name for s in specs)}")
    fits = [s for s in floats if (s.shape is not None and len(s.shape) == 2 and s.shape[1] in (width, None)) or (
        s.shape is not None and len(s.shape) == 2 and isinstance(s.shape[1], str))]  # fmt: skip
    if len(fits) != 1:
        shown = ", ".join(s.prose() for s in floats) or "none"
        what = "several inputs take that: say which with --input" if len(fits) > 1 else "no float input takes that"
        raise PlanError(f"the transformer makes {width} columns; {what} (float inputs: {shown})")
    return fits[0]
