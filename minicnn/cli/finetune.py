"""`minicnn finetune`: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def finetune(
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder with one sub-folder a class, or with train/ and val/.", show_default="digits"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights file, or name of embedded weights.", show_default="embedded")
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
    per_class: Annotated[int, typer.Option(help="Digits of each class to train on.")] = 20,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fine-tune a pretrained network on your images.

    Without DATA: on 20 digits of each class, three ways, to see what pretraining is worth.

    \b
    Examples:
      minicnn finetune
      minicnn finetune photos/ --epochs 10 --out runs/photos
      minicnn finetune photos/ --freeze until=layer3 --compare
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.training.finetune import Settings
    from minicnn.training.finetune import finetune as run

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
        device=device,
    )
    with compiling_shown(in_lines=False):
        result = run(settings, announce=lambda line: print(line, file=sys.stderr, flush=True))
    if as_json:
        print_json(result.as_dict())
    else:
        print(f"\n{result}")
