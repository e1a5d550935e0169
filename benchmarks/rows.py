"""The rows of the main table: each function measures one group and returns its rows.

A row compares minicnn with the fastest of its peers that is right: what both compute is held against float64, or
against each other, before the timing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

with suppress(ImportError):
    import torch  # noqa: F401  (before minicnn: see peers.py)

import numba

import minicnn
from minicnn import nn, optim
from minicnn.models import VGG, resnet18
from minicnn.ops import matmul
from minicnn.study import bench, timing
from minicnn.study.layers import RESNET18
from minicnn.study.work import layer_work, work_of
from minicnn.training.freezing import freeze

HERE = Path(__file__).resolve().parent
PASSES = ("forward", "grad_input", "grad_weight")
Row = dict[str, Any]
Call = Callable[[], Any]


def row(
    group: str,
    name: str,
    seconds: dict[str, float],
    least: float,
    goal: float,
    error: float,
    peers: list[str] | None = None,
    notes: list[str] | None = None,
) -> Row:
    """A row from the seconds of "minicnn" and of its peers; `peers` are those that count, all if not given."""
    rivals = {name: s for name, s in seconds.items() if name != "minicnn" and (peers is None or name in peers)}
    fastest = min(rivals, key=lambda name: rivals[name]) if rivals else None
    made: Row = {"group": group, "row": name, "ours_ms": seconds["minicnn"] * 1e3, "error": error}
    made |= {"peer": fastest, "peer_ms": rivals[fastest] * 1e3 if fastest else None}
    made["ratio"] = rivals[fastest] / seconds["minicnn"] if fastest else None
    return {
        **made,
        "least": least,
        "goal": goal,
        "all_ms": {k: s * 1e3 for k, s in seconds.items()},
        "notes": notes or [],
    }


def verify(name: str, error: float, most: float) -> float:
    """Raise unless an error is small; NaN is not."""
    if not error <= most:
        raise SystemExit(f"{name}: wrong: error {error:.1e}, at most {most:.0e} is right")
    return error


def inference(model: nn.Module) -> Callable[[Any], Any]:
    """The fastest form of a network that minicnn has."""
    fuse = getattr(minicnn, "fuse", None)
    return fuse(model.eval()) if fuse else model.eval()


def step_of(model: nn.Module, x: np.ndarray, labels: np.ndarray) -> Call:
    """A training step, SGD with momentum; a call returns the loss before the step."""
    images = minicnn.from_numpy(x)
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.array)

    return step


def data(batch: int, classes: int = 1000, size: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 3, size, size), dtype=np.float32), rng.integers(0, classes, batch)


def network(name: str) -> nn.Module:
    """A network whose running statistics are not those of a new one."""
    minicnn.manual_seed(0)
    model = resnet18() if name == "resnet18" else VGG(dropout=0.0)
    rng = np.random.default_rng(1)
    for key, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.array[:] = rng.standard_normal(module.running_mean.shape) * 0.1
            module.running_var.array[:] = rng.random(module.running_var.shape) + 0.5
            if key.endswith("bn2"):
                module.weight.array[:] = 0.3  # else activations double from block to block
    return model


def forward_calls(
    name: str, batch: int, folder: Path, bfloat16: bool = False
) -> tuple[dict[str, Call], list[str], float]:
    """Inference by minicnn and its peers, notes, and the largest error against PyTorch in float64."""
    import peers

    model, (x, _) = network(name), data(batch)
    twin = peers.twin(name, model.state_dict())
    ours, images = inference(model), minicnn.from_numpy(x)

    def call() -> np.ndarray:
        with minicnn.no_grad():
            return ours(images).array

    others, notes = peers.forward(twin, x, folder, bfloat16)
    calls = {"minicnn": call, **others}
    with peers.torch.no_grad():
        right = twin.double().eval()(peers.torch.from_numpy(x).double()).numpy()
    errors = {key: timing.relative_error(made(), right) for key, made in calls.items()}
    for key, error in errors.items():
        verify(f"{name}, {key}", error, 0.1 if "bfloat16" in key else 1e-3)
    return calls, notes, errors["minicnn"]


# ---- whole networks -------------------------------------------------------------------------------------------------


def forward(rounds: int) -> Iterator[Row]:
    """ResNet-18, images to logits."""
    for batch in (1, 8, 32):
        least, goal = (1.5, 1.8) if batch == 1 else (1.7, 2.0)
        yield _forward("forward", "resnet18", f"ResNet-18 forward, batch {batch}", batch, least, goal, rounds)


def vgg(rounds: int) -> Iterator[Row]:
    """VGG-16, images to logits."""
    yield _forward("vgg", "vgg16", "VGG-16 forward, batch 8", 8, 2.0, 3.0, rounds)


def _forward(group: str, name: str, title: str, batch: int, least: float, goal: float, rounds: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        calls, notes, error = forward_calls(name, batch, Path(folder))
        return row(group, title, timing.interleaved(calls, rounds), least, goal, error, notes=notes)


def train(rounds: int) -> Iterator[Row]:
    """Every parameter learns."""
    yield _train("train", "ResNet-18 training step, batch 16", False, rounds)


def features(rounds: int) -> Iterator[Row]:
    """The head learns, on a frozen backbone."""
    yield _train("features", "ResNet-18 frozen features and head step, batch 16", True, rounds)


def _train(group: str, title: str, head_only: bool, rounds: int) -> Row:
    calls = training_calls("resnet18", 16, head_only)
    losses = {name: [call() for _ in range(3)] for name, call in calls.items()}
    peer = np.array(losses["PyTorch"])
    error = max(timing.relative_error(np.array(some), peer) for some in losses.values())
    verify(f"{title}, losses {losses}", error, 5e-3)
    seconds = timing.interleaved(calls, rounds)
    verify(f"{title}, after", 0.0 if all(np.isfinite(call()) for call in calls.values()) else np.nan, 0.0)
    return row(group, title, seconds, 1.9, 2.3, error)


def training_calls(name: str, batch: int, head_only: bool = False) -> dict[str, Call]:
    """A training step by minicnn, and by PyTorch in each layout, from the same weights."""
    import peers

    model, (x, labels) = network(name), data(batch)
    twin = peers.twin(name, model.state_dict())
    if head_only:
        freeze(model, "backbone")
    return {"minicnn": step_of(model.train(), x, labels), **peers.training(twin, x, labels, head_only)}


# ---- convolutions ---------------------------------------------------------------------------------------------------


def winograd(rounds: int) -> Iterator[Row]:
    """The 3x3 convolutions of stride 1."""
    for name, layer in RESNET18.items():
        if layer.kernel[1] == 3 and layer.stride == 1:
            for pass_name in PASSES:
                deep = layer.image[1] == 7
                least = (1.4 if pass_name == "grad_weight" else 1.8) if deep else 2.0
                yield _convolution("conv3x3", name, layer, pass_name, least, 2.7, rounds)


def others(rounds: int) -> Iterator[Row]:
    """Every other convolution."""
    for name, layer in RESNET18.items():
        if not (layer.kernel[1] == 3 and layer.stride == 1):
            for pass_name in PASSES:
                yield _convolution("conv", name, layer, pass_name, 0.95, 1.2, rounds)


def _convolution(group: str, name: str, layer: Any, pass_name: str, least: float, goal: float, rounds: int) -> Row:
    work = layer_work(layer, 8, pass_name)
    calls, error = convolution_calls(work)
    return row(group, f"{name}, {pass_name}", timing.interleaved(calls, rounds), least, goal, error)


def convolution_calls(work: Any) -> tuple[dict[str, Call], float]:
    """What minicnn chooses by itself, on images as its layers leave them; and PyTorch in each layout."""
    import peers

    right, own = work.reference(), bench.last_layout(work)
    calls: dict[str, Call] = {"minicnn": lambda: own.op.run(own.pass_name, own.arrays, own.options, *own.shapes)}
    for name, layout in peers.LAYOUTS.items():
        calls[name] = _in_torch(work, layout)
    errors = {
        name: verify(f"{work.title}, {name}", work.error(call(), right, name != "minicnn"), 5e-4)
        for name, call in calls.items()
    }
    return calls, errors["minicnn"]


def _in_torch(work: Any, layout: Any) -> Call:
    import peers

    made = work.torch(peers.torch, lambda a: _laid(peers.torch.from_numpy(a), layout))

    def call() -> Any:
        with peers.torch.no_grad():
            return made()

    return call


def _laid(tensor: Any, layout: Any) -> Any:
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor


def ladder(rounds: int) -> Iterator[Row]:
    """From the formula's loops to what minicnn chooses."""
    work = work_of("conv2d")
    own, right = bench.last_layout(work), work.reference()
    calls: dict[str, Call] = {
        "minicnn": lambda: own.op.run(own.pass_name, own.arrays, own.options, *own.shapes),
        "loops": lambda: work.run("loops"),
    }
    errors = [verify(f"ladder, {name}", work.error(call(), right), 5e-4) for name, call in calls.items()]
    name = "From the formula's loops to the fastest, 64 channels of 56 x 56, batch 8"
    yield row("ladder", name, timing.interleaved(calls, rounds), 150, 150, errors[0])


