"""`minicnn summary`: a network as a table."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def summary(
    model: Annotated[
        str, typer.Argument(help="Architecture (resnet18, resnet34, cnn), weights file, or embedded name.")
    ] = "resnet18",
    input_shape: Annotated[
        str | None,
        typer.Option("--input", help="Shape of the input: N,C,H,W.", show_default="1,3,224,224 or the file's"),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.", min=1)] = None,
    width: Annotated[int | None, typer.Option(help="Channels of a ResNet's first stage.", min=1)] = None,
    stem: Annotated[str | None, typer.Option(help="A ResNet's stem: imagenet or small.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print each layer's output shape, parameters and multiply-adds.

    Examples:  minicnn summary resnet18     minicnn summary runs/photos/model.h5 --input 1,3,64,64
    """
    from minicnn import nn, weights
    from minicnn.errors import ArgumentError
    from minicnn.models import MODELS

    given = {"num_classes": classes, "width": width, "stem": stem}
    arguments = {name: value for name, value in given.items() if value is not None}
    if model in MODELS:
        size = 32 if model == "cnn" else 224
        if model == "cnn" and (width or stem):
            raise ArgumentError("a cnn has no width and no stem", called="summary", hint="leave out --width and --stem")
        network = MODELS[model](**arguments)
    elif arguments:
        raise ArgumentError(
            "--classes, --width and --stem go with the name of an architecture", called=f"summary {model}"
        )
    else:
        info = weights.describe(weights.find(model))
        if info.architecture not in MODELS:
            raise ArgumentError("unknown architecture", called=model, seen=info.architecture, rule=", ".join(MODELS))
        network, size = MODELS[info.architecture](weights=model), info.input_size
    result = nn.summary(network, _shape(input_shape) if input_shape else (1, 3, size, size))
    total = {"multiply_adds": result.multiply_adds}
    print(json.dumps({**asdict(result), **total}) if as_json else result)


def _shape(text: str) -> tuple[int, ...]:
    from minicnn.errors import ArgumentError

    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdigit() and int(part) >= 1 for part in parts):
        raise ArgumentError("not a shape", called="summary", seen=f"--input {text}", rule="four whole numbers: N,C,H,W")
    return tuple(int(part) for part in parts)
