"""The command line. Each command parses, calls one function of the package, prints and exits.

Exit codes: 0 fine, 1 the model is not what was claimed, 2 it could not be done. stdout is data, stderr is prose.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

import typer

from onnxscale.cli import (
    auditing,
    baking,
    chaining,
    checking,
    converting,
    expecting,
    fitting,
    governing,
    looking,
    summing,
    verifying,
)
from onnxscale.errors import OnnxscaleError

app = typer.Typer(
    name="onnxscale",
    help="Put the scaler inside the ONNX model, and prove that the answers are the training pipeline's.",
    epilog="Examples:  onnxscale bake model.onnx stats.json  |  onnxscale verify model.baked.onnx --against model.onnx stats.json",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(baking.bake)
app.command()(verifying.verify)
app.command()(verifying.selftest)
app.command()(looking.inspect)
app.command()(expecting.expect)
app.command()(baking.unbake)
app.command()(converting.convert)
app.command()(fitting.fit)
fitting.stats.command()(summing.guard)
app.add_typer(fitting.stats)
app.command()(checking.check)
app.command()(governing.diff)
app.command()(auditing.audit)
app.command()(governing.lock)
app.add_typer(chaining.app)
app.command()(looking.schema)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if show:
        from importlib import metadata

        print(f"onnxscale {metadata.version('onnxscale')}")
        raise typer.Exit


INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
USAGE: Any = typer.BadParameter.__mro__[2]  # click's ClickException, typer's own copy of it or the package's


def main() -> None:
    """Run the command line. Expected failures are one message and an exit code; a bug says that it is one."""
    from onnxscale.reporting.clean import clean

    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(standalone_mode=False)
    except OnnxscaleError as error:
        _failed(str(error), error.code)
        print(f"error: {clean(error)}", file=sys.stderr)
        sys.exit(error.code)
    except USAGE as error:
        _failed(error.format_message(), error.exit_code)
        error.show(file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort, Terminated) as stop:
        code = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("ONNXSCALE_DEBUG"):
            raise
        what = f"a bug in onnxscale: {type(error).__name__}: {str(error)[:500]}"
        _failed(what, 2)
        print(
            f"error: {clean(what)}. Nothing was written. Please report it, with the output of the same command under "
            f"ONNXSCALE_DEBUG=1",
            file=sys.stderr,
        )
        sys.exit(2)
    if code in (INTERRUPTED, TERMINATED):  # typer, too, makes the first of these of a KeyboardInterrupt
        print("interrupted; nothing was written", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


class Terminated(BaseException):
    """SIGTERM, which ends a command as Ctrl-C does: with everything cleaned up."""


def _terminated(number: int, frame: object) -> NoReturn:
    del number, frame
    raise Terminated


def _failed(message: str, code: int) -> None:
    if "--json" in sys.argv:
        import json

        print(json.dumps({"error": message, "exit": code}))
