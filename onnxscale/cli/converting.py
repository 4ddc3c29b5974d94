"""onnxscale convert."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from onnxscale.cli import options as o


def convert(
    source: Annotated[str, typer.Argument(help="Statistics, in any format that bake takes.", metavar="IN")],
    out: Annotated[str, typer.Argument(help="Where to write, or - for the screen.", metavar="OUT")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="stats, npz, huggingface, openvino, deepstream, rknn or tflite; by default what OUT's name says.",
        ),
    ] = "",
    dialect: o.Dialect = "",
    kind: o.Kind = "",
    zero_std: o.ZeroStd = "",
    accept_defaults: o.AcceptDefaults = False,
    strict: o.Strict = False,
    pick: o.Pick = "",
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Translate statistics from any source into our own file, or into the settings of another runtime.

    Examples:

      onnxscale convert scaler.joblib stats.json

      onnxscale convert preprocessor_config.json - --to openvino
    """
    from onnxscale import targets
    from onnxscale.reporting.clean import clean
    from onnxscale.statistics import Reading

    reading = Reading(dialect, kind, zero_std, accept_defaults, strict, pick)
    chosen, data, found = targets.content(source, out, to, reading)
    fitted = [*found.inputs.values(), *found.outputs.values()]
    for warning in (w for f in fitted for w in f.warnings):
        print(f"warning: {clean(warning)}", file=sys.stderr)
    if out == "-":
        sys.stdout.buffer.write(data)
        return
    targets.save(data, out, source, force=force)
    said = "; ".join(f"{f.scaler.kind}, {f.transform().prose()}" for f in fitted)
    document = {
        "out": out,
        "format": chosen.format,
        "size": len(data),
        "warnings": [w for f in fitted for w in f.warnings],
    }
    print(json.dumps(document) if as_json else f"wrote {clean(out)} ({chosen.format}: {clean(said)})")
