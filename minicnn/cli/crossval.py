"""`minicnn crossval`: a whole fine-tuning, cross-validated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def crossval(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder, HDF5 image set or CSV file, as for finetune.", show_default="digits"),
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts into which the images are divided.")] = 5,
    stratified: Annotated[
        bool, typer.Option("--stratified/--plain", help="Each fold gets its share of each class, or what comes.")
    ] = True,
    processes: Annotated[int, typer.Option(help="Folds at a time, each a process with its share of threads.")] = 1,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights file, or name of embedded weights.", show_default="those for such images"),
    ] = None,
    freeze: Annotated[str, typer.Option(help="What stays: none, backbone, or until=NAME (until=layer3).")] = "none",
    epochs: Annotated[int, typer.Option(help="Times through the training images.")] = 15,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 32,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="as for finetune")] = None,
    seed: Annotated[int, typer.Option(help="Of the folds, the initial values and the order.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.", show_default="a new one in runs/")] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Images of each class to train on in each fold.", show_default="all")
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
        typer.Option(help="Rate of each stage over that of the one above it.", show_default="as for finetune"),
    ] = None,
    unfreeze: Annotated[str, typer.Option(help="at once, or gradually: from the head down.")] = "at once",
    freeze_bn: Annotated[
        str | None,
        typer.Option(
            help="What of batch norm stays: none, statistics, parameters or all.", show_default="as for finetune"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a cross-validation that was interrupted: go on with it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Cross-validate a whole fine-tuning: each image is tested once, by a network that has not seen it.

    Prints accuracy and macro F1 of each fold, mean and deviation, and draws a picture. Of images in parts, train/ is
    divided, and val/ or test/ stays unseen.

    \b
    Examples:
      minicnn crossval photos/ --folds 5
      minicnn crossval photos/ --folds 10 --plain --processes 2 --out runs/ten
      minicnn crossval --resume runs/ten
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.errors import ArgumentError
    from minicnn.training.crossval import cross_validate, resume_cross_validation
    from minicnn.training.settings import Settings

    def announce(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with compiling_shown(in_lines=False):
        if resume is not None:
            for name in context.params:
                source = context.get_parameter_source(name)
                is_given = source is not None and source.name == "COMMANDLINE"
                if is_given and name not in ("resume", "processes", "as_json"):
                    raise ArgumentError(
                        f"{'DATA' if name == 'data' else '--' + name.replace('_', '-')} cannot change",
                        called="crossval --resume",
                        rule="a cross-validation goes on with its own settings",
                    )
            result = resume_cross_validation(resume, processes=processes, announce=announce)
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
                per_class=per_class,
                input_size=input_size,
                augment=augment,
                head_first=head_first,
                rates_by_depth=rates_by_depth,
                unfreeze=unfreeze,
                freeze_bn=freeze_bn,
                device=device,
                skip_bad=skip_bad,
            )
            result = cross_validate(settings, folds, stratified=stratified, processes=processes, announce=announce)
    if as_json:
        print_json(result.as_dict())
    else:
        print(f"\n{result}")
