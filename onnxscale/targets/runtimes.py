"""Settings of runtimes that scale by themselves: OpenVINO, DeepStream, RKNN, TensorFlow Lite.

Sources: OpenVINO's model conversion (--mean_values, --scale_values); DeepStream's Gst-nvinfer (y = net-scale-factor *
(x - offset)); RKNN-Toolkit2's rknn.config (mean_values, std_values); TFLite's metadata schema (NormalizationOptions).
"""

from __future__ import annotations

import json

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.statistics import Statistics
from onnxscale.step import Array
from onnxscale.targets.moments import moments, one


def _moments(statistics: Statistics, target: str) -> tuple[Array, Array]:
    return moments(one(statistics, target), target)


def _listed(values: Array, between: str) -> str:
    return between.join(repr(float(v)) for v in values)


def openvino(statistics: Statistics) -> bytes:
    """Arguments of the model converter."""
    mean, std = _moments(statistics, "OpenVINO")
    return f"--mean_values=[{_listed(mean, ',')}] --scale_values=[{_listed(std, ',')}]\n".encode()


def deepstream(statistics: Statistics) -> bytes:
    """The lines of an nvinfer configuration. Raises StatisticsError for scales that differ from channel to channel."""
    mean, std = _moments(statistics, "DeepStream")
    steps = one(statistics, "DeepStream").transform().steps
    factor = 1 / float(std[0])
    if [s.op for s in steps] == ["Sub", "Mul"]:  # already in this runtime's form: to the last bit
        mean, factor = np.atleast_1d(steps[0].operands[0]), float(steps[1].operands[0].flat[0])
    if np.ptp(std) > 0:
        raise StatisticsError(
            f"DeepStream has one net-scale-factor for all channels; these stds differ: [{_listed(std[:8], ', ')}]. "
            f"Bake the scaler into the model instead"
        )
    return f"[property]\nnet-scale-factor={factor!r}\noffsets={_listed(mean, ';')}\n".encode()


def rknn(statistics: Statistics) -> bytes:
    """Keyword arguments of rknn.config, as JSON."""
    mean, std = _moments(statistics, "RKNN")
    return (json.dumps({"mean_values": [mean.tolist()], "std_values": [std.tolist()]}) + "\n").encode()


def tflite(statistics: Statistics) -> bytes:
    """The process unit of TFLite's model metadata, as JSON."""
    mean, std = _moments(statistics, "TensorFlow Lite")
    options = {"mean": mean.tolist(), "std": std.tolist()}
    units = {"process_units": [{"options_type": "NormalizationOptions", "options": options}]}
    return (json.dumps(units, indent=1) + "\n").encode()
