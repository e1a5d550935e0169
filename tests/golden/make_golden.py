"""Makes the golden values: what PyTorch 2.13 answers to the calls of `calls.py`, in small HDF5 files beside this one.

    cd tests && python -m golden.make_golden [FOLDER]

PyTorch computes in float64, from inputs that are exact in float32. The same machine makes the same bytes;
`tests/parity/test_golden_files.py` holds the files to what this script makes today.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from golden.calls import (
    CALLS,
    LAYERS,
    PARAMETERS,
    RESNET,
    RESNET_SETTINGS,
    RESNET_STEPS,
    SEED,
    STEPS,
    TRAJECTORIES,
    Call,
)
from parity.torch_resnet import resnet18
from torch import nn
from torch.nn import functional as F  # noqa: N812

Tree = dict[str, dict[str, Any]]
GRID = 128  # the network's weights are whole multiples of 1/128: exact in float32, and small when compressed
MARGIN = 1e-5  # how far the network's values must lie from the corners of ReLU and max pooling


def generator(name: str) -> np.random.Generator:
    """A generator of each case's own, so that a new case leaves the others as they are."""
    return np.random.Generator(np.random.PCG64([SEED, zlib.crc32(name.encode())]))


def exact(values: Any) -> np.ndarray:
    """Floats as float32, the rest as it is."""
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def double(array: np.ndarray, grad: bool = False) -> torch.Tensor:
    """A tensor of float64 (or of integers, booleans) with a copy of the values."""
    if array.dtype.kind != "f":
        return torch.tensor(array)
    return torch.tensor(array.astype(np.float64), requires_grad=grad)


