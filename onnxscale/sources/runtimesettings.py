"""Settings of RKNN and OpenVINO (mean_values with std_values or scale_values), and TensorFlow Lite's metadata: (x - mean) / std.

rknn.config of RKNN-Toolkit2 takes a list for each input; the metadata schema of TensorFlow Lite has NormalizationOptions among
the process_units of a tensor, where one value is for all channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.scalers import Standard
from onnxscale.scalers.values import divisor, numbers
from onnxscale.sources import openvinoargs
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Array


def _with(source: Source, framework: str) -> Source:
    return Source(source.format, source.path, source.sha256, framework=framework)


def is_rknn(content: Mapping[Any, Any]) -> bool:
    return "std_values" in content or (
        "mean_values" in content and "scale_values" not in content and "scale" not in content
    )


def rknn(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of one input; of several, the one that is picked by its number."""
    listed: dict[str, list[Any]] = {}
    for key in ("mean_values", "std_values"):
        if not isinstance(content.get(key), list) or not content[key]:
            raise StatisticsError(
                f"{key}: expected a list of values for each input, got {str(content.get(key))[:40]}"
                + (
                    "; RKNN takes 0 for a mean and 1 for a std that is not given: write them out"
                    if key not in content
                    else ""
                )
            )
        rows = content[key]
        listed[key] = rows if isinstance(rows[0], list) else [rows]
    if len(listed["mean_values"]) != len(listed["std_values"]):
        raise StatisticsError("mean_values and std_values speak of a different number of inputs")
    pairs = {str(i): p for i, p in enumerate(zip(listed["mean_values"], listed["std_values"], strict=True))}
    _, (mean, std) = picked(pairs, reading, "inputs without a name")
    swapped = content.get("quant_img_RGB2BGR") or content.get("quant_img_rgb2bgr")
    notes = (
        ("quant_img_RGB2BGR: the calibration images are turned to BGR, which is the app's at run time",)
        if swapped
        else ()
    )
    fitted = Fitted(
        Standard(_values(mean, "mean_values"), divisor(_values(std, "std_values"), "std_values")), notes=notes
    )
    return alone(fitted, _with(source, "RKNN"))


def _values(given: Any, name: str) -> Array:
    """One list of values; a list of one is for all channels."""
    held = numbers(given, name)
    if held.ndim > 1:
        raise StatisticsError(f"{name}: expected one list of values for an input")
    return held.reshape(()) if held.size == 1 else held


def is_openvino(content: Mapping[Any, Any]) -> bool:
    return "scale_values" in content or ("mean_values" in content and "scale" in content)


def openvino(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The converter's arguments as keys: lists, or objects of lists by input."""
    del reading
    given = {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in content.items() if v is not None}
    return Statistics(openvinoargs.arguments(given), {}, _with(source, "OpenVINO"))


def is_tflite(content: Mapping[Any, Any]) -> bool:
    return "process_units" in content or "subgraph_metadata" in content


def tflite(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scalers of the inputs of a model's metadata, or of one tensor's."""
    del reading
    tensors = [content] if "process_units" in content else _inputs(content)
    found: dict[str | None, Fitted] = {}
    for i, tensor in enumerate(tensors):
        units = tensor.get("process_units") or []
        if not isinstance(units, list) or not all(isinstance(u, Mapping) for u in units):
            raise StatisticsError(f"process_units: expected a list of objects, got {str(units)[:40]}")
        options = [u.get("options") for u in units if u.get("options_type") == "NormalizationOptions"]
        if len(options) > 1:
            raise StatisticsError("a tensor has several NormalizationOptions; expected one")
        if options:
            found[str(tensor.get("name", i))] = _options(options[0])
    if not found:
        raise StatisticsError("no input has NormalizationOptions among its process_units: nothing is scaled")
    if len(tensors) == 1:
        found = {None: next(iter(found.values()))}
    return Statistics(found, {}, _with(source, "TensorFlow Lite"))


def _inputs(content: Mapping[Any, Any]) -> list[Mapping[Any, Any]]:
    graphs = content["subgraph_metadata"]
    if not isinstance(graphs, list) or len(graphs) != 1 or not isinstance(graphs[0], Mapping):
        raise StatisticsError("subgraph_metadata: expected one subgraph")
    tensors = graphs[0].get("input_tensor_metadata")
    if not isinstance(tensors, list) or not all(isinstance(t, Mapping) for t in tensors):
        raise StatisticsError("input_tensor_metadata: expected a list of tensors")
    return tensors


def _options(options: Any) -> Fitted:
    gone = [k for k in ("mean", "std") if not isinstance(options, Mapping) or options.get(k) is None]
    if gone:
        raise StatisticsError(f"NormalizationOptions has no {' and no '.join(gone)}")
    return Fitted(Standard(_values(options["mean"], "mean"), divisor(_values(options["std"], "std"), "std")))
