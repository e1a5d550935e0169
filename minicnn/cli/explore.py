"""`minicnn explore`: a page on which one walks through a network, number by number."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def explore(
    model: Annotated[
        str,
        typer.Argument(help="Weights file, embedded weights' name, or an architecture (random weights from seed 0)."),
    ] = "resnet18-fashion-mnist-32",
    image: Annotated[Path | None, typer.Argument(help="Image file.", show_default="a handwritten digit")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained file instead of serving.")] = None,
    limit: Annotated[
        float, typer.Option(help="Largest size of that file in MB; what does not fit is left out.")
    ] = 16.0,
    layer: Annotated[
        list[str] | None, typer.Option(help="Only this layer and those below it into the file; several times for more.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Class for the loss: its name or number.", show_default="the network's own answer"),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Height and width of the image.", min=1, max=1024)] = None,
    width: Annotated[int | None, typer.Option(help="Of an architecture: channels.", min=1, max=4096)] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Training mode: batch norm by this image alone.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any that is free.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Walk through a network in a page: windows, products, sums, and all of it backwards.

    The page computes each sum itself and shows the engine's own number beside it. It is served to this machine only,
    until Ctrl-C. A file (--html) has the terms of recurrent layers, reductions and the like for some numbers only.

    \b
    Examples:
      minicnn explore
      minicnn explore runs/photos/model.h5 bee.jpg
      minicnn explore resnet18 --width 8 --size 32 --html resnet.html
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.study.explain import recorded
    from minicnn.study.page import Numbers, Server, check_limit, write_page
    from minicnn.study.subject import load_subject

    check_limit(limit)
    with compiling_shown():
        subject = load_subject(model, image, label=label, size=size, width=width)
        recording = recorded(subject.model.train(training), subject.images, subject.labels)
    about = subject.description + (" (in evaluation; here it runs in training mode)" if training else "")
    numbers = Numbers(recording, subject.classes, title=f"minicnn explore {Path(model).name}", about=about)
    if html is not None:
        written = write_page(html, numbers, limit=limit, layers=layer or ())
        print(f"{html}: {written.bytes / 1e6:.1f} MB, {written.held} of {written.steps} steps with their numbers")
        if written.held < written.steps and not layer:
            print(f"did not fit into {limit:g} MB (--limit): {written.steps - written.held}", file=sys.stderr)
        return
    server = Server(numbers, port)
    print(server.url, flush=True)
    print("serving this machine only; Ctrl-C ends", file=sys.stderr, flush=True)
    if browser:
        webbrowser.open(server.url)
    try:
        server.run()
    except KeyboardInterrupt:
        print("minicnn: explore ended", file=sys.stderr)
    finally:
        server.close()
