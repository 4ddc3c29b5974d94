"""nnU-Net: the intensities of a data set in its plans (plans.json) or its fingerprint (dataset_fingerprint.json).

nnunetv2/preprocessing/normalization/default_normalization_schemes.py, CTNormalization: clipped to the 0.5 and 99.5 percentiles of the
foreground, minus its mean, divided by max(std, 1e-8); other schemes are of each image by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.scalers.values import numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Step
from onnxscale.transform import Transform

KEY, CT, EPS = "foreground_intensity_properties_per_channel", "CTNormalization", 1e-8
_NEEDS = ("percentile_00_5", "percentile_99_5", "mean", "std")


def is_nnunet(content: Mapping[Any, Any]) -> bool:
    return isinstance(content.get(KEY), Mapping)


def read(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of a CT data set, per channel. Raises StatisticsError for another scheme, and for a fingerprint, which does not say
    the scheme, without reading.dialect."""
    schemes = _schemes(content)
    if not schemes and reading.dialect != CT:
        raise StatisticsError(
            f"a fingerprint of nnU-Net does not say how it is used: --dialect {CT} takes it as CT's; MR images are scaled each by "
            f"itself (kind: instance). plans.json says which"
        )
    other = sorted(schemes - {CT})
    if other:
        raise StatisticsError(
            f"the plans name {names(other)}, of each image by itself; constants belong to {CT} only (kind: instance)"
        )
    held = [v for _, v in sorted(content[KEY].items(), key=lambda item: int(item[0]) if str(item[0]).isdigit() else 0)]
    missing = [k for k in _NEEDS if not all(isinstance(v, Mapping) and k in v for v in held)]
    if missing or not held:
        raise StatisticsError(f"{KEY}: {names(missing)} missing of a channel")
    low, high, mean, std = (numbers([v[k] for v in held], k) for k in _NEEDS)
    parts = ("Max", low), ("Min", high), ("Sub", mean), ("Div", np.maximum(std, EPS))
    notes = (f"nnU-Net's {CT}; resampling and cropping stay with the app",)
    fitted = Fitted(Steps(Transform(tuple(Step(op, (v,)) for op, v in parts))), notes=notes)
    return alone(fitted, replace(source, eps=EPS))


def _schemes(content: Mapping[Any, Any]) -> set[str]:
    made = content.get("configurations")
    held = (
        [c.get("normalization_schemes") for c in made.values() if isinstance(c, Mapping)]
        if isinstance(made, Mapping)
        else []
    )
    return {str(s) for listed in held if isinstance(listed, list) for s in listed}
