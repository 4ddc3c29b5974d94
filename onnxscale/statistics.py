"""What a statistics file says, whatever its format: scalers for inputs and outputs, and where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.profile import Profile
from onnxscale.scalers import Scaler
from onnxscale.step import Array
from onnxscale.transform import Transform


@dataclass(frozen=True)
class Source:
    """Where statistics come from. sha256: of the file, or "" for an object in memory. ddof: 0 or 1, or None where the
    source does not say. zero_variance: the source's rule for constant features, in words, or "". eps: what the framework adds to
    a spread, or keeps it above, where it does. origin: what a statistics file of ours was made from (format, name, sha256), or ""."""

    format: str
    path: str = ""
    sha256: str = ""
    framework: str = ""
    version: str = ""
    ddof: int | None = None
    zero_variance: str = ""
    eps: float | None = None
    origin: str = ""

    def to_json(self) -> dict[str, object]:
        return {k: v for k, v in dataclasses.asdict(self).items() if v not in ("", None)}

    def told(self, given: object) -> Source:
        """This source with what a record or a statistics file says of where its numbers come from; what is of another type is left."""
        said = given if isinstance(given, Mapping) else {}
        kinds = {"framework": str, "version": str, "ddof": int, "zero_variance": str, "eps": float, "origin": str}
        taken = {k: said[k] for k, kind in kinds.items() if isinstance(said.get(k), kind)}
        return dataclasses.replace(self, **taken)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A scaler and what is known of its features.

    axis: where the features lie, or None to derive it. features: their names, or (). units: theirs, or ().
    data_min, data_max: the range of the training data, float64 of the features' shape, or None.
    notes: what the reader decided and the user should know. layout: image facts for the ONNX metadata. warnings: what
    looks like a mistake in the numbers. profile: what `fit` measured of the data, or None.
    applied: on an output, the scaler itself is what the pipeline does after the model (an embedding divided by its length);
    else the model was trained on scaled targets, and the output gets the inverse. given: what the values are before this scaler,
    as a function of raw ones, where they are not raw (an adapter between two models).
    """

    scaler: Scaler
    axis: int | None = None
    features: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    data_min: Array | None = None
    data_max: Array | None = None
    notes: tuple[str, ...] = ()
    layout: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    profile: Profile | None = None
    applied: bool = False
    given: Transform | None = None

    def transform(self) -> Transform:
        return self.scaler.transform()

    def profiled(self) -> Fitted:
        """With the range that the profile has, where the source says none. Raises StatisticsError for a profile of other data:
        its width or its names are not the scaler's."""
        seen, shape = self.profile, self.transform().shape
        if seen is None:
            return self
        if shape and seen.width not in (shape[-1], int(np.prod(shape))):
            raise StatisticsError(f"the profile is of {seen.width} columns, the scaler has {shape[-1]} features")
        if self.features and seen.features and self.features != seen.features:
            raise StatisticsError("the features of the profile are not those of the scaler, or in another order")
        if not shape or seen.width != int(np.prod(shape)):
            return self
        features = self.features or (seen.features if len(shape) == 1 else ())
        ends = (self.data_min, self.data_max)
        if self.data_min is None and self.data_max is None and (seen.count > 0).all():
            ends = (seen.min.reshape(shape), seen.max.reshape(shape))
        return dataclasses.replace(self, data_min=ends[0], data_max=ends[1], features=features)


@dataclass(frozen=True, eq=False)
class Statistics:
    """inputs, outputs: tensor name -> scaler; the name None stands for "the one it fits". source: where from."""

    inputs: Mapping[str | None, Fitted]
    outputs: Mapping[str | None, Fitted]
    source: Source


@dataclass(frozen=True)
class Reading:
    """What the user says of a file that does not say it itself: flags of the command line.

    dialect: which reading of an ambiguous file. kind: which scaler, where the file has statistics for several.
    zero_std: "one" takes a zero divisor as 1. accept_defaults: take a missing key as its class's default. strict: what
    looks like a mistake is one. pick: which group of statistics, by its name in a file that has several.
    """

    dialect: str = ""
    kind: str = ""
    zero_std: str = ""
    accept_defaults: bool = False
    strict: bool = False
    pick: str = ""


def alone(fitted: Fitted, source: Source) -> Statistics:
    """Statistics for the one tensor they fit."""
    return Statistics({None: fitted}, {}, source)
