"""onnxscale stats guard."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.cli.fitting import OUT


def guard(
    model: Annotated[str, typer.Argument(help="A model baked with --guard-stats.", metavar="MODEL")],
    sums: Annotated[
        list[str], typer.Argument(help="What it summed up: npz or JSON lines of its outputs.", metavar="FILE...")
    ],
    out: OUT = "part.json",
    input: o.Input = "",
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Write what a guarded model summed up while serving as a part, which merge adds to what fit measured.

    Example:

      onnxscale stats guard guarded.onnx sums.npz -o served.json && onnxscale stats merge train.json served.json
    """
    from onnxscale import targets
    from onnxscale.checking import guarded
    from onnxscale.reporting.clean import clean

    targets.free(out, force=force)
    found = guarded.summary(model, sums, input)
    content = json.dumps(found.to_json(), allow_nan=False) + "\n"
    if out == "-":
        sys.stdout.write(content)
        return
    targets.save(content.encode(), out, None, force=force)
    document = {"out": out, "rows": found.rows, "columns": found.width}
    print(json.dumps(document) if as_json else f"wrote {clean(out)}: {found.rows:,} rows of {found.width} columns")
