"""`minicnn graph`: the tape of a network as a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def graph(
    model: Annotated[
        str,
        typer.Argument(help="Weights file, embedded weights' name, or an architecture (random weights from seed 0)."),
    ],
    image: Annotated[Path | None, typer.Argument(help="Image file.", show_default="a handwritten digit")] = None,
    out: Annotated[Path | None, typer.Option(help="SVG file to write.", show_default="stdout")] = None,
    backward: Annotated[bool, typer.Option("--backward", help="Go back as well, and draw gradients' norms.")] = False,
    label: Annotated[
        str | None,
        typer.Option(help="Class for the loss: its name or number.", show_default="the network's own answer"),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Height and width of the image.", min=1, max=1024)] = None,
    width: Annotated[int | None, typer.Option(help="Of an architecture: channels.", min=1, max=4096)] = None,
) -> None:
    """Draw a network's operations, with shapes and parameters, and after a backward pass the norms of the gradients.

    \b
    Examples:
      minicnn graph resnet18 --out resnet18.svg
      minicnn graph runs/photos/model.h5 bee.jpg --backward --out gradients.svg
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.files import write_atomically
    from minicnn.study.explain import recorded
    from minicnn.study.graph import draw
    from minicnn.study.recording import record
    from minicnn.study.subject import load_subject

    with compiling_shown():
        subject = load_subject(model, image, label=label, size=size, width=width)
        run = recorded if backward else record  # an autoencoder has a loss of its own
        recording = run(subject.model, subject.images, subject.labels if backward else None)
    about = subject.description if backward else subject.description.partition("; loss")[0]
    svg = draw(recording, Path(model).name, about)
    if out is None:
        print(svg, end="")
    else:
        write_atomically(out, svg)
        print(f"{out}: {len(recording.steps)} operations")
