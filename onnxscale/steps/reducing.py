"""Reductions of ONNX over several axes, as operator sets write them, for steps that take statistics of a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxscale.step import Builder

_AXES_ARE_INPUTS = {"ReduceSum": 13}  # the others from 18 on


def axes_in(build: Builder, over: Sequence[int], rank: int | None) -> tuple[list[int], int]:
    """The axes counted from the start, and the rank. Raises where the rank is unknown, or an axis is that of the rows."""
    if rank is None:
        raise build.refuse("statistics of each row need a tensor whose rank the model states")
    if any(not -rank <= a < rank for a in over):
        raise build.refuse(f"the tensor has {rank} dimensions, and the scaler works over axes {list(over)}")
    axes = [a % rank for a in over]
    if 0 in axes:
        raise build.refuse("a scaler of each row works over the axes of a row; axis 0 counts the rows")
    return axes, rank


def reduced(build: Builder, op: str, x: str, axes: Sequence[int]) -> str:
    """ReduceSum, ReduceMean, ReduceMax, ReduceMin with the axes kept as ones."""
    if build.opset >= _AXES_ARE_INPUTS.get(op, 18):
        return build.node(op, x, build.tensor(np.array(axes), "axes"), keepdims=1)
    return build.node(op, x, axes=list(axes), keepdims=1)


def counted(build: Builder, x: str, axes: Sequence[int]) -> str:
    """How many values of x lie along these axes, in the arithmetic type."""
    sizes = build.node("Gather", build.node("Shape", x), build.tensor(np.array(axes), "axes"), axis=0)
    product = build.node("ReduceProd", build.node("Cast", sizes, to=np.float32), keepdims=0)
    return build.node("Cast", product, to=build.dtype)


def unsqueezed(build: Builder, x: str, axes: Sequence[int]) -> str:
    """x with ones at these axes of the result."""
    if build.opset >= 13:
        return build.node("Unsqueeze", x, build.tensor(np.array(axes), "axes"))
    return build.node("Unsqueeze", x, axes=list(axes))
