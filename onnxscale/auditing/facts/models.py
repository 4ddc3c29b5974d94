"""ONNX models: what their inputs take, and whether the file scales them itself. Only small parts of a large one are read."""

from __future__ import annotations

import hashlib

from onnxscale import modelfile, ports, recognition
from onnxscale.auditing.facts.base import Facts, Model, Trouble
from onnxscale.auditing.facts.values import rescales
from onnxscale.auditing.finding import Where
from onnxscale.errors import OnnxscaleError
from onnxscale.graph import FLOATS
from onnxscale.modelfile import ModelFile
from onnxscale.spaces import Space

HASHED = 16 << 20


def read(source: str, path: str) -> Facts:
    """The facts of a model. source: a path of this machine or a URL; path: what to call it."""
    where = Where(path)
    try:
        with modelfile.open_model(source) as model:
            return Facts(path, "onnx", models=(_model(model, where),))
    except OnnxscaleError as error:
        return Facts(path, "onnx", troubles=(Trouble(where, str(error).replace(str(source), path)[:300]),))


def _model(model: ModelFile, where: Where) -> Model:
    found = ports.of_model(model)
    spaces: dict[str, Space] = {}
    how, unscaled = "bare", []
    for port in found:
        if port.role != "input" or port.name is None or port.spec is None:
            continue
        space = (
            port.inside if port.how != "bare" else _rescaled(model, port.name) if port.spec.dtype in FLOATS else None
        )
        if space is not None and space.transform is not None:
            spaces[port.name] = space
            how = "baked" if port.how == "baked" or how == "baked" else "recognized"
        elif port.spec.dtype in FLOATS:
            unscaled.append(port.name)
    shapes = {
        role: {str(p.name): p.spec.shape for p in found if p.role == role and p.spec} for role in ("input", "output")
    }
    whole = not model.url and len(model.data) <= HASHED
    digest = hashlib.sha256(model.read(0, len(model.data))).hexdigest() if whole else ""
    return Model(where, how, shapes["input"], shapes["output"], spaces, tuple(unscaled), digest)


def _rescaled(model: ModelFile, name: str) -> Space | None:
    """One factor for all values at the start of a graph that is the range of pixels: a rescale, where it stands alone."""
    lead = recognition.leading(model, name)
    one = lead.transform.affine() if lead.ops else None
    if one is None or one.scale.size != 1 or not rescales("Mul", float(one.scale.ravel()[0])):
        return None
    return Space(lead.transform)
