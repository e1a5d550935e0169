"""Floor 8: the command line. Each command parses, calls, and prints; what it calls is imported when it runs.

Results go to stdout, everything else to stderr, so that a program can read `--json`. An error is one line and exit
status 2; `--debug`, before or after the command, shows its traceback too. Ctrl-C is one line and status 130.
"""

from __future__ import annotations

import os
import sys
import traceback

import typer

from minicnn.cli import (
    algorithms,
    bench,
    crossval,
    data,
    doctor,
    emulate,
    evaluate,
    explain,
    explore,
    finetune,
    gradcheck,
    graph,
    predict,
    summary,
    warmup,
    weights,
)
from minicnn.errors import MinicnnError

INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended

app = typer.Typer(
    name="minicnn",
    help="Convolutional networks from the printed formula to the speed of the machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(finetune.finetune)
app.command()(crossval.crossval)
app.command()(predict.predict)
app.command()(evaluate.evaluate)
app.command()(summary.summary)
app.command()(explain.explain)
app.command()(explore.explore)
app.command()(graph.graph)
app.command()(gradcheck.gradcheck)
app.add_typer(data.app, name="data")
app.command()(algorithms.algorithms)
app.command()(bench.bench)
app.command()(doctor.doctor)
app.command()(warmup.warmup)
app.add_typer(weights.app)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(emulate.emulate)


def _version(wanted: bool) -> None:
    if wanted:
        import minicnn

        print(f"minicnn {minicnn.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error, with any command."),
) -> None:
    """Options of all commands; `main` has taken --debug out already. Without a command: the help."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            app(args=[word for word in words if word != "--debug"], prog_name="minicnn")
        finally:
            _flush()
    except BrokenPipeError:  # the reader of our output went away: nothing is left to say to it
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        print("minicnn: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (MinicnnError, OSError, MemoryError) as error:
        if "--debug" in words:
            traceback.print_exc()
        print(f"minicnn: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


def _flush() -> None:
    """Write what was printed now: at the interpreter's end, nobody could say any more that it cannot be written."""
    if sys.stdout is None:  # closed by the shell
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it goes nowhere
        raise


def _one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, MemoryError):
        text = f"not enough memory: {text}"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split()) or type(error).__name__
