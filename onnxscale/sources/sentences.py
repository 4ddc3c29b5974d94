"""sentence-transformers: modules.json, whose Normalize divides an embedding by its length, after all that the model computes.

sentence_transformers/models/Normalize.py: torch.nn.functional.normalize(p=2, dim=1), x / max(|x|, 1e-12).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.step import Step
from onnxscale.transform import Transform

FLOOR = 1e-12


def is_modules(content: object) -> bool:
    rows = content if isinstance(content, list) else []
    return bool(rows) and all(isinstance(r, Mapping) and {"idx", "type"} <= set(r) for r in rows)


def read(content: Any, reading: Reading, source: Source) -> Statistics:
    """The L2 normalization of the one float output, as sentence-transformers applies it. Raises StatisticsError where no module
    is Normalize, or others come after it."""
    del reading
    kinds = [str(r["type"]).rpartition(".")[2] for r in sorted(content, key=lambda r: int(r["idx"]))]
    if "Normalize" not in kinds:
        raise StatisticsError(f"the modules are {names(kinds)}: none of them is Normalize, so nothing is scaled")
    if kinds[-1] != "Normalize" or kinds.count("Normalize") > 1:
        raise StatisticsError(f"the modules are {names(kinds)}: only one Normalize that comes last can be baked")
    step = Step("RowNorm", (), {"norm": "l2", "floor": FLOOR})
    note = (
        "embeddings are divided by their length (Normalize); bake it into a model that ends with the pooled embedding"
    )
    fitted = Fitted(Steps(Transform((step,))), -1, notes=(note,), applied=True)
    return Statistics({}, {None: fitted}, source)
