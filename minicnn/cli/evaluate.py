"""`minicnn evaluate`: how good a network is on images, and where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[str, typer.Argument(help="Weights file (model.h5 of a run), or name of embedded weights.")],
    data: Annotated[
        Path, typer.Argument(help="Folder with one sub-folder a class, or with val/; HDF5 image set; or CSV file.")
    ],
    report: Annotated[Path | None, typer.Option(help="Folder for report.html and metrics.json.")] = None,
    part: Annotated[str | None, typer.Option(help="Which part.", show_default="val, test, or all images")] = None,
    maps: Annotated[bool, typer.Option("--maps", help="Show in the report where the network looked.")] = False,
    mistakes: Annotated[int, typer.Option(help="Worst mistakes to show.", min=0, max=500)] = 24,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    device: Annotated[str, typer.Option(help="Where to run: cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge a network: accuracy, classes, confusions, calibration, and its worst mistakes.

    \b
    Examples:
      minicnn evaluate runs/photos/model.h5 photos/
      minicnn evaluate runs/photos/model.h5 photos/ --report report --maps
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.errors import ArgumentError, printable
    from minicnn.training.judging import judge
    from minicnn.training.judging_report import open_report, write_report

    if report is None and maps:
        raise ArgumentError("--maps needs a report", called="evaluate", hint="add --report DIR")
    if report is not None:
        open_report(report)
    with compiling_shown():
        judgement = judge(model, data, part=part, device=device, skip_bad=skip_bad, mistakes=mistakes)
        page = write_report(judgement, report, maps) if report is not None else None
    if as_json:
        print_json(judgement.as_dict() | ({} if page is None else {"report": str(page)}))
        return
    print(judgement)
    if page is not None:
        print(f"report: {printable(str(page))}")
