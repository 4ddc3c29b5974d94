"""The models of `models/` as cases for tests: where their files are, and what a bake of each must reproduce."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
MODELS = Path(__file__).resolve().parent.parent / "models"


@dataclass(frozen=True)
class Case:
    """One line of models/manifest.json.

    stats: files that all mean the same scaler; the first is the one to show. target: statistics for --target, or None.
    axis, input: what --axis and --input need, or None. rtol: relative to the largest |expected| of an output.
    exact: trees, whose decisions must be the pipeline's. joblib: the fitted scalers.
    """

    name: str
    model: Path
    stats: tuple[Path, ...]
    target: Path | None
    axis: int | None
    input: str | None
    rows: Path
    expected: Path
    rtol: float
    exact: bool
    joblib: tuple[Path, ...]
    notes: str

    def __str__(self) -> str:
        return self.name

    def raw(self) -> dict[str, Array]:
        """Raw rows by input name, in the dtype that a client sends."""
        return _arrays(self.rows)

    def answers(self) -> dict[str, Array]:
        """The pipeline's answers by output name; a sequence of maps has a column for each key, in order."""
        return _arrays(self.expected)

    def flags(self) -> list[str]:
        """What the command line of a bake needs beyond the model and a statistics file."""
        axis = [] if self.axis is None else ["--axis", str(self.axis)]
        named = [] if self.input is None else ["--input", self.input]
        return axis + named + ([] if self.target is None else ["--target", str(self.target)])


def _arrays(path: Path) -> dict[str, Array]:
    with np.load(path) as held:
        return dict(held)


def _case(line: dict[str, Any]) -> Case:
    """Paths in the manifest are relative to it. An unknown key fails: the manifest and this file change together."""
    paths = {key: MODELS / line[key] for key in ("model", "rows", "expected")}
    several = {key: tuple(MODELS / p for p in line[key]) for key in ("stats", "joblib")}
    target = None if line["target"] is None else MODELS / line["target"]
    return Case(**{**line, **paths, **several, "target": target})


def cases() -> list[Case]:
    """All of them, in the manifest's order."""
    return [_case(line) for line in json.loads((MODELS / "manifest.json").read_text(encoding="utf-8"))]