# ---- matrices, memory -----------------------------------------------------------------------------------------------


def product(rounds: int, size: int = 1024) -> Iterator[Row]:
    """Our matrix product against NumPy's."""
    from threadpoolctl import threadpool_info, threadpool_limits

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    right = a.astype(np.float64) @ b.astype(np.float64)
    blas = next((info["internal_api"] for info in threadpool_info() if info["user_api"] == "blas"), "BLAS")
    before = numba.get_num_threads()
    for threads in sorted({1, min(2, before)}):
        numba.set_num_threads(threads)
        calls: dict[str, Call] = {"minicnn": lambda: matmul.forward(a, b), f"NumPy ({blas})": lambda: a @ b}
        try:
            with threadpool_limits(threads, user_api="blas"):
                errors = [verify(f"matmul, {n}", timing.relative_error(c(), right), 1e-4) for n, c in calls.items()]
                seconds = timing.interleaved(calls, rounds)
        finally:
            numba.set_num_threads(before)
        title = f"Matrix product {size} x {size}, {threads} thread{'s' * (threads > 1)}"
        yield row("matmul", title, seconds, 1.0, 1.1, errors[0])


def memory(rounds: int) -> Iterator[Row]:
    """Bytes that training steps of batch 16 take, each library in a process of its own; here less is better."""
    found = {}
    for library in ("minicnn", "torch"):
        command = [sys.executable, str(HERE / "memory.py"), library]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[library] = int(done.stdout.split()[-1]) / 2**20
    yield {
        "group": "memory",
        "row": "Memory of a training step, batch 16",
        "ours_mib": found["minicnn"],
        "peer": "PyTorch",
        "peer_mib": found["torch"],
        "ratio": found["minicnn"] / found["torch"],
        "least": 1.0,
        "goal": 0.7,
        "notes": [],
    }


GROUPS: dict[str, Callable[[int], Iterator[Row]]] = {
    "forward": forward,
    "train": train,
    "features": features,
    "vgg": vgg,
    "conv3x3": winograd,
    "conv": others,
    "matmul": product,
    "ladder": ladder,
    "memory": memory,
}
