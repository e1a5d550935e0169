"""`minicnn bench`: how fast are the algorithms of an operation on this machine?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

SIZES = re.compile(r"[0-9]{1,9}(x[0-9]{1,9}){0,7}")


def bench(
    operation: Annotated[
        str, typer.Argument(help="Any operation: `minicnn algorithms` lists them.", show_default="conv2d")
    ] = "conv2d",
    shape: Annotated[
        str | None, typer.Option(help="Shape of the input, as 8x64x56x56.", show_default="one for each operation")
    ] = None,
    kernel: Annotated[
        str | None, typer.Option(help="KxRxS of a convolution, RxS of a window, outputs J, PxQ or H of other layers.")
    ] = None,
    stride: Annotated[str | None, typer.Option(help="1, or 2x1.", show_default="one for each operation")] = None,
    padding: Annotated[str | None, typer.Option(help="1, or 1x0.", show_default="one for each operation")] = None,
    layer: Annotated[
        str | None, typer.Option(help="Instead of shapes: resnet18.conv1, vgg16.features.0, ...; `list` lists them.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images, with --layer.", min=1, max=1024)] = 8,
    pass_name: Annotated[
        str, typer.Option("--pass", help="forward, or one of the gradients: grad_input, grad_weight, ...")
    ] = "forward",
    begin: Annotated[str | None, typer.Option("--from", help="Compare this algorithm with ...")] = None,
    end: Annotated[str | None, typer.Option("--to", help="... this one.", show_default="the fastest")] = None,
    versus: Annotated[str | None, typer.Option(help="Measure a library too: torch.")] = None,
    float64: Annotated[bool, typer.Option("--float64", help="Numbers of 64 bits.")] = False,
    load: Annotated[
        Path | None, typer.Option(help="Run this Python file first: it may register algorithms of yours.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns that each algorithm has.", min=1, max=1000)] = 5,
    picture: Annotated[Path | None, typer.Option(help="Draw a roofline picture into this PNG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the algorithms of an operation.

    Every result is checked against the formula first. Rates count the operations of the direct formula, so an
    algorithm that saves operations may be above the peak. Algorithms that a file of yours registers (--load) stand in
    the same table. Every operation can be measured, and each of its passes.

    \b
    Examples:
      minicnn bench conv2d
      minicnn bench conv2d --shape 8x64x56x56 --kernel 64x3x3 --pass grad_weight --versus torch --picture roofline.png
      minicnn bench conv2d --layer resnet18.layer4.0.conv2 --from loops
      minicnn bench conv2d --load my_kernel.py
      minicnn bench lstm --shape 50x8x128 --kernel 256 --pass grad_steps
      minicnn bench softmax --versus torch
    """
    from minicnn.cli.printing import print_json
    from minicnn.study.layers import LAYERS

    if layer == "list":
        print("\n".join(LAYERS))
        return
    if versus is not None:  # before anything starts threads, and before minicnn changes OpenMP's settings for its own
        _load(versus)
    if load is not None:
        _run(load)
    _check_picture(picture)
    work = _work(operation, pass_name, float64, layer, batch, shape, kernel, stride, padding)
    if picture is not None and not work.intensity:
        _no_roofline(operation)
    result = _measure(work, begin, end, versus, rounds)
    if picture is not None:
        from minicnn.files import write_atomically
        from minicnn.study.roofline import roofline

        write_atomically(picture, roofline(result))
    if as_json:
        print_json(result.as_dict())
    else:
        print(result)
    if any(not row.ok for row in result.rows):
        raise typer.Exit(1)


def _load(versus: str) -> None:
    import importlib.util

    if versus == "torch" and importlib.util.find_spec("torch") is not None:
        import torch  # noqa: F401


def _run(file: Path) -> None:
    import runpy

    from minicnn.errors import ArgumentError

    if not file.is_file():
        raise ArgumentError("there is no such file", called="bench", seen=f"--load {file}")
    runpy.run_path(str(file))


def _measure(work: Any, begin: str | None, end: str | None, versus: str | None, rounds: int) -> Any:
    from tqdm import tqdm

    from minicnn.cli.compiling import compiling_shown
    from minicnn.study.bench import measure

    with compiling_shown(), tqdm(desc="measuring", disable=None, leave=False, delay=2) as bar:  # None: on a terminal

        def step(what: str, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(what, refresh=False)
            bar.update()

        return measure(work, begin=begin, end=end, versus=versus, rounds=rounds, progress=step)


def _work(
    operation: str,
    pass_name: str,
    float64: bool,
    layer: str | None,
    batch: int,
    shape: str | None,
    kernel: str | None,
    stride: str | None,
    padding: str | None,
) -> Any:
    from minicnn.cli.compiling import compiling_shown
    from minicnn.errors import ArgumentError
    from minicnn.study.layers import LAYERS
    from minicnn.study.work import layer_work, work_of

    dtype = "float64" if float64 else "float32"
    texts = {"shape": shape, "kernel": kernel, "stride": stride, "padding": padding}
    given: dict[str, Any] = {name: _sizes(name, text) for name, text in texts.items() if text is not None}
    if layer is not None:
        if layer not in LAYERS:
            raise ArgumentError("unknown layer", called="bench", seen=f"--layer {layer}", rule=", ".join(LAYERS))
        if given or operation != "conv2d":
            raise ArgumentError("--layer is a whole convolution", called="bench", hint="leave out shapes")
        with compiling_shown():
            return layer_work(LAYERS[layer], batch, pass_name, dtype)
    for name in ("stride", "padding"):
        if name in given:
            given[name] = given[name][0] if len(given[name]) == 1 else given[name]
    with compiling_shown():
        return work_of(operation, **given, pass_name=pass_name, dtype=dtype)


def _sizes(name: str, text: str) -> tuple[int, ...]:
    from minicnn.errors import ArgumentError

    if not SIZES.fullmatch(text):
        raise ArgumentError(
            f"not a {name}", called="bench", seen=f"--{name} {text}", rule="whole numbers with x between, as 8x64x56x56"
        )
    return tuple(map(int, text.split("x")))


def _check_picture(picture: Path | None) -> None:
    """Minutes of measuring should not end in a folder that is not there."""
    from minicnn.errors import ArgumentError

    if picture is not None and (not picture.absolute().parent.is_dir() or picture.suffix.lower() != ".png"):
        raise ArgumentError(
            "the picture cannot be written",
            called="bench",
            seen=str(picture),
            rule="a name.png in a folder that exists",
        )


def _no_roofline(operation: str) -> None:
    from minicnn.errors import ArgumentError

    raise ArgumentError(
        f"{operation} computes nothing, so it has no place under a roofline", called="bench", hint="leave out --picture"
    )
