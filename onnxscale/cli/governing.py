"""onnxscale diff, onnxscale lock."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.errors import VerificationError

Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance", min=0, help="In sigmas; by default functions are the same where 9 significant digits are."
    ),
]


def diff(
    a: Annotated[str, typer.Argument(help="A model or a statistics file; a URL too.", metavar="A")],
    b: Annotated[str, typer.Argument(help="The other.", metavar="B")],
    data: o.Data = None,
    tolerance: Tolerance = None,
    input: o.Input = "",
    output: o.Output = "",
    dialect: o.Dialect = "",
    kind: o.Kind = "",
    zero_std: o.ZeroStd = "",
    accept_defaults: o.AcceptDefaults = False,
    pick: o.Pick = "",
    time_limit: o.TimeLimit = 300,
    as_json: o.Json = False,
) -> None:
    """Say what differs between the normalization of A and of B. Exit 0 the same, 1 they differ, 2 it could not be said.

    Examples:

      onnxscale diff v1.onnx v2.onnx --data rows.npy

      onnxscale diff model.onnx scaler.joblib

      onnxscale diff old.json s3://bucket/new.onnx
    """
    from onnxscale import diffing
    from onnxscale.reporting import differences
    from onnxscale.statistics import Reading

    reading = Reading(dialect, kind, zero_std, accept_defaults, False, pick)
    found = diffing.diff(
        a, b, data=data, tolerance=tolerance, input=input, output=output, reading=reading, seconds=time_limit
    )
    print(json.dumps(differences.plain(found)) if as_json else differences.text(found))
    if not found.same:
        raise typer.Exit(VerificationError.code)
