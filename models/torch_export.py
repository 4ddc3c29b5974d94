"""Training, answering and exporting with torch: the same weights on every run, both of its exporters."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from models.built import Array


def train(net: nn.Module, inputs: Sequence[Array], y: Array, steps: int = 60) -> nn.Module:
    """Full batches on one thread, so that every run makes the same weights."""
    torch.set_num_threads(1)
    tensors = [torch.tensor(x, dtype=torch.float32) for x in inputs]
    classes = y.dtype.kind == "i"
    goal = torch.tensor(y if classes else y.reshape(-1, 1), dtype=torch.int64 if classes else torch.float32)
    loss = nn.CrossEntropyLoss() if classes else nn.MSELoss()
    tune = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        tune.zero_grad()
        loss(net(*tensors), goal).backward()
        tune.step()
    return net.eval()


def answer(net: nn.Module, *inputs: Array) -> Array:
    """The network in float64, on inputs scaled in float64."""
    with torch.no_grad():
        found = copy.deepcopy(net).double()(*(torch.tensor(x, dtype=torch.float64) for x in inputs))
    return np.asarray(found.numpy())


def legacy(net: nn.Module, shapes: Mapping[str, tuple[int, ...]], output: str, opset: int) -> onnx.ModelProto:
    """torch's TorchScript exporter: weights named as in the module, dynamic batch N."""
    dynamic = {name: {0: "N"} for name in (*shapes, output)}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            net,
            tuple(torch.zeros(2, *shape) for shape in shapes.values()),
            path,
            input_names=list(shapes),
            output_names=[output],
            opset_version=opset,
            dynamic_axes=dynamic,
            dynamo=False,
        )
        return onnx.load(path)


def dynamo(net: nn.Module, shapes: Mapping[str, tuple[int, ...]], output: str, opset: int) -> onnx.ModelProto:
    """torch's exporter by torch.export. It notes the source line of every node, with the folders of the machine: those
    notes are dropped, the others stay, as metadata that every edit must keep."""
    batch = torch.export.Dim("N")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            net,
            tuple(torch.zeros(2, *shape) for shape in shapes.values()),
            input_names=list(shapes),
            output_names=[output],
            opset_version=opset,
            dynamic_shapes=tuple({0: batch} for _ in shapes),
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    model = made.model_proto
    for node in model.graph.node:
        kept = [p for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
        node.ClearField("metadata_props")
        node.metadata_props.extend(kept)
    return onnx.load_from_string(model.SerializeToString())
