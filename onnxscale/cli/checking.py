"""onnxscale check."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.cli import progress
from onnxscale.errors import OnnxscaleError

FORMATS = ("table", "json", "markdown", "prometheus")
FAILS = ("mismatch", "drift", "warning")


def check(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="The model or statistics file, then the data: files, folders, patterns or URLs.",
            metavar="MODEL DATA...",
        ),
    ],
    stats: Annotated[
        str,
        typer.Option(
            "--stats",
            help="What the data should be like, where the model does not carry it; MODEL may be left out.",
            metavar="FILE",
        ),
    ] = "",
    input: o.Input = "",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns", help="The data's columns in the model's order; commas or repeated. By default by their names."
        ),
    ] = None,
    where: Annotated[str, typer.Option("--where", help="Which rows, in SQL.", metavar="CONDITION")] = "",
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--candidates", help="Other models or statistics that the data may belong to; repeated.", metavar="FILE"
        ),
    ] = None,
    from_guard: Annotated[
        list[str] | None,
        typer.Option(
            "--from-guard",
            help="Instead of DATA: what a guarded MODEL summed up while serving, npz or JSON lines; repeated.",
            metavar="FILE",
        ),
    ] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Exit 1 for this, or worse: mismatch, drift or warning.")
    ] = "mismatch",
    form: Annotated[str, typer.Option("--format", help="table, json, markdown or prometheus.")] = "table",
    as_json: o.Json = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Columns and warnings that are listed.")] = 10,
    engine: Annotated[
        str, typer.Option("--engine", help="What reads the data: polars (the default), duckdb, pyarrow.")
    ] = "",
    dialect: o.Dialect = "",
    kind: o.Kind = "",
    pick: o.Pick = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample of rows.")] = 0,
) -> None:
    """Say whether data is what a model expects, or what is wrong with it: scaled already, exchanged columns, another unit, drift.

    Exit 0 as expected (or drift, unless --fail-on says so), 1 not, 2 it cannot be told, such as for fewer than 32 rows.

    Examples:

      onnxscale check model.baked.onnx today.parquet

      onnxscale check stats.json 'day=*/part-*.parquet' --fail-on drift --format prometheus

      onnxscale check guarded.onnx --from-guard sums.npz       # what bake --guard-stats gave while serving

      onnxscale check model.onnx rows.csv --stats stats.json --candidates paris.json --candidates tokyo.json
    """
    from onnxscale import checking, origins
    from onnxscale.checking import guarded
    from onnxscale.reporting import checks
    from onnxscale.statistics import Reading

    chosen = "json" if as_json else form
    for name, value, known in (("--format", chosen, FORMATS), ("--fail-on", fail_on, FAILS)):
        if value not in known:
            raise OnnxscaleError(f"{name} {value!r}: expected {', '.join(known[:-1])} or {known[-1]}")
    named = bool(stats) and not from_guard and (len(paths) == 1 or not origins.is_model(paths[0]))
    source, data = (stats, paths) if named else (paths[0], paths[1:])
    reading = Reading(dialect=dialect, kind=kind, pick=pick)
    if from_guard and (data or candidates or columns or where):
        raise OnnxscaleError(
            "--from-guard: the sums stand for the data, so no DATA, --columns, --where or --candidates"
        )
    if not data and not from_guard:
        raise OnnxscaleError("no data: expected MODEL DATA..., a model or a statistics file and then files of rows")
    with progress.shown("checking", "rows read") as tell:
        if from_guard:
            summed = guarded.summary(paths[0], from_guard, input)
            found = checking.check_summary(source, summed, stats=stats or None, input=input, reading=reading)
        else:
            found = checking.check(
                source, data if len(data) > 1 else data[0], stats=stats or None, input=input, columns=o.listed(columns),
                where=where, candidates=candidates or (), reading=reading, engine=engine, seed=seed, tell=tell,
            )  # fmt: skip
    if chosen == "json":
        print(json.dumps(checks.plain(found)))
    elif chosen == "prometheus":
        print(checks.prometheus(found))
    else:
        print(checks.markdown(found, limit) if chosen == "markdown" else checks.text(found, limit))
    if code := found.code(fail_on):
        raise typer.Exit(code)
