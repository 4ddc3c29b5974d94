"""A baked model's own guard: what it tells of the raw values that it is fed, in standard operators beside the scaler.

values.py is the guard as a value with its numpy twin; telling.py decides what looks scaled already; deciding.py takes both from the
statistics; nodes.py writes them into a graph.
"""

from onnxscale.guarding.deciding import MODES, decide
from onnxscale.guarding.nodes import poison, write
from onnxscale.guarding.values import FILL, TOLERANCE, Guard

__all__ = ["FILL", "MODES", "TOLERANCE", "Guard", "decide", "poison", "write"]
