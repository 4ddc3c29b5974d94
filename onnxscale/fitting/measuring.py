"""Data -> Summary: by its own engine where it has one, else by the kernel in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata

from onnxscale.data import Data
from onnxscale.data.engines import said
from onnxscale.errors import DataError, names
from onnxscale.fitting import kernel, moments
from onnxscale.fitting.summary import Summary

STREAMED = ("polars", "duckdb", "pandas", "pyarrow")  # engines whose rows come as batches at little cost
WIDE, CROSSED = 1000, 32  # columns from which the kernel is quicker than a query: for sums, and for products of pairs
Tell = Callable[[int], None]


def measured(
    data: Data, *, correlation: bool = False, units: Mapping[str, str] | None = None, tell: Tell = lambda rows: None
) -> Summary:
    """The summary of data, with what is known of where it was measured. units: of columns, by name.

    Raises DataError where there are no rows, a unit is of no column, or a file changes while it is read.
    """
    most = CROSSED if correlation else WIDE
    local = data.frame is None or (data.engine in STREAMED and data.width > most)
    run = kernel.summarized if local else moments.summarized
    with said(f"{data.engine} did not get through"):
        found = run(data, correlation=correlation, tell=tell)
    data.settled()
    engine = "numpy" if local else data.engine
    about = {**data.about, "engine": f"{engine} {_version(engine)}".strip(), "onnxscale": _version("onnxscale")}
    return replace(found, units=_units(units or {}, data.names), about=about)


def _version(package: str) -> str:
    try:
        return metadata.version({"ibis": "ibis-framework"}.get(package, package))
    except metadata.PackageNotFoundError:
        return ""


def _units(given: Mapping[str, str], columns: Sequence[str]) -> tuple[str, ...]:
    missing = [n for n in given if n not in columns]
    if missing:
        raise DataError(f"--unit: no column {names(missing)}; there are {names(columns)}")
    return tuple(given.get(n, "") for n in columns) if given else ()
