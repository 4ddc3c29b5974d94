"""Options that several commands share, each with its help in one place."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Annotated

import typer

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(text: str) -> int:
    """A number of bytes: "500000", "64MB", "1.5 GiB". Raises typer.BadParameter."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not found:
        raise typer.BadParameter(f"{text!r} is no size; write a number of bytes, or one such as 500MB or 4GB")
    return int(float(found[1]) * UNITS[found[2].upper()])


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it is there.")]
Input = Annotated[str, typer.Option("--input", help="The input that the statistics are for.", metavar="NAME")]
Output = Annotated[str, typer.Option("--output", help="The output that the target scaler is for.", metavar="NAME")]
Axis = Annotated[
    int | None, typer.Option("--axis", help="Where the features lie in the input; negative counts from the end.")
]
TargetAxis = Annotated[int | None, typer.Option("--target-axis", help="The same for the output of --target.")]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", help="Statistics of the training target; the inverse goes onto the output.", metavar="STATS"
    ),
]
Dialect = Annotated[str, typer.Option("--dialect", help="Which reading of an ambiguous statistics file is meant.")]
Kind = Annotated[str, typer.Option("--kind", help="Which scaler, where the file has statistics for several.")]
ZeroStd = Annotated[str, typer.Option("--zero-std", help="'one' divides constant features by 1, as scikit-learn does.")]
AcceptDefaults = Annotated[
    bool, typer.Option("--accept-defaults", help="Take keys that the file lacks as its class's defaults.")
]
Pick = Annotated[
    str, typer.Option("--pick", help="Which statistics, by their name in a file that holds several.", metavar="NAME")
]
Strict = Annotated[bool, typer.Option("--strict", help="What looks like a mistake in the statistics is an error.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="Your own raw rows to check on: npy, npz, csv or parquet.", metavar="FILE")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the rows that are made up.")]
TimeLimit = Annotated[
    float, typer.Option("--time-limit", min=1, help="Seconds that onnxruntime may take for one request.")
]
VerifyLimit = Annotated[
    int | None,
    typer.Option(
        "--verify-limit",
        help="A larger model is proved, not run whole: its changed part is. Such as 4GB; by default a quarter of memory.",
        metavar="SIZE",
        parser=size,
    ),
]


def listed(given: list[str] | None) -> tuple[str, ...]:
    """Names with commas between, each item as a line of CSV: '"a, b",c' are two."""
    found: list[str] = []
    for item in given or []:
        for row in csv.reader(io.StringIO(item, newline=""), skipinitialspace=True):
            found += [name if '"' in item else name.strip() for name in row]
    return tuple(name for name in found if name)
