"""`minicnn weights`: files of other libraries imported, and what a weights file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from minicnn.cli import weights_download, weights_verify

app = typer.Typer(
    name="weights",
    help="Import, download, look at and verify weights.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LONGEST_LIST = 2**20  # bytes of a file with names of classes

app.command()(weights_verify.verify)
app.command()(weights_download.download)


@app.command("import")
def import_(
    src: Annotated[Path, typer.Argument(help="PyTorch .pth/.pt, .safetensors, .npz, Keras or plain .h5, .onnx.")],
    dst: Annotated[Path, typer.Argument(help="The weights file to write (.h5).")],
    arch: Annotated[
        str | None, typer.Option(help="Architecture: resnet18, vgg16, ...", show_default="as the names in the file")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file with the names of the classes, one a line.")] = None,
    num_classes: Annotated[
        int | None, typer.Option(help="For a file without a head: classes of the new one.", min=1, max=65_536)
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Height and width of the images.", show_default="224", min=1, max=4_096)
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Where a file holds several networks: the beginning of one's names (model_ema.).")
    ] = None,
    bn_epsilon: Annotated[
        float | None,
        typer.Option(
            help="Epsilon of the batch normalisations of a Keras file (Keras: 1e-3).", show_default="by its names"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Make a weights file of minicnn from one of another library; the report says what became of each name.

    The format is known by the file's content. Nothing is written unless everything fits.

    \b
    Examples:
      minicnn weights import resnet18-f37072fd.pth resnet18.h5
      minicnn weights import model.safetensors flowers.h5 --arch resnet50 --classes flowers.txt
    """
    from minicnn.cli.printing import print_json
    from minicnn.errors import printable
    from minicnn.models.importing import import_weights

    names = None if classes is None else read_names(classes)
    report = import_weights(
        src,
        dst,
        arch,
        num_classes,
        classes=names,
        input_size=input_size,
        prefix=prefix,
        bn_epsilon=bn_epsilon,
        progress=None,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        print(printable(str(report)))


@app.command()
def info(
    file: Annotated[str, typer.Argument(help="Weights file of any known format, or name of embedded weights.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a weights file holds: format, tensors, classes, preparation of images, state of its checksum.

    \b
    Examples:
      minicnn weights info resnet18.pth
      minicnn weights info resnet18-fashion-mnist-32 --json
    """
    from minicnn.cli.printing import print_json
    from minicnn.errors import printable
    from minicnn.models.recognising import is_home
    from minicnn.weights.embedded import find

    path = find(file)
    found = _home(path) if is_home(path) else _foreign(path)
    if as_json:
        print_json(found)
        return
    tensors = found.pop("tensors")
    for word, value in found.items():
        if value not in ("", None, [], {}):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            print(f"{word:<14}{printable(text)}")
    width = max(len(tensor["name"]) for tensor in tensors)
    print(f"{'tensors':<14}{len(tensors)}, {sum(tensor['values'] for tensor in tensors):,} values")
    for tensor in tensors:
        print(f"  {tensor['name']:<{width}}  {tensor['dtype']:<8}  {tuple(tensor['shape'])}")


def _home(path: Path) -> dict[str, Any]:
    """A weights file of minicnn; all of it is read, for the checksum."""
    from dataclasses import asdict

    from minicnn import weights

    state, found = weights.read(path)
    fields = {name: value for name, value in asdict(found).items() if name != "log"}
    return {
        "file": str(path),
        "format": "minicnn weights (HDF5)",
        "checksum": "SHA-256 of everything, and Fletcher-32 of each chunk: right",
        **fields,
        "transforms": " ".join(repr(found.transforms()).split()),
        "tensors": _tensors(dict(sorted(state.items()))),
    }


def _foreign(path: Path) -> dict[str, Any]:
    """A file of another library."""
    from minicnn.errors import WeightsError
    from minicnn.models.recognising import recognised
    from minicnn.weights.importers import read_foreign
    from minicnn.weights.importing import classes_of

    foreign = read_foreign(path)
    try:
        architecture = recognised(foreign, str(path))
    except WeightsError:
        architecture = ""
    head = list(foreign.arrays.values())[-1].shape
    other = "-minicnn" if path.suffix == ".h5" else ""  # not the name that it has
    return {
        "file": str(path),
        "format": foreign.format,
        "checksum": f"{foreign.checksum}: right" if foreign.checksum else "none in this format",
        "architecture": architecture or "not recognised by its names",
        "classes": classes_of(foreign.values, head[0]) if head else [],
        "says": {name: value for name, value in list(foreign.values.items())[:20] if not isinstance(value, list)},
        "notes": foreign.notes,
        "hint": f"minicnn weights import {path.name} {path.stem}{other}.h5",
        "tensors": _tensors(foreign.arrays),
    }


def _tensors(arrays: dict[str, Any]) -> list[dict[str, Any]]:
    from minicnn.weights.importers import dtype_name

    return [
        {"name": name, "dtype": dtype_name(array.dtype), "shape": list(array.shape), "values": int(array.size)}
        for name, array in arrays.items()
    ]


def read_names(path: Path) -> list[str]:
    """Names of classes, one a line."""
    from minicnn.errors import ArgumentError

    with open(path, "rb") as file:
        content = file.read(LONGEST_LIST + 1)
    try:
        names = [line.strip() for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        names = []
    if not names or len(content) > LONGEST_LIST:
        raise ArgumentError(
            "not a list of classes", called=str(path), rule=f"UTF-8, one name a line, at most {LONGEST_LIST:,} bytes"
        )
    return names
