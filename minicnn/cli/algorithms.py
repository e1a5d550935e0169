"""`minicnn algorithms`: the versions of each operation."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def algorithms(
    operation: Annotated[str | None, typer.Argument(help="Only this operation.", show_default="all")] = None,
    shape: Annotated[str | None, typer.Option(help="Images of a conv2d, NxCxHxW: which algorithm would run?")] = None,
    kernel: Annotated[str, typer.Option(help="Its kernels, KxRxS.")] = "64x3x3",
    stride: Annotated[int, typer.Option(help="Its stride.")] = 1,
    padding: Annotated[int, typer.Option(help="Its padding.")] = 1,
    device: Annotated[str, typer.Option(help="Where the arrays would be: cpu or cuda; no GPU is needed.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the algorithms of each operation, or say which one runs and why.

    The list begins with the preferred one. With --shape, each pass of conv2d is shown with the time that the cost model
    expects of each algorithm; the smallest runs. On a GPU the first that fits runs. `minicnn bench` measures.

    \b
    Examples:
      minicnn algorithms
      minicnn algorithms conv2d
      minicnn algorithms conv2d --shape 8x64x56x56 --kernel 64x3x3
      minicnn algorithms conv2d --shape 8x64x56x56 --device cuda
    """
    import minicnn.ops  # noqa: F401 (registers all operations)
    from minicnn.backends.arrays import device_name
    from minicnn.cli.printing import print_json
    from minicnn.ops.registry import OPERATIONS
    from minicnn.ops.registry import operation as find

    if shape is not None:
        explain(operation or "conv2d", shape, kernel, stride, padding, device_name(device), as_json)
        return
    chosen = sorted(OPERATIONS) if operation is None else [find(operation).name]
    if as_json:
        print_json({name: OPERATIONS[name].names() for name in chosen})
        return
    for name in chosen:
        print(f"{name:20} {', '.join(OPERATIONS[name].names())}")


def explain(operation: str, shape: str, kernel: str, stride: int, padding: int, device: str, as_json: bool) -> None:
    """For each pass, what each algorithm would cost, or the rule that keeps it out."""
    import numpy as np

    from minicnn.cli.printing import print_json
    from minicnn.errors import ArgumentError
    from minicnn.ops.conv2d import OPERATION, check_shapes
    from minicnn.ops.conv2d.cost import cost
    from minicnn.ops.registry import Problem

    if operation != "conv2d":
        raise ArgumentError("only conv2d has a cost model", called="algorithms", seen=operation, rule="conv2d")
    x_shape, (k, r, s) = numbers(shape, 4, "--shape"), numbers(kernel, 3, "--kernel")
    w_shape = (k, x_shape[1], r, s)
    options, y_shape = check_shapes(x_shape, w_shape, stride, padding, 1, 1)
    passes = {
        "forward": ((x_shape, w_shape, None), options),
        "grad_input": ((y_shape, w_shape), {"x_shape": x_shape, **options}),
        "grad_weight": ((y_shape, x_shape), {"w_shape": w_shape, **options}),
    }
    answer: dict[str, dict[str, Any]] = {}
    for pass_name, (shapes, given) in passes.items():
        problem = Problem("conv2d", pass_name, shapes, np.dtype(np.float32), device, given)
        names = (*(OPERATION.cuda if device == "cuda" else OPERATION.algorithms), *OPERATION._own)
        rules = {name: OPERATION.algorithm(name).broken_rule(problem) for name in names}
        costs = {name: cost(name, problem) for name, rule in rules.items() if not rule and name in OPERATION.algorithms}
        fits = [name for name, rule in rules.items() if not rule and name not in costs]
        refused = {name: rule for name, rule in rules.items() if rule}
        answer[pass_name] = {
            "runs": OPERATION.choose(problem),
            "expected_seconds": costs,
            "fits": fits,
            "refused": refused,
        }
    if as_json:
        print_json(answer)
        return
    print(f"x {shape}, w {'x'.join(map(str, w_shape))}, stride {stride}, padding {padding}, float32, {device}")
    for pass_name, found in answer.items():
        print(f"{pass_name}: {found['runs']} runs")
        for name, seconds in sorted(found["expected_seconds"].items(), key=lambda item: item[1]):
            print(f"  {name:15} expected {seconds * 1e3:10.3f} ms")
        for name in found["fits"]:
            print(f"  {name:15} fits")
        for name, rule in found["refused"].items():
            print(f"  {name:15} does not fit: {rule}")


def numbers(text: str, many: int, option: str) -> tuple[int, ...]:
    """`8x64x56x56` as four whole numbers."""
    from minicnn.errors import ArgumentError

    parts = text.lower().split("x")
    if len(parts) != many or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ArgumentError(
            f"{option} is not valid",
            called="algorithms",
            seen=text,
            rule=f"{many} whole numbers, x between them",
        )
    return tuple(int(part) for part in parts)
