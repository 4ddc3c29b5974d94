"""The steps there are: the table that gives each operator's name its meaning. A new step is one file and one row."""

from __future__ import annotations

from onnxscale.step import Operator
from onnxscale.steps import beside
from onnxscale.steps.arithmetic import ARITHMETIC
from onnxscale.steps.cast import CAST
from onnxscale.steps.columns import COLUMNS
from onnxscale.steps.discrete import DISCRETE
from onnxscale.steps.elementary import ELEMENTARY
from onnxscale.steps.grouped import GROUPED
from onnxscale.steps.impute import IMPUTE
from onnxscale.steps.instance import INSTANCE
from onnxscale.steps.layout import LAYOUT
from onnxscale.steps.mixing import MIXING
from onnxscale.steps.power import POWER
from onnxscale.steps.quantile import QUANTILE
from onnxscale.steps.rownorm import ROWNORM
from onnxscale.steps.spline import SPLINE

OPERATORS: dict[str, Operator] = {
    **ARITHMETIC,
    "Cast": CAST,
    **POWER,
    **QUANTILE,
    **ROWNORM,
    **ELEMENTARY,
    **DISCRETE,
    "Impute": IMPUTE,
    **COLUMNS,
    **GROUPED,
    **INSTANCE,
    **LAYOUT,
    **MIXING,
    **SPLINE,
}
OPERATORS["Beside"] = beside.row(OPERATORS)
