"""`minicnn data`: to look at images, to check them, to pack them into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Look at images, check them, pack them into one file.", no_args_is_help=True)

Images = Annotated[
    Path,
    typer.Argument(help="Folder with one sub-folder a class, or with train/ and val/; HDF5 image set; or CSV file."),
]
Part = Annotated[str | None, typer.Option(help="One part only, for instance train.", show_default="all")]


@app.command()
def check(
    images: Images,
    part: Part = None,
    near: Annotated[bool, typer.Option("--near/--no-near", help="Look for near-duplicates too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report sizes, balance, duplicates, leaks between parts, broken files, mean and deviation.

    Exit status 1 where a file is broken, or images of one part stand in another.

    \b
    Examples:
      minicnn data check photos/
      minicnn data check photos/ --json
    """
    from minicnn.cli.printing import print_json
    from minicnn.data.inspection import inspect

    found = inspect(_parts(images, part), near)
    if as_json:
        print_json(found.as_dict())
    else:
        print(found)
    if not found.is_sound:
        raise typer.Exit(1)


@app.command()
def show(
    images: Images,
    part: Annotated[str | None, typer.Option(help="Which part.", show_default="the first")] = None,
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("sheet.png"),
    augment: Annotated[
        str, typer.Option(help="What to show beside each image: photographs, small or none.")
    ] = "photographs",
    count: Annotated[int, typer.Option(help="Images.")] = 8,
    versions: Annotated[int, typer.Option(help="Versions of each after augmentation.")] = 5,
    size: Annotated[int, typer.Option(help="Side of a picture on the sheet.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the choice and of the augmentation.")] = 0,
) -> None:
    """Draw a contact sheet with the names of the classes, before and after augmentation.

    \b
    Examples:
      minicnn data show photos/
      minicnn data show photos/ --augment none --count 64 --out sheet.png
    """
    import io

    from minicnn.data import open_part, part_names
    from minicnn.data.contact_sheet import augmentation, contact_sheet
    from minicnn.files import write_atomically

    transform = augmentation(augment, size)
    dataset = open_part(images, part_names(images)[0] if part is None else part)
    sheet = contact_sheet(dataset, transform, images=count, versions=versions, size=size, seed=seed)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(out, buffer.getvalue())
    print(out)


@app.command()
def pack(
    images: Images,
    file: Annotated[Path, typer.Argument(help="HDF5 file to write.")],
    part: Part = None,
    size: Annotated[
        int | None, typer.Option(help="Shrink images to this short side.", show_default="files stay as they are")
    ] = None,
    quality: Annotated[int, typer.Option(help="1 to 100, of the JPEG files that shrinking makes.")] = 95,
    layout: Annotated[str, typer.Option(help="files, or pixels (of images of one size).")] = "files",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
) -> None:
    """Pack images into one HDF5 file, which opens faster than many small files; `minicnn finetune` takes it.

    \b
    Examples:
      minicnn data pack photos/ photos.h5
      minicnn data pack photos/ photos-64.h5 --size 64
    """
    import sys

    from minicnn.data import write_image_set
    from minicnn.data.opening import skipped

    parts = _parts(images, part, skip_bad)
    write_image_set(file, parts, size=size, quality=quality, layout=layout)
    for name, dataset in parts.items():
        print(f"{name or 'images'}: {len(dataset):,} images, {len(dataset.classes)} classes")
        left_out = skipped(dataset)
        if left_out:
            print(f"{len(left_out):,} images left out; the first: {left_out[0][1]}", file=sys.stderr)
    print(f"{file}: {file.stat().st_size:,} bytes")


def _parts(images: Path, part: str | None, skip_bad: bool = False) -> dict[str, Any]:
    from minicnn.data import open_part, part_names

    names = part_names(images) if part is None else [part]
    return {name: open_part(images, name, skip_bad=skip_bad) for name in names}
