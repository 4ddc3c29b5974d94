"""The steps there are: the table that gives each operator's name its meaning. A new step is one file and one row."""

from __future__ import annotations

from onnxscale.step import Operator
from onnxscale.steps.arithmetic import ARITHMETIC
from onnxscale.steps.cast import CAST

OPERATORS: dict[str, Operator] = {
    **ARITHMETIC,
    "Cast": CAST,
}
