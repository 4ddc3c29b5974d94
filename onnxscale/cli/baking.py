"""onnxscale bake, onnxscale unbake."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.cli import progress
from onnxscale.errors import ModelError, OutputError, VerificationError


def bake(
    model: Annotated[str, typer.Argument(help="The ONNX model.", metavar="MODEL")],
    stats: Annotated[str, typer.Argument(help="The statistics that training fitted.", metavar="STATS")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where to write; by default <model>.baked.onnx beside MODEL.")
    ] = None,
    input: o.Input = "",
    output: o.Output = "",
    axis: o.Axis = None,
    target: o.Target = None,
    target_axis: o.TargetAxis = None,
    precision: Annotated[
        str, typer.Option("--precision", help="exact (float64), split (float32 pairs) or single (float32).")
    ] = "exact",
    form: Annotated[
        str, typer.Option("--form", help="auto folds where a bound allows, nodes inserts, fold demands it.")
    ] = "auto",
    input_dtype: Annotated[
        str | None, typer.Option("--input-dtype", help="What the app feeds: keep, float32, float64, uint8, int16, ...")
    ] = None,
    layout: Annotated[
        str, typer.Option("--layout", help="How the app feeds images where the model takes the other: nhwc or nchw.")
    ] = "keep",
    channels: Annotated[
        str, typer.Option("--channels", help="reversed: the app feeds BGR for RGB; gray: one channel for several.")
    ] = "keep",
    dialect: o.Dialect = "",
    kind: o.Kind = "",
    zero_std: o.ZeroStd = "",
    accept_defaults: o.AcceptDefaults = False,
    strict: o.Strict = False,
    pick: o.Pick = "",
    keep_original: Annotated[
        str, typer.Option("--keep-original", help="Keep what a fold replaces, for unbake: auto, always or never.")
    ] = "auto",
    guard: Annotated[
        str,
        typer.Option(
            "--guard",
            help="Outputs that tell of raw values out of range: observe; clamp also cuts them; nan takes wrong rows out.",
        ),
    ] = "",
    guard_stats: Annotated[
        bool, typer.Option("--guard-stats", help="Outputs with count, sums, min and max of each batch, for drift.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Bake although the model seems to carry a scaler.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Write without running the model.")] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace MODEL itself.")] = False,
    copy_data: Annotated[bool, typer.Option("--copy-data", help="Copy external data, also beside MODEL.")] = False,
    link_data: Annotated[
        bool, typer.Option("--link-data", help="Hard-link external data where they would be copied.")
    ] = False,
    force: o.Force = False,
    data: o.Data = None,
    seed: o.Seed = 0,
    time_limit: o.TimeLimit = 300,
    verify_limit: o.VerifyLimit = None,
    as_json: o.Json = False,
) -> None:
    """Put the scaler inside the model, prove it, and write a model that takes raw values.

    Examples:

      onnxscale bake model.onnx stats.json

      onnxscale bake model.onnx preprocessor_config.json --input-dtype uint8 --layout nhwc

      onnxscale bake model.onnx x.json --target y.json -o model.raw.onnx

      onnxscale bake model.onnx stats.json --guard observe --guard-stats
    """
    from onnxscale import digests

    begun = None if dry_run else digests.ahead(model)

    from onnxscale import pipeline, remote, rows
    from onnxscale.plans import Options
    from onnxscale.reporting import plain, text
    from onnxscale.reporting.clean import clean
    from onnxscale.statistics import Reading

    if in_place and out is not None:
        raise OutputError("--in-place writes MODEL itself; leave -o away, or leave --in-place away")
    if copy_data and link_data:
        raise OutputError("--copy-data and --link-data exclude each other")
    if in_place and remote.is_url(model):
        raise OutputError(f"--in-place cannot write to {model}; name an output on this machine with -o")
    beside = Path(PurePosixPath(model).name) if remote.is_url(model) else Path(model)
    if in_place:
        beside = Path(os.path.realpath(beside))
    elif not beside.name:
        raise ModelError(f"{model}: a folder; expected an ONNX file")
    place = beside if in_place else out or beside.with_name(f"{beside.stem}.baked.onnx")
    asked = Options(input, output, axis, target_axis, precision, form, input_dtype)
    asked = replace(
        asked,
        guard=guard,
        guard_stats=guard_stats,
        layout=layout,
        channels=channels,
        again=again,
        keep_original=keep_original,
    )
    reading = Reading(dialect, kind, zero_std, accept_defaults, strict, pick)
    baked = pipeline.bake(model, stats, target=target, options=asked, reading=reading)
    if not as_json:
        print(text.plan(baked.plan), flush=True)
    for warning in baked.plan.warnings:
        print(f"warning: {clean(warning)}", file=sys.stderr)
    shown = baked.plan
    if dry_run:
        if as_json:
            print(json.dumps(plain.baked(baked, None)))
        return
    baked.check_output(place, force=force, in_place=in_place)
    if not no_verify:
        own = None if data is None else rows.read(data, baked.plan.placements)
        with progress.shown("verifying", "feeds run") as tell:
            baked = baked.verify(own, seed=seed, seconds=time_limit, tell=tell, limit=verify_limit)
        assert baked.comparison is not None
        if not as_json and baked.plan is not shown:
            print(f"folded, it does not hold; with nodes:\n{text.plan(baked.plan)}", flush=True)
        if not as_json:
            print(text.comparison(baked.comparison), flush=True)
        if not baked.comparison.verified:
            if as_json:
                print(json.dumps(plain.baked(baked, None)))
            refuse(baked.comparison.verdict, baked.comparison.reason)
    with progress.shown("writing", "MB", len(baked.original.data), 1 << 20) as tell:
        kept = "copy" if copy_data else "link" if link_data else "share"
        path = baked.save(place, force=force, in_place=in_place, tell=tell, data=kept, ahead=begun)
    print(json.dumps(plain.baked(baked, str(place)))) if as_json else print(
        f"wrote {clean(place)} ({path.stat().st_size:,} bytes)"
    )


def refuse(verdict: str, reason: str) -> None:
    from onnxscale.reporting.clean import clean

    hint = "; --no-verify writes it all the same" if verdict == "NOT VERIFIED" else ""
    print(f"error: {verdict}: {clean(reason)}. Nothing was written{hint}", file=sys.stderr)
    raise typer.Exit(VerificationError.code)


def unbake(
    baked: Annotated[str, typer.Argument(help="A baked model.", metavar="BAKED")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where to write; by default <baked>.original.onnx beside it.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Restore the model as it was before the bake, byte for byte.

    Example:

      onnxscale unbake model.baked.onnx -o model.onnx
    """
    from onnxscale import pipeline, remote
    from onnxscale.reporting.clean import clean

    beside = Path(PurePosixPath(baked).name) if remote.is_url(baked) else Path(baked)
    place = out or beside.with_name(f"{beside.stem.removesuffix('.baked')}.original.onnx")
    path = pipeline.unbake(baked, place, force=force)
    if as_json:
        print(json.dumps({"out": str(place), "size": path.stat().st_size}))
    else:
        print(f"wrote {clean(place)} ({path.stat().st_size:,} bytes), the original byte for byte")
