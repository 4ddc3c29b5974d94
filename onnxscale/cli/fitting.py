"""onnxscale fit, onnxscale stats merge."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscale.cli import options as o
from onnxscale.cli import progress
from onnxscale.errors import OutputError

if TYPE_CHECKING:
    from onnxscale.statistics import Fitted, Source


def pair(text: str) -> tuple[float, float]:
    """Two numbers with a comma between: "-1,1". Raises typer.BadParameter."""
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected two numbers, low then high, such as 0,1") from None
    return low, high


def shard(text: str) -> tuple[int, int]:
    """i/n. Raises typer.BadParameter."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise typer.BadParameter(f"{text!r}: expected i/n with i from 1 to n, such as 3/8")
    return int(found[1]), int(found[2])


KIND = Annotated[
    str,
    typer.Option("--kind", help="Which scaler: standard, min-max, max-abs, robust, quantile, power, imputer, clip."),
]
DDOF = Annotated[int, typer.Option("--ddof", min=0, max=1, help="1 divides by n - 1 for the std, as pandas does.")]
FEATURE_RANGE = Annotated[
    Any, typer.Option("--feature-range", help="Of min-max: low,high.", metavar="LOW,HIGH", parser=pair)
]
CLIP = Annotated[bool, typer.Option("--clip", help="Of min-max and max-abs: cut to the range.")]
QUANTILE_RANGE = Annotated[
    Any, typer.Option("--quantile-range", help="Of robust, in percent.", metavar="LOW,HIGH", parser=pair)
]
N_QUANTILES = Annotated[int, typer.Option("--n-quantiles", min=1, help="Of quantile: how many.")]
OUTPUT = Annotated[str, typer.Option("--output", help="Of quantile: uniform or normal.", metavar="DISTRIBUTION")]
STRATEGY = Annotated[str, typer.Option("--strategy", help="Of imputer: mean or median.")]
BOUNDS = Annotated[Any, typer.Option("--bounds", help="Of clip, in percent.", metavar="LOW,HIGH", parser=pair)]
OUT = Annotated[str, typer.Option("-o", "--out", help="Where to write, or - for the screen.", metavar="FILE")]


