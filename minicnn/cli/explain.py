"""`minicnn explain`: where one number of a network comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

INDEX = re.compile(r"\s*[0-9]{1,9}\s*(,\s*[0-9]{1,9}\s*)*")


def explain(
    model: Annotated[
        str,
        typer.Argument(help="Weights file, embedded weights' name, or an architecture (random weights from seed 0)."),
    ] = "resnet18-fashion-mnist-32",
    image: Annotated[Path | None, typer.Argument(help="Image file.", show_default="a handwritten digit")] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Path of a layer (--list shows them), loss, images, or a parameter's name.",
            show_default="the first convolution",
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Index, 3,10,12; without the image's.", show_default="the largest value's")
    ] = None,
    grad: Annotated[
        str | None, typer.Option(help="Explain a gradient: x, w, b, ... of this layer; y: at its output.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Class for the loss: its name or number.", show_default="the network's own answer"),
    ] = None,
    step: Annotated[int | None, typer.Option(help="Number of a step, where a layer runs several (--list).")] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="From a pixel (or --layer) to the loss, with each local gradient.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All terms, in the order of the formula.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the steps of the run instead.")] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Training mode: batch norm by this image alone.")
    ] = False,
    size: Annotated[int | None, typer.Option(help="Height and width of the image.", min=1, max=1024)] = None,
    width: Annotated[int | None, typer.Option(help="Of an architecture: channels.", min=1, max=4096)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain one number: its formula, its terms, their sum, and the engine's value, which it must equal.

    \b
    Examples:
      minicnn explain
      minicnn explain resnet18 bee.jpg --layer layer1.0.conv1 --at 3,10,12
      minicnn explain resnet18 bee.jpg --layer layer1.0.conv1 --at 3,10,12 --grad x --label 4
      minicnn explain --chain
    """
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.errors import ArgumentError, printable
    from minicnn.study.explain import explain_chain, explain_recording, recorded
    from minicnn.study.explain.explanation import FOLD
    from minicnn.study.subject import load_subject

    index = _index(at)
    if chain and (grad is not None or step is not None or every):
        raise ArgumentError(
            "--chain goes with --layer and --at alone", called="explain", hint="leave out --grad, --step and --all"
        )
    with compiling_shown():
        subject = load_subject(model, image, label=label, size=size, width=width)
        named = (*(name for name, _ in subject.model.named_parameters()), "images", "loss")
        backward = chain or grad is not None or layer in named
        run = recorded(subject.model.train(training), subject.images, subject.labels if backward else None)
        found: Any = None
        if chain:
            found = explain_chain(run, index, layer or "images")
        elif not listing:
            found = explain_recording(run, layer, index, grad, step=step)
    if listing:
        steps = [_row(s) for s in run.steps]
        if as_json:
            print_json({"about": subject.description, "steps": steps})
        else:
            print(printable(subject.description), *map(_line, steps), sep="\n")
    elif as_json:
        details = found.as_dict() if chain or every else found.as_dict(FOLD)
        print_json({"about": subject.description, **details})
    else:
        text = str(found) if chain or not every else found.unfold()
        print(printable(subject.description), "", text, sep="\n")


def _index(text: str | None) -> tuple[int, ...] | None:
    from minicnn.errors import ArgumentError

    if text is None:
        return None
    if not INDEX.fullmatch(text):
        raise ArgumentError("not an index", called="explain", seen=f"--at {text}", rule="whole numbers: 3,10,12")
    return tuple(int(part) for part in text.split(","))


def _row(step: Any) -> dict[str, Any]:
    inputs = {
        name: list(tensor.shape) for name, tensor in zip(step.names, step.inputs, strict=True) if tensor is not None
    }
    return {
        "step": step.number,
        "layer": step.layer,
        "operation": step.operation.name,
        "inputs": inputs,
        "output": list(step.output.shape),
    }


def _line(row: dict[str, Any]) -> str:
    inputs = ", ".join(f"{name} {tuple(shape)}" for name, shape in row["inputs"].items())
    return f"{row['step']:4}  {row['layer'] or '-':28} {row['operation']:20} {inputs} -> {tuple(row['output'])}"
