"""`minicnn warmup`: compile now what training and running the networks will need."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

# network, arguments, side of the images, images in a batch: kernels differ with the sizes of images and of batches
NETWORKS: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("cnn", {"num_classes": 10}, 32, 32),
    ("resnet18", {"num_classes": 10, "stem": "small"}, 32, 32),
    ("resnet18", {"num_classes": 10, "stem": "small", "width": 16}, 32, 20),  # the demo's
    ("resnet18", {}, 224, 8),
)


def warmup(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Compile the kernels of the CNN and of ResNet-18, for training and for running them.

    Later runs find them in the cache, so that the first step of a training, or the first answer of a server, does not
    wait for the compiler.
    """
    from tqdm import tqdm

    from minicnn.backends.jit import CompileClock, cache_folder
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json

    start = time.perf_counter()
    bar = tqdm(total=2 * len(NETWORKS), desc="warming up", disable=None, leave=False)  # None: on a terminal only
    with CompileClock() as clock, compiling_shown(in_lines=False), bar:
        for what in _work():
            bar.set_postfix_str(what)
            bar.update()
    folder, seconds = cache_folder(), time.perf_counter() - start
    if as_json:
        print_json(
            {"kernels": len(clock.kernels), "compiling": clock.seconds, "seconds": seconds, "cache": str(folder)}
        )
        return
    many = len(clock.kernels)
    done = f"compiled {many} kernel{'s' * (many > 1)} in {clock.seconds:.1f} s" if many else "all kernels were cached"
    print(f"{done}; {seconds:.1f} s in all; cache: {folder}")


def _work() -> Iterator[str]:
    """Train each network for one step, and run it; yields what was done."""
    import minicnn
    from minicnn.models import MODELS

    for name, arguments, side, batch in NETWORKS:
        model = MODELS[name](**arguments)
        _train(model, minicnn.rand(batch, 3, side, side))
        yield f"{name} {side}, training"
        _run(model, [minicnn.rand(many, 3, side, side) for many in (1, batch)])
        yield f"{name} {side}, running"


def _train(model: Any, images: Any) -> None:
    import numpy as np

    from minicnn import optim
    from minicnn.nn import functional as F  # noqa: N812

    parameters = list(model.parameters())
    for optimizer in (
        optim.SGD(parameters, lr=1e-6, momentum=0.9, weight_decay=1e-4),
        optim.Adam(parameters, lr=1e-6),
    ):
        optimizer.zero_grad()
        F.cross_entropy(model(images), np.zeros(len(images), np.int64)).backward()
        optimizer.step()


def _run(model: Any, batches: list[Any]) -> None:
    import minicnn
    from minicnn.nn.functional import softmax

    model.eval()
    faster = [minicnn.fuse(model)] if hasattr(minicnn, "fuse") else []
    with minicnn.no_grad():
        for images in batches:
            for network in (model, *faster):
                softmax(network(images), dim=1)
