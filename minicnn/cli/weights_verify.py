"""`minicnn weights verify`: is a weights file whole, and does it hold what its source held?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    file: Annotated[str, typer.Argument(help="Weights file of minicnn, or name of embedded weights.")],
    against: Annotated[
        Path | None, typer.Option(help="The file it was imported from: compare every value, to the bit.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="As it was given to `import`.")] = None,
    bn_epsilon: Annotated[float | None, typer.Option(help="As it was given to `import`.")] = None,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Run the source in its own framework too, and compare the results.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a weights file: structure, checksums, names and shapes of its network, finite values.

    \b
    Examples:
      minicnn weights verify resnet18.h5
      minicnn weights verify resnet18.h5 --against resnet18-f37072fd.pth
      minicnn weights verify model.h5 --against model.onnx --outputs
    """
    from minicnn import weights
    from minicnn.cli.printing import print_json
    from minicnn.models.verifying import verify_weights

    found = verify_weights(weights.find(file), against, prefix=prefix, bn_epsilon=bn_epsilon, outputs=outputs)
    if as_json:
        print_json(found.as_dict())
    else:
        print(found)
