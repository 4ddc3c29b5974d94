"""Statistics from data of any size: what `onnxscale fit` does."""
