"""onnxscale audit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxscale.cli import options as o
from onnxscale.cli import progress
from onnxscale.errors import OnnxscaleError

FORMATS, SEVERITIES = ("table", "json", "sarif"), ("error", "warning", "note")


def audit(
    paths: Annotated[list[str], typer.Argument(help="Folders, files, or URLs of a bucket.", metavar="PATH...")],
    form: Annotated[str, typer.Option("--format", help="table, json or sarif (2.1.0).")] = "table",
    as_json: o.Json = False,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Exit 1 for findings as bad as this, or worse: error, warning or note.")
    ] = "warning",
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Findings that are accepted; only others count.", metavar="FILE")
    ] = None,
    write_baseline: Annotated[
        Path | None,
        typer.Option("--write-baseline", help="Accept all that is found now, and write it down.", metavar="FILE"),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="Paths to leave out, such as 'third_party' or '*.ipynb'.", metavar="GLOB"),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that read files.")] = 1,
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler", help="A Dask cluster to read files on, such as tcp://host:8786.", metavar="ADDRESS"
        ),
    ] = "",
) -> None:
    """Walk a repository or a bucket and report where normalization contradicts itself. Nothing that is read is executed.

    A comment silences a line: # onnxscale: ignore[rule]. Exit 0 clean, 1 findings, 2 it could not be done.

    Examples:

      onnxscale audit .

      onnxscale audit src models --format sarif > audit.sarif

      onnxscale audit . --baseline audit.json --fail-on error
    """
    from onnxscale import auditing
    from onnxscale.auditing import baselines
    from onnxscale.reporting import audits

    chosen = "json" if as_json else form
    for name, value, known in (("--format", chosen, FORMATS), ("--fail-on", fail_on, SEVERITIES)):
        if value not in known:
            raise OnnxscaleError(f"{name} {value!r}: expected {', '.join(known[:-1])} or {known[-1]}")
    accepted = None if baseline is None else baselines.read(baseline)
    with _executor(workers, scheduler) as executor, progress.shown("auditing", "files") as tell:
        found = auditing.audit(paths, executor, exclude=exclude or (), tell=tell)
    if write_baseline is not None:
        baselines.write(found.findings, write_baseline)
        found = dataclasses.replace(found, findings=())
    if accepted is not None:
        found = dataclasses.replace(found, findings=baselines.new(found.findings, accepted))
    if chosen == "table":
        print(audits.table(found))
    else:
        print(json.dumps(audits.document(found) if chosen == "json" else audits.sarif(found)))
    if found.worst(fail_on):
        raise typer.Exit(1)


@contextmanager
def _executor(workers: int, scheduler: str) -> Iterator[Executor | None]:
    """Where files are read: here, in processes of this machine, or on a Dask cluster. Raises OnnxscaleError."""
    if scheduler:
        try:
            distributed: Any = import_module("distributed")  # typed in some of its versions only
        except ImportError:
            raise OnnxscaleError("--scheduler needs Dask: pip install 'onnxscale[dask]'") from None
        try:
            client = distributed.Client(scheduler, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise OnnxscaleError(f"--scheduler {scheduler}: cannot be reached ({str(error)[:200]})") from None
        with client:
            yield client.get_executor(retries=5)
    elif workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            yield pool
    else:
        yield None
