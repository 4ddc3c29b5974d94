"""What a bake will do, as values: the options asked for, a placement per scaler, the plan of them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from onnxscale import precision
from onnxscale.folding import Fold
from onnxscale.graph import InputSpec
from onnxscale.guarding import Guard
from onnxscale.statistics import Fitted, Source
from onnxscale.step import Array
from onnxscale.transform import Transform


@dataclass(frozen=True)
class Options:
    """What the user asks for. input, output: the tensor that an unnamed scaler is for. input_dtype: None takes keep,
    except for float16 inputs, which are widened. layout: in which the app feeds images, "nhwc" or "nchw", where the model
    takes the other. channels: "reversed" where the app feeds BGR for RGB, "gray" where it feeds one. again: bake although the
    model carries a scaler already. keep_original: whether the file keeps what a fold replaces, for unbake: "auto" up to a
    limit, "always", "never". guard: "observe", "clamp" or "nan", see guarding/; guard_stats: outputs with sums of each batch."""

    input: str = ""
    output: str = ""
    axis: int | None = None
    target_axis: int | None = None
    precision: str = "exact"
    form: str = "auto"
    input_dtype: str | None = None
    layout: str = "keep"
    channels: str = "keep"
    again: bool = False
    keep_original: str = "auto"
    guard: str = ""
    guard_stats: bool = False


@dataclass(frozen=True, eq=False)
class Placement:
    """One scaler on one tensor. role: "input" or "output". transform: the steps in the order they run in the model (for
    an output, the inverse). added: inputs that the scaler needs and the model lacks. fed: the layout and the channels that
    the app feeds, where they are others. dtypes: of the graph's tensor from now on, of the arithmetic, of the tensor inside. fold: how
    the model's own operators absorb it; None where nodes are all that is asked for. guard: of an input, or None."""

    spec: InputSpec
    role: str
    fitted: Fitted
    source: Source
    transform: Transform
    axis: int
    axis_reason: str
    precision: str
    graph_dtype: str
    dtype: str
    inner_dtype: str
    fold: Fold | None = None
    readers: tuple[str, ...] = ()
    shape_readers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    added: tuple[InputSpec, ...] = ()
    fed: Mapping[str, str] = field(default_factory=dict)
    guard: Guard | None = None

    def clamped(self, raw: Array) -> Array:
        """What the scaler gets of raw values: cut to the training range where the guard does that."""
        return raw if self.guard is None else self.guard.clamped(raw)

    @property
    def raw_axis(self) -> int:
        """Where the features lie in what the app feeds: elsewhere than `axis` where a first step moves dimensions."""
        order = self.transform.order
        return self.axis if order is None else order[self.axis % len(order)]

    @property
    def outer(self) -> InputSpec:
        """The tensor as the app sees it from now on: `spec` in the graph's type, and as wide as the raw values are."""
        shape, raw, inside = self.spec.shape, self.transform.shape, self.transform.result
        if self.role == "input" and shape is not None and raw != inside:
            at = self.axis % len(shape)
            shape = (*shape[:at], *raw, *shape[at + len(inside) :])
        order = self.transform.order
        if self.role == "input" and shape is not None and order is not None:
            shape = tuple(shape[order.index(i)] for i in range(len(order)))
        return replace(self.spec, dtype=self.graph_dtype, shape=shape)

    @property
    def form(self) -> str:
        """ "fold" where operators of the model absorb the scaler, in part at least; else "nodes"."""
        return self.fold.form if self.fold is not None else "nodes"

    @property
    def exact(self) -> bool:
        """Whether what reads the scaled values cannot tell them from float64's, rounded once."""
        if self.fold is not None and self.fold.form == "fold":
            return all(a.bound == 0 for a in self.fold.absorptions)
        return self.dtype == "float64" and (self.inner_dtype != "float64" or precision.is_exact(self.transform.steps))

    @property
    def lowered(self) -> Transform:
        """The steps as they are written into the graph."""
        return precision.lowered(self.transform, "exact" if self.dtype == "float64" else self.precision)


@dataclass(frozen=True, eq=False)
class Converted:
    """A transformer in front of an input by way of skl2onnx. spec: the model's input. fed: what the app feeds instead. prose: the
    classes it is made of. dtype: in which its graph computes. estimator, columns: itself and its raw columns, for verification."""

    spec: InputSpec
    fed: tuple[InputSpec, ...]
    prose: str
    dtype: str
    version: str
    source: Source
    estimator: Any = None
    columns: Any = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """What a bake will do. left: inputs that stay as they are. notes: on the model as a whole. converted: a transformer that goes
    in front by way of skl2onnx, or None."""

    model: str
    placements: tuple[Placement, ...]
    left: tuple[InputSpec, ...]
    notes: tuple[str, ...] = ()
    keep_original: str = "auto"
    converted: Converted | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(w for p in self.placements for w in p.warnings)
