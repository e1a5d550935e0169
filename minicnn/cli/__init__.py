"""Floor 8: the command line. Each command parses, calls, and prints; what it calls is imported when it runs.

An error is one line on stderr and exit status 2; `--debug`, anywhere, shows the traceback instead. Results go to
stdout, so that `--json` can be read by a program; everything else goes to stderr then.
"""

from __future__ import annotations

import os
import sys

import typer

from minicnn.cli import algorithms, doctor, finetune, gradcheck, predict, summary
from minicnn.errors import MinicnnError

app = typer.Typer(
    name="minicnn",
    help="Convolutional networks from the printed formula to the speed of the machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(finetune.finetune)
app.command()(predict.predict)
app.command()(summary.summary)
app.command()(gradcheck.gradcheck)
app.command()(algorithms.algorithms)
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        import minicnn

        print(f"minicnn {minicnn.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Options of all commands; `main` has taken --debug out already."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    try:
        app(args=[word for word in words if word != "--debug"], prog_name="minicnn")
    except BrokenPipeError:  # the reader of our output went away: nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (MinicnnError, OSError) as error:
        if debug:
            raise
        print(f"minicnn: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
