"""onnxscale diff, onnxscale lock."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from onnxscale.cli import options as o
from onnxscale.cli import progress
from onnxscale.errors import LockError, VerificationError

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


def lock(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models, statistics files and folders of models; by default what the lock names, else the folder."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say what moved since the lock was written.")
    ] = False,
    frozen: Annotated[
        bool,
        typer.Option("--frozen", help="As --check, for CI: the lock itself must be as it would be written now, too."),
    ] = False,
    file: Annotated[Path, typer.Option("--lock", help="The lock file.", metavar="FILE")] = Path("onnxscale.lock"),
    sign: Annotated[
        Path | None,
        typer.Option("--sign", help="Sign the lock with this private key (PEM, elliptic curve).", metavar="KEY"),
    ] = None,
    verify_key: Annotated[
        Path | None,
        typer.Option(
            "--verify-key", help="With --check: the lock's signature must hold for this public key.", metavar="KEY"
        ),
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Write onnxscale.lock: the hash and the normalization of every model; or check it. Exit 1 where something moved.

    Examples:

      onnxscale lock models stats.json

      onnxscale lock --frozen --verify-key release.pub
    """
    from onnxscale import locking, moved, signing
    from onnxscale.reporting import locked
    from onnxscale.reporting.clean import clean

    given = paths or []
    if check or frozen:
        if sign is not None:
            raise LockError("--sign signs what is written; --check writes nothing")
        with progress.shown("hashing", "MB", scale=1 << 20) as tell:
            found = moved.check_lock(given, file, frozen=frozen, key=verify_key, tell=tell)
        print(json.dumps(locked.plain(found)) if as_json else locked.text(found, str(file)))
        if not found.holds:
            raise typer.Exit(VerificationError.code)
        return
    if verify_key is not None:
        raise LockError("--verify-key belongs to --check")
    if sign is not None:
        signing.signer(sign)  # a wrong key is told before anything is written
    with progress.shown("hashing", "MB", scale=1 << 20) as tell:
        made = locking.lock(given, file, force=force, tell=tell)
    signature = None if sign is None else signing.sign(file, sign)
    print(json.dumps(locked.made(made, file, signature)) if as_json else locked.written(made, str(file), signature))
    if signature is None and signing.beside(file).exists():
        print(f"warning: {clean(signing.beside(file))} signs an earlier lock; sign again with --sign", file=sys.stderr)
