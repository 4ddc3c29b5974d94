"""Fitted scikit-learn transformers that no steps of ours stand for, by way of skl2onnx: exported, put in front of the model,
verified against the transformer itself. scikit-learn and skl2onnx are imported here only, inside functions."""

from __future__ import annotations

from onnxscale.converting.planned import bake
from onnxscale.converting.verified import verify

__all__ = ["bake", "verify"]
