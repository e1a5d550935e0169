"""`minicnn emulate`: any command on a GPU that is emulated on the CPU."""

from __future__ import annotations

from typing import Annotated

import typer


def emulate(
    context: typer.Context,
    schedule: Annotated[int, typer.Option(help="Order of the threads: 0 ascending, 1 descending, or a seed.")] = 0,
) -> None:
    """Run a command with a GPU that is emulated on the CPU: slow, but no GPU is needed.

    It runs the same CUDA kernels through the same launches, and needs g++. Kernels that break a rule of the GPU are
    errors that name the line of the .cu file.

    \b
    Examples:
      minicnn emulate gradcheck --device cuda --operation conv2d
      minicnn emulate finetune --device cuda --per-class 2 --epochs 1
    """
    from minicnn.cli import app
    from minicnn.study.emulator import emulated

    if not context.args:
        print(context.get_help())
        return
    with emulated(schedule=schedule):
        status = app(args=context.args, prog_name="minicnn", standalone_mode=False)
    if status:  # what the command ended with
        raise typer.Exit(status)
