"""onnxscale inspect, onnxscale schema."""

from __future__ import annotations

import json
from importlib import resources
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.errors import StatisticsError


def inspect(
    model: Annotated[str, typer.Argument(help="Any ONNX model.", metavar="MODEL")], as_json: o.Json = False
) -> None:
    """Show what a model takes and gives, and the scaler it carries, feature by feature.

    Example:

      onnxscale inspect model.baked.onnx
    """
    from onnxscale import looking
    from onnxscale.reporting import plain, text

    found = looking.inspect(model)
    print(json.dumps(plain.inspection(found)) if as_json else text.inspection(found))


def schema(
    which: Annotated[
        str, typer.Argument(help="stats, record, chain or contract.", metavar="[stats|record|chain|contract]")
    ] = "stats",
    as_json: o.Json = False,
) -> None:
    """Print the JSON Schema of a statistics file, of the record in a baked model's metadata, of a chain, or of a contract.

    Example:

      onnxscale schema record
    """
    del as_json  # it is JSON either way
    known = ("stats", "record", "chain", "contract")
    if which not in known:
        raise StatisticsError(f"no schema {which!r}; there are {' and '.join(known)}")
    text = (resources.files("onnxscale") / "schemas" / f"{which}.schema.json").read_text(encoding="utf-8")
    print(json.dumps(json.loads(text), indent=2))
