"""`minicnn summary`: a network as a table."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import asdict
from typing import Annotated

import typer

SHAPE = re.compile(r" *[1-9][0-9]{0,8} *(, *[1-9][0-9]{0,8} *){3}")
MOST_VALUES = 2**28  # of an input: 1 GiB in float32


def summary(
    model: Annotated[
        str, typer.Argument(help="Architecture (resnet18, vgg16, inception_v3, ...), weights file, or embedded name.")
    ] = "resnet18",
    input_shape: Annotated[
        str | None,
        typer.Option("--input", help="Shape of the input: N,C,H,W.", show_default="1,3,224,224 or the file's"),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.", min=1, max=1_000_000)] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the first stage.", min=1, max=4096)] = None,
    stem: Annotated[str | None, typer.Option(help="A ResNet's stem: imagenet or small.")] = None,
    channels: Annotated[int | None, typer.Option(help="Channels of the images.", min=1, max=4096)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print each layer's output shape, parameters and multiply-adds.

    \b
    Examples:
      minicnn summary resnet18
      minicnn summary resnet18 --width 16 --classes 10 --stem small --input 1,3,32,32
      minicnn summary runs/photos/model.h5
    """
    from minicnn import nn, weights
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.errors import ArgumentError
    from minicnn.models import MODELS

    given = {"num_classes": classes, "width": width, "stem": stem, "in_channels": channels}
    arguments = {name: value for name, value in given.items() if value is not None}
    if model in MODELS:
        size = {"cnn": 32, "inception_v3": 299, "vae": 28, "conv_vae": 28}.get(model, 224)
        depth = channels or (1 if size == 28 else 3)
        known = inspect.signature(MODELS[model]).parameters
        for name in arguments:
            if name not in known:
                raise ArgumentError(f"{model} has no {name}", called="summary", hint=f"leave out --{name}")
        network = MODELS[model](**arguments)
    elif arguments:
        raise ArgumentError(
            "--classes, --width, --stem and --channels go with the name of an architecture", called=f"summary {model}"
        )
    else:
        info = weights.describe(weights.find(model))
        if info.architecture not in MODELS:
            raise ArgumentError("unknown architecture", called=model, seen=info.architecture, rule=", ".join(MODELS))
        network, size = MODELS[info.architecture](weights=model), info.input_size
        depth = info.arguments.get("in_channels", 3)
    shape = _shape(input_shape) if input_shape else (1, depth, size, size)
    with compiling_shown():
        result = nn.summary(network, shape)
    if as_json:
        print_json({**asdict(result), "multiply_adds": result.multiply_adds})
    else:
        print(result)


def _shape(text: str) -> tuple[int, ...]:
    from minicnn.errors import ArgumentError

    if not SHAPE.fullmatch(text):
        raise ArgumentError("not a shape", called="summary", seen=f"--input {text}", rule="four whole numbers: N,C,H,W")
    shape = tuple(int(part) for part in text.split(","))
    if math.prod(shape) > MOST_VALUES:
        raise ArgumentError(
            "a shape too large", called="summary", seen=f"--input {text}", rule=f"at most {MOST_VALUES:,} values"
        )
    return shape
