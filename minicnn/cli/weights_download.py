"""`minicnn weights download`: torchvision's published weights, as a weights file of minicnn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def download(
    name: Annotated[str, typer.Argument(help="resnet18, resnet34, resnet50, vgg11, vgg16, alexnet, inception_v3, ...")],
    out: Annotated[
        Path | None, typer.Option(help="Weights file to write.", show_default="NAME.h5 in the cache folder")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="A mirror; its files must have the same SHA-256.", show_default="torchvision's"),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a server that says nothing.", min=0.1)] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download torchvision's pretrained weights and import them. An interrupted download goes on where it stopped.

    \b
    Examples:
      minicnn weights download resnet18
      minicnn weights download resnet18 --out resnet18.h5
    """
    from minicnn.cli.printing import print_json
    from minicnn.models.downloading import download_weights
    from minicnn.weights.published import ADDRESS

    path, report = download_weights(name, out, address=address or ADDRESS, timeout=timeout)
    if as_json:
        print_json({"path": str(path), "report": report.as_dict() if report else None})
        return
    if report:
        print(report)
    print(path)
