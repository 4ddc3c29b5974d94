"""Chains of models and services: what each gives must be what the next takes. A chain is a YAML file (schemas/chain.schema.json).

read: the file. check: what its edges say. fix: an adapter into one model. merge: one ONNX file. draw: a picture.
"""

from __future__ import annotations

from onnxscale.chaining.checking import check
from onnxscale.chaining.document import Chain, read
from onnxscale.chaining.drawing import draw
from onnxscale.chaining.fixing import fix
from onnxscale.chaining.merging import merge

__all__ = ["Chain", "check", "draw", "fix", "merge", "read"]
