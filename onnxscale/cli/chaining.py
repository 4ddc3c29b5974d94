"""onnxscale chain check, fix, merge, show."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from onnxscale.cli import options as o

app = typer.Typer(
    name="chain", help="Chains of models and services: what each gives must be what the next takes.", no_args_is_help=True,
    rich_markup_mode=None, add_completion=False,
)  # fmt: skip
File = Annotated[str, typer.Argument(help="The chain, a YAML file (onnxscale schema chain).", metavar="CHAIN")]
_EXITS = {"holds": 0, "differs": 1, "unknown": 2}


@app.command()
def check(chain: File, as_json: o.Json = False) -> None:
    """Compare both ends of every edge. Exit 0 all hold, 1 one differs, 2 it cannot be told.

    Example:

      onnxscale chain check chain.yaml
    """
    from onnxscale import chaining
    from onnxscale.reporting import chains

    report = chaining.check(chaining.read(chain))
    print(json.dumps(chains.plain(report)) if as_json else chains.text(report))
    raise typer.Exit(_EXITS[report.verdict])


@app.command()
def fix(
    chain: File,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the model with the adapter inside.")],
    into: Annotated[str, typer.Option("--into", help="The stage whose model gets it.", metavar="STAGE")] = "",
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Write the adapter that an edge needs into a model: the inverse of what comes and the scaler of what is taken, as one.

    Example:

      onnxscale chain fix chain.yaml --into b -o b.fixed.onnx
    """
    from onnxscale import chaining
    from onnxscale.cli.baking import refuse
    from onnxscale.reporting import plain, text
    from onnxscale.reporting.clean import clean

    baked, edges = chaining.fix(chaining.read(chain), into)
    if not as_json:
        print(text.plan(baked.plan), flush=True)
    baked.check_output(out, force=force)
    baked = baked.verify()
    assert baked.comparison is not None
    if not as_json:
        print(text.comparison(baked.comparison), flush=True)
    if not baked.comparison.verified:
        refuse(baked.comparison.verdict, baked.comparison.reason)
    baked.save(out, force=force)
    fixed = [e.edge.prose() for e in edges]
    if as_json:
        print(json.dumps({**plain.baked(baked, str(out)), "edges": fixed}))
    else:
        print(f"wrote {clean(out)}: put it into the chain for {clean(', '.join(fixed))}")


@app.command()
def merge(
    chain: File,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the one model.")],
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Write without running the models.")] = False,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Make one ONNX file of a chain, proved against its stages run one after the other.

    Example:

      onnxscale chain merge chain.yaml -o chain.onnx
    """
    from onnxscale import chaining, saving
    from onnxscale.chaining import merging
    from onnxscale.reporting import chains
    from onnxscale.reporting.clean import clean

    merged = chaining.merge(chaining.read(chain))
    saving.check(out, replace=force)
    for note in merged.notes:
        print(f"warning: {clean(note)}", file=sys.stderr)
    if not no_verify:
        merged = merged.verify()
        merging.refuse(merged)
    path = merged.save(out, force=force)
    print(
        json.dumps(chains.merged(merged, str(out))) if as_json else chains.merged_text(merged, out, path.stat().st_size)
    )


@app.command()
def show(
    chain: File,
    form: Annotated[str, typer.Option("--format", help="text, mermaid or svg.")] = "text",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A file instead of stdout.")] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Draw a chain.

    Example:

      onnxscale chain show chain.yaml --format svg -o chain.svg
    """
    from onnxscale import chaining, saving
    from onnxscale.reporting import chains
    from onnxscale.reporting.clean import clean

    report = chaining.check(chaining.read(chain))
    picture = chaining.draw(report, form)
    if out is not None:
        content = (picture + "\n").encode()
        saving.place(out.absolute(), lambda target: saving.write(target, content), replace=force)
    elif not as_json:
        print("\n".join(map(clean, picture.split("\n"))))
    if as_json:
        print(json.dumps({**chains.plain(report), "picture": picture}))
