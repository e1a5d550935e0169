"""`minicnn predict`: what a network sees in an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[str, typer.Argument(help="Weights file (model.h5 of a run), or name of embedded weights.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    top: Annotated[int, typer.Option(help="Classes to print for each image.", min=1)] = 5,
    device: Annotated[str, typer.Option(help="Where to run: cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the most probable classes of images.

    \b
    Examples:
      minicnn predict runs/photos/model.h5 bee.jpg
      minicnn predict runs/photos/model.h5 *.jpg --top 1 --json
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.errors import printable
    from minicnn.training.predict import predict_images

    with compiling_shown():
        answers = predict_images(model, images, top, device)
    if as_json:
        print_json({str(path): answer for path, answer in zip(images, answers, strict=True)})
        return
    for path, answer in zip(images, answers, strict=True):
        print(printable(str(path)))
        for name, probability in answer:
            print(f"  {probability:7.2%}  {printable(name)}")