def fit(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, patterns or URLs: parquet, CSV, Arrow, JSON lines, npy, npz; pictures, and tars of them.",
            metavar="DATA...",
        ),
    ],
    out: OUT = "stats.json",
    kind: KIND = "standard",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns", help="The features, in the model's order; commas or repeated, '\"a, b\"' where a name has one."
        ),
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="All columns but these.")] = None,
    where: Annotated[
        str, typer.Option("--where", help='Which rows, in SQL: "age > 17 AND site IS NOT NULL".', metavar="CONDITION")
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="The column that the model predicts: no feature; its scaler goes to FILE.target.json, for bake --target.",
            metavar="COLUMN",
        ),
    ] = "",
    engine: Annotated[
        str, typer.Option("--engine", help="polars (the default), duckdb, pyarrow, numpy, spark or dask.")
    ] = "",
    master: Annotated[str, typer.Option("--master", help="Of Spark, such as spark://host:7077.", metavar="URL")] = "",
    scheduler: Annotated[
        str, typer.Option("--scheduler", help="Of Dask, such as tcp://host:8786.", metavar="URL")
    ] = "",
    ddof: DDOF = 0,
    feature_range: FEATURE_RANGE = "0,1",
    clip: CLIP = False,
    quantile_range: QUANTILE_RANGE = "25,75",
    n_quantiles: N_QUANTILES = 1000,
    output: OUTPUT = "uniform",
    strategy: STRATEGY = "mean",
    bounds: BOUNDS = "1,99",
    method: Annotated[str, typer.Option("--method", help="Of power: yeo-johnson or box-cox.")] = "yeo-johnson",
    standardize: Annotated[bool, typer.Option("--standardize/--no-standardize", help="Of power.")] = True,
    group: Annotated[
        str,
        typer.Option(
            "--group", help="A mean and std for each value of this column: whole numbers or text.", metavar="COLUMN"
        ),
    ] = "",
    axis: Annotated[
        int | None, typer.Option("--axis", help="Of arrays: where the features lie; by default last.")
    ] = None,
    per_step: Annotated[
        bool, typer.Option("--per-step", help="Of arrays [n, time, F]: statistics of [time, F], not over time.")
    ] = False,
    correlation: Annotated[bool, typer.Option("--correlation", help="Measure the correlation matrix too.")] = False,
    quantiles: Annotated[
        bool, typer.Option("--quantiles/--no-quantiles", help="65 exact quantiles of each column, which check needs.")
    ] = True,
    unit: Annotated[list[str] | None, typer.Option("--unit", help="A column's unit.", metavar="COLUMN=UNIT")] = None,
    whole_hash: Annotated[
        bool, typer.Option("--hash", help="Hash all bytes of the data, not a sample of files over 16 MB.")
    ] = False,
    part: Annotated[
        Any,
        typer.Option(
            "--shard",
            help="Measure the i-th of n pieces only, for `onnxscale stats merge`.",
            metavar="I/N",
            parser=shard,
        ),
    ] = None,
    after: Annotated[
        Path | None,
        typer.Option("--next", help="With --shard: count what `stats merge --next FILE` asks for.", metavar="FILE"),
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Fit a scaler to data of any size, and write a statistics file with a profile of every column.

    Examples:

      onnxscale fit train.parquet --target price -o stats.json

      onnxscale fit 's3://bucket/day=*/part-*.parquet' --kind robust --exclude id

      onnxscale fit sales.parquet --group store

      onnxscale fit images/ -o stats.json                   # the channels of pictures, in folders or tars

      onnxscale fit parts/ --shard 3/8 -o part3.json        # on each of 8 machines, then

      onnxscale stats merge part*.json -o stats.json
    """
    from onnxscale import fitting, targets
    from onnxscale.data import Selection
    from onnxscale.errors import DataError
    from onnxscale.fitting import rounds

    address = _address(engine, master, scheduler)
    chosen = Selection(
        o.listed(columns), o.listed(exclude), where, (target,) if target else (), (1, 1), group, axis, per_step
    )
    units = _units(unit or [])
    settings = {"ddof": ddof, "feature_range": feature_range, "clip": clip, "quantile_range": quantile_range}
    settings |= {"n_quantiles": n_quantiles, "output": output, "strategy": strategy, "bounds": bounds}
    settings |= {"method": method, "standardize": standardize}
    targets.free(out, force=force)
    if after is not None and part is None:
        raise DataError("--next is a round of counts for a --shard")
    asked = None if after is None else rounds.read(after)
    with progress.shown("measuring", "rows read", alive=True) as tell:
        if part is not None:
            if target or group or per_step:
                raise DataError(
                    "--shard measures columns: a target on its own (--columns), groups and steps from all the data"
                )
            summary = fitting.shard(
                sources, part, chosen, engine=engine, address=address, correlation=correlation, quantiles=quantiles, after=asked,
                units=units, tell=tell, whole_hash=whole_hash,
            )  # fmt: skip
            _part(summary, out, force, as_json)
            return
        found = fitting.fit(
            sources, kind, columns=chosen.columns, exclude=chosen.exclude, where=where, target=target, engine=engine,
            group=group, axis=axis, steps=per_step,
            address=address, correlation=correlation, exact=quantiles, units=units, whole_hash=whole_hash, tell=tell, **settings,
        )  # fmt: skip
    beside = f"{out.removesuffix('.json')}.target.json"
    written = [(out, "", found.inputs[None])]
    written += [(beside, f"target {target!r}: ", f) for f in found.outputs.values()]
    _written(written, found.source, force, as_json)


def merge(
    parts: Annotated[list[Path], typer.Argument(help="What fit --shard wrote.", metavar="PART...")],
    out: OUT = "stats.json",
    kind: KIND = "standard",
    ddof: DDOF = 0,
    feature_range: FEATURE_RANGE = "0,1",
    clip: CLIP = False,
    quantile_range: QUANTILE_RANGE = "25,75",
    n_quantiles: N_QUANTILES = 1000,
    output: OUTPUT = "uniform",
    strategy: STRATEGY = "mean",
    bounds: BOUNDS = "1,99",
    following: Annotated[
        Path | None,
        typer.Option(
            "--next",
            help="Where exact quantiles need another round of counts, write what to count, for fit --shard i/n --next FILE.",
            metavar="FILE",
        ),
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Add the summaries of shards, and write the statistics file of all the data.

    Every shard of a data set has to be there, once. Parts of other data (shard 1/1 of each) add up too.

    Examples:

      onnxscale stats merge part1.json part2.json part3.json -o stats.json

      onnxscale stats merge part*.json --next round2.json   # then fit --shard i/n --next round2.json, and merge again
    """
    from onnxscale import fitting, targets
    from onnxscale.reporting.clean import clean

    targets.free(out, force=force)
    settings = {"ddof": ddof, "feature_range": feature_range, "clip": clip, "quantile_range": quantile_range}
    settings |= {"n_quantiles": n_quantiles, "output": output, "strategy": strategy, "bounds": bounds}
    asked = None if following is None else fitting.next_round(parts, kind, **settings)
    if asked is not None:
        assert following is not None
        content = json.dumps(asked.to_json(), allow_nan=False) + "\n"
        targets.save(content.encode(), following, None, force=force)
        open_ = sum(not s.done for s in asked.searches)
        said = f"wrote {clean(following)}: {open_} columns need another round, onnxscale fit --shard i/n --next {clean(following)}"
        print(json.dumps({"out": str(following), "columns": open_}) if as_json else said)
        return
    found = fitting.merge(parts, kind, **settings)
    _written([(out, "", found.inputs[None])], found.source, force, as_json)


stats = typer.Typer(name="stats", help="Statistics in parts.", no_args_is_help=True, rich_markup_mode=None)
stats.command()(merge)


@stats.callback()
def _stats() -> None:
    """Statistics in parts: merge adds what fit --shard measured, guard takes what a served model summed up."""


def _units(given: list[str]) -> dict[str, str]:
    bad = [u for u in given if "=" not in u]
    if bad:
        raise typer.BadParameter(f"--unit {bad[0]}: expected COLUMN=UNIT, such as height=cm")
    return dict(u.rsplit("=", 1) for u in given)


def _address(engine: str, master: str, scheduler: str) -> str:
    if master and engine != "spark":
        raise typer.BadParameter("--master is for --engine spark")
    if scheduler and engine != "dask":
        raise typer.BadParameter("--scheduler is for --engine dask")
    return master or scheduler


def _part(summary: Any, out: str, force: bool, as_json: bool) -> None:
    from onnxscale import targets
    from onnxscale.reporting.clean import clean

    data = (json.dumps(summary.to_json(), allow_nan=False, ensure_ascii=False) + "\n").encode()
    if out == "-":
        sys.stdout.buffer.write(data)
        return
    targets.save(data, out, None, force=force)
    said = {"out": out, "rows": summary.rows, "shard": summary.about.get("shard")}
    print(json.dumps(said) if as_json else f"wrote {clean(out)} ({summary.rows:,} rows of {summary.width} columns)")


def _written(items: list[tuple[str, str, Fitted]], source: Source, force: bool, as_json: bool) -> None:
    from onnxscale import targets
    from onnxscale.reporting import fits
    from onnxscale.reporting.clean import clean
    from onnxscale.statistics import alone
    from onnxscale.targets import native

    ready = [(place, native.write(alone(f, source))) for place, _, f in items]
    if len(ready) > 1 and items[0][0] == "-":
        raise OutputError("with --target there are two files; name the first one with -o")
    for place, _ in ready:
        targets.free(place, force=force)
    for warning in (w for _, _, f in items for w in f.warnings):
        print(f"warning: {clean(warning)}", file=sys.stderr)
    if items[0][0] == "-":
        sys.stdout.buffer.write(ready[0][1])
        return
    for (place, data), (_, what, f) in zip(ready, items, strict=True):
        targets.save(data, place, None, force=force)
        if not as_json:
            print(f"{fits.fitted(f, what)}\nwrote {clean(place)} ({len(data):,} bytes)")
    if as_json:
        print(json.dumps({"out": [p for p, _ in ready], "fitted": [fits.plain(f) for _, _, f in items]}))
