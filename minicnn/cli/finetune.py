"""`minicnn finetune`: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def finetune(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with one sub-folder a class, or with train/ and val/; an HDF5 image set; or a CSV file.",
            show_default="digits",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights file, or name of embedded weights.", show_default="those for such images"),
    ] = None,
    freeze: Annotated[str, typer.Option(help="What stays: none, backbone, or until=NAME (until=layer3).")] = "none",
    epochs: Annotated[int, typer.Option(help="Times through the training images.")] = 15,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 32,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="each way has its own")] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the initial values and the order.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="a new one in runs/")] = None,
    compare: Annotated[
        bool | None,
        typer.Option(
            "--compare/--no-compare",
            help="Train from scratch and on frozen features too.",
            show_default="for the digits",
        ),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Images of each class to train on.", show_default="all; 20 digits")
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Height and width of the images.", show_default="those of the weights")
    ] = None,
    augment: Annotated[
        bool | None,
        typer.Option("--augment/--no-augment", help="Vary images at random.", show_default="photographs"),
    ] = None,
    head_first: Annotated[
        bool | None,
        typer.Option(
            "--head-first/--no-head-first", help="The new head learns alone, then all.", show_default="photographs"
        ),
    ] = None,
    rates_by_depth: Annotated[
        float | None,
        typer.Option(
            help="Rate of each stage over that of the one above it: 0.5.", show_default="photographs 0.3, else 1"
        ),
    ] = None,
    unfreeze: Annotated[str, typer.Option(help="at once, or gradually: from the head down.")] = "at once",
    freeze_bn: Annotated[
        str | None,
        typer.Option(
            help="What of batch norm stays: none, statistics, parameters or all.",
            show_default="photographs statistics, else none",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    checkpoint_every: Annotated[
        str, typer.Option(help="Steps (200) or minutes (5min) between checkpoints within an epoch.")
    ] = "5min",
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Leave the checkpoints when the run is finished.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a run that was interrupted: go on with its settings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fine-tune a pretrained network on your images.

    Without DATA: on 20 digits of each class, three ways, to see what pretraining is worth.

    A run that was interrupted, by Ctrl-C or anything else, goes on with --resume and comes to the same bits. Beside it
    stand only DATA and --weights, if they were moved, --device, and the options of checkpoints.

    \b
    Examples:
      minicnn finetune
      minicnn finetune photos/ --epochs 10 --out runs/photos
      minicnn finetune photos/ --freeze until=layer3 --compare
      minicnn finetune photos/ --rates-by-depth 0.5 --unfreeze gradually --freeze-bn statistics
      minicnn finetune --resume runs/photos
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.training import resuming
    from minicnn.training.finetune import Settings
    from minicnn.training.finetune import finetune as run

    def announce(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if resume is not None:
        _check_options(context)
        with compiling_shown(in_lines=False):
            result = resuming.resume(
                resume,
                data=data,
                weights=weights,
                device=device if _is_given(context, "device") else None,
                checkpoint_every=checkpoint_every if _is_given(context, "checkpoint_every") else None,
                keep_checkpoints=keep_checkpoints or None,
                announce=announce,
            )
    else:
        settings = Settings(
            data=data,
            weights=weights,
            freeze=freeze,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            out=out,
            compare=compare,
            per_class=per_class,
            input_size=input_size,
            augment=augment,
            head_first=head_first,
            rates_by_depth=rates_by_depth,
            unfreeze=unfreeze,
            freeze_bn=freeze_bn,
            device=device,
            skip_bad=skip_bad,
            checkpoint_every=checkpoint_every,
            keep_checkpoints=keep_checkpoints,
        )
        with compiling_shown(in_lines=False):
            result = run(settings, announce=announce)
    if as_json:
        print_json(result.as_dict())
    else:
        print(f"\n{result}")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check_options(context: typer.Context) -> None:
    """Raise for an option that a run cannot change on its way."""
    from minicnn.errors import ArgumentError

    free = ("resume", "data", "weights", "device", "checkpoint_every", "keep_checkpoints", "as_json")
    for name in context.params:
        if name not in free and _is_given(context, name):
            raise ArgumentError(
                f"--{name.replace('_', '-')} cannot change",
                called="finetune --resume",
                rule="a run goes on with its own settings",
                hint="start another run for other settings",
            )
