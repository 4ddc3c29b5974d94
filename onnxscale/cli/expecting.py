"""onnxscale expect."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.cli import progress


def expect(
    model: Annotated[str, typer.Argument(help="Any ONNX model; a URL too.", metavar="MODEL")],
    data: Annotated[
        str | None,
        typer.Argument(
            help="Rows as you have them: npy, npz, csv, parquet, Arrow, JSON lines, a pattern, a URL.", metavar="[DATA]"
        ),
    ] = None,
    input: Annotated[str, typer.Option("--input", help="Only this input.", metavar="NAME")] = "",
    time_limit: o.TimeLimit = 60,
    as_json: o.Json = False,
) -> None:
    """What does this model expect: raw values, z-scores, 0 to 1, pixels? From its nodes, constants and thresholds, and from how it
    answers; ranked, with the evidence. Exit 0 answered, 2 it cannot be told.

    Examples:

      onnxscale expect model.onnx

      onnxscale expect model.onnx raw_rows.npy --json
    """
    from onnxscale import expecting
    from onnxscale.reporting import expected

    with progress.shown("looking", "cues") as tell:
        found = expecting.expect(model, data, input=input, seconds=time_limit, tell=tell)
    print(json.dumps(expected.plain(found)) if as_json else expected.text(found))
    if not found.answered:
        raise typer.Exit(2)
