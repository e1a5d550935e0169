"""`minicnn finetune`: the main job."""

from __future__ import annotations

import json
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
    epochs: Annotated[int | None, typer.Option(help="Times through the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="by the way that is gone")] = None,
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
    per_class: Annotated[int | None, typer.Option(help="Digits of each class to train on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fine-tune a pretrained network: on your photographs, or on 200 digits to see what pretraining is worth.

    Examples:  minicnn finetune     minicnn finetune photos/ --epochs 10 --out runs/photos
    """
    from minicnn.training.finetune import Settings
    from minicnn.training.finetune import finetune as run

    given = {"epochs": epochs, "batch_size": batch_size, "per_class": per_class}
    settings = Settings(
        data=data,
        weights=weights,
        freeze=freeze,
        lr=lr,
        seed=seed,
        out=out,
        compare=compare,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    result = run(settings, announce=lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True))
    print(json.dumps(result.as_dict()) if as_json else f"\n{result}")
