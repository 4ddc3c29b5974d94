"""onnxscale verify, onnxscale selftest."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.errors import VerificationError


def verify(
    baked: Annotated[str, typer.Argument(help="The baked model.", metavar="BAKED")],
    stats: Annotated[str, typer.Argument(help="The statistics that training fitted.", metavar="STATS")],
    against: Annotated[str, typer.Option("--against", help="The original model.", metavar="MODEL")],
    input: o.Input = "",
    output: o.Output = "",
    axis: o.Axis = None,
    target: o.Target = None,
    target_axis: o.TargetAxis = None,
    dialect: o.Dialect = "",
    kind: o.Kind = "",
    zero_std: o.ZeroStd = "",
    accept_defaults: o.AcceptDefaults = False,
    strict: o.Strict = False,
    pick: o.Pick = "",
    data: o.Data = None,
    seed: o.Seed = 0,
    time_limit: o.TimeLimit = 300,
    verify_limit: o.VerifyLimit = None,
    as_json: o.Json = False,
) -> None:
    """Check a baked model against the original and the statistics. Exit 0 VERIFIED, 1 DIFFERS or NOT VERIFIED.

    Example:

      onnxscale verify model.baked.onnx --against model.onnx stats.json
    """
    from onnxscale import pipeline, rows
    from onnxscale.plans import Options
    from onnxscale.reporting import plain, text
    from onnxscale.statistics import Reading

    found = pipeline.verify(
        baked,
        against,
        stats,
        target=target,
        data=None if data is None else lambda placements: rows.read(data, placements),
        options=Options(input, output, axis, target_axis),
        reading=Reading(dialect, kind, zero_std, accept_defaults, strict, pick),
        seed=seed,
        seconds=time_limit,
        limit=verify_limit,
    )
    print(json.dumps(plain.comparison(found)) if as_json else text.comparison(found))
    if not found.verified:
        raise typer.Exit(VerificationError.code)


def selftest(
    model: Annotated[str, typer.Argument(help="A baked model.", metavar="MODEL")],
    time_limit: o.TimeLimit = 300,
    as_json: o.Json = False,
) -> None:
    """Run the golden vectors that a baked model carries, on the runtime at hand.

    Example:

      onnxscale selftest model.baked.onnx
    """
    from onnxscale import looking
    from onnxscale.reporting import plain, text

    found = looking.selftest(model, seconds=time_limit)
    print(json.dumps(plain.selftest(found)) if as_json else text.selftest(found))
    if found.verdict != "VERIFIED":
        raise typer.Exit(VerificationError.code)