def backward(y: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
    """Send a random gradient back from y, and return it."""
    dy = exact(rng.standard_normal(tuple(y.shape)))
    y.backward(double(dy))
    return dy


def of_call(name: str, call: Call) -> dict[str, Any]:
    """Inputs, output and gradients of one call: `x`, `y`, `dy`, `d_x`, ..."""
    rng = generator(name)
    torch.manual_seed(SEED)
    inputs = {key: exact(value) for key, value in call.inputs(rng).items()}
    tensors = {key: double(value, key not in call.constants) for key, value in inputs.items()}
    y = call.run(torch, F, **tensors)
    if name == "dropout":
        inputs["mask"] = (y != 0).numpy()
    dy = backward(y, rng)
    grads = {f"d_{key}": t.grad.numpy() for key, t in tensors.items() if t.grad is not None}
    return {**{f"in_{key}": value for key, value in inputs.items()}, "y": y.detach().numpy(), "dy": dy, **grads}


def fill(module: nn.Module, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Give a module a state of random values; returns the state."""
    state = {}
    for name, tensor in module.state_dict().items():
        values = (
            rng.uniform(0.5, 1.5, tuple(tensor.shape)) if "var" in name else rng.standard_normal(tuple(tensor.shape))
        )
        state[name] = exact(values) if tensor.is_floating_point() else np.zeros((), np.int64)
    module.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    return state


def of_layer(name: str, build: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """State, input, output, gradients, and the buffers afterwards."""
    rng = generator(name)
    module = build(nn)
    state = fill(module, rng)
    module.double()
    x = exact(rng.standard_normal(shape))
    t = double(x, True)
    y = module(t)
    dy = backward(y, rng)
    after = {f"after_{key}": b.numpy() for key, b in module.named_buffers()}
    grads = {f"grad_{key}": p.grad.numpy() for key, p in module.named_parameters()}
    result = {"x": x, "y": y.detach().numpy(), "dy": dy, "d_x": t.grad.numpy()}
    return {**{f"state_{key}": value for key, value in state.items()}, **result, **grads, **after}


def of_optimizer(name: str, build: Any) -> dict[str, Any]:
    """First values, gradients, and the values after each step; all parameters flat, one row a step."""
    rng = generator(name)
    first = [exact(rng.standard_normal(shape)) for shape in PARAMETERS]
    parameters = [double(value, True) for value in first]
    optimizer = build(torch.optim, parameters)
    gradients, path = [], []
    for _ in range(STEPS):
        drawn = [exact(rng.standard_normal(shape)) for shape in PARAMETERS]
        for p, g in zip(parameters, drawn, strict=True):
            p.grad = double(g)
        optimizer.step()
        gradients.append(np.concatenate([g.ravel() for g in drawn]))
        path.append(np.concatenate([p.detach().numpy().ravel() for p in parameters]))
    return {
        "first": np.concatenate([v.ravel() for v in first]),
        "gradients": np.stack(gradients),
        "path": np.stack(path),
    }


def joint(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """All values one after the other, as float32."""
    return np.concatenate([array.ravel().astype(np.float32) for array in arrays.values()])


def rounded(array: np.ndarray) -> np.ndarray:
    """float32 with 16 of its 24 significant bits (an error of at most 2^-16): a quarter smaller when compressed."""
    return ((np.ascontiguousarray(array, np.float32).view(np.uint32) + 0x80) & 0xFFFFFF00).view(np.float32)


def letters(names: Any) -> np.ndarray:
    """The names as bytes, a line each."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def watch_corners(model: nn.Module) -> list[float]:
    """A list that fills up in each pass: how near to a corner each ReLU and each max pooling came."""
    margins = []

    def relu(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        margins.append(float(inputs[0].detach().abs().min()))

    def pool(module: nn.MaxPool2d, inputs: tuple[torch.Tensor, ...]) -> None:
        x = F.pad(inputs[0].detach(), [module.padding] * 4, value=-1.0)
        windows = x.unfold(2, module.kernel_size, module.stride).unfold(3, module.kernel_size, module.stride)
        best, second = windows.flatten(4).topk(2).values.unbind(-1)
        margins.append(float((best - second)[best > 0].min()))

    for module in model.modules():
        if isinstance(module, (nn.ReLU, nn.MaxPool2d)):
            module.register_forward_pre_hook(relu if isinstance(module, nn.ReLU) else pool)
    return margins


def of_resnet() -> Tree:
    """A narrow ResNet-18, drawn so that no value lies within rounding errors of a corner, where gradients jump."""
    for attempt in range(1000):
        made, margin = draw_resnet(generator(f"resnet18 {attempt}"))
        if margin > MARGIN:
            return {"resnet18": made}
    raise RuntimeError("no draw keeps away from the corners")


def draw_resnet(rng: np.random.Generator) -> tuple[dict[str, Any], float]:
    """State, images, logits in both modes, gradients, and what steps of training make of it; the nearest corner.

    The many small arrays of the state, the gradients and the trained state are joined to one each, in the order of
    their names.
    """
    model = resnet18(**RESNET)
    state = {}
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        if not tensor.is_floating_point():
            state[name] = np.zeros((), np.int64)
        elif name.endswith("var") or (tensor.ndim == 1 and name.endswith("weight")):
            state[name] = np.round(rng.uniform(0.5, 1.5, shape) * GRID) / GRID
        else:
            scale = np.sqrt(2 / np.prod(shape[1:])) if tensor.ndim > 1 else 0.1
            state[name] = np.round(rng.standard_normal(shape) * scale * GRID) / GRID
    state = {name: exact(value) for name, value in state.items()}
    model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    model.double()
    margins = watch_corners(model)
    images = exact(np.round(rng.standard_normal((4, 3, 48, 48)) * 8) / 8)
    labels = np.array([3, 0, 4, 1])
    x, target = double(images), torch.tensor(labels)
    evaluation = model.eval()(x).detach().numpy()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), **RESNET_SETTINGS)
    losses, logits, gradients = [], None, {}
    for step in range(RESNET_STEPS):
        optimizer.zero_grad()
        y = model(x)
        loss = F.cross_entropy(y, target)
        loss.backward()
        if step == 0:
            logits = y.detach().numpy()
            gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    trained = {name: value.numpy() for name, value in model.state_dict().items()}
    joined = {"state": joint(state), "gradients": rounded(joint(gradients)), "trained": rounded(joint(trained))}
    names = {"state_names": letters(state), "gradient_names": letters(gradients)}
    run = {"images": images, "labels": labels, "logits": logits, "logits_eval": evaluation, "losses": np.array(losses)}
    return {**run, **names, **joined}, min(margins)


def write(path: Path, tree: Tree) -> None:
    """One group a case; large arrays are compressed."""
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["made_by"] = f"make_golden.py, PyTorch {torch.__version__.split('+')[0]}"
        for case, arrays in tree.items():
            group = file.create_group(case)
            for name, array in arrays.items():
                packed = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if array.nbytes > 2000 else {}
                group.create_dataset(name, data=array, track_times=False, **packed)


def main(folder: Path) -> None:
    """Make all files."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "operations.h5", {name: of_call(name, call) for name, call in CALLS.items()})
    write(folder / "layers.h5", {name: of_layer(name, *case) for name, case in LAYERS.items()})
    write(folder / "optimizers.h5", {name: of_optimizer(name, build) for name, build in TRAJECTORIES.items()})
    write(folder / "resnet18.h5", of_resnet())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
