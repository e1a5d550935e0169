"""What the golden values are values of: each call is written once, and run by PyTorch and by minicnn.

In a call, `m` is `torch` or `minicnn`, `F` its functional module, `nn` its layers, `optim` its optimizers: the names
and the arguments are the same. `make_golden.py` ran the calls with PyTorch and stored inputs, outputs and gradients;
`tests/test_golden.py` runs them with minicnn, by every algorithm, and needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SEED = 2013


@dataclass
class Call:
    """A function of inputs by name; `inputs` makes them from a random generator."""

    operation: str
    run: Callable[..., Any]
    inputs: Callable[[np.random.Generator], dict[str, np.ndarray]]
    constants: tuple[str, ...] = ()  # inputs that get no gradient although they are floats


def normal(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], dict[str, np.ndarray]]:
    """Normal values for each input."""
    return lambda rng: {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def positive(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], dict[str, np.ndarray]]:
    """Values from 0.5 to 2, of either sign where the name is `b`."""
    return lambda rng: {
        name: rng.uniform(0.5, 2, shape) * (rng.choice([-1, 1], shape) if name == "b" else 1)
        for name, shape in shapes.items()
    }


def labelled(
    *shape: int, classes: int = 4, ignored: bool = False, weights: bool = False
) -> Callable[[np.random.Generator], dict[str, np.ndarray]]:
    """Scores, class indices, and weights of the classes."""

    def make(rng: np.random.Generator) -> dict[str, np.ndarray]:
        target = rng.integers(0, classes, (shape[0], *shape[2:]))
        target.flat[0] = 2 if ignored else 0
        made = {"x": rng.standard_normal(shape), "target": target}
        return {**made, "weight": rng.uniform(0.2, 2, classes)} if weights else made

    return make


def shares(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Scores, and class probabilities."""
    q = rng.uniform(0, 1, (3, 4))
    return {"x": rng.standard_normal((3, 4)), "target": q / q.sum(axis=1, keepdims=True)}


def odd_images(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Ties, negative values, NaN and minus infinity: what poolings go wrong with."""
    x = rng.integers(-4, 0, (1, 2, 7, 6)).astype(float)
    x[0, 0, 3, 3], x[0, 1, :3, :3], x[0, 1, 5, 5] = np.nan, -np.inf, np.nan
    return {"x": x}


def kept(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A value for each element, and which elements dropout kept: drawn by PyTorch (see `make_golden.py`)."""
    return {"x": rng.standard_normal((5, 6)), "mask": np.zeros((5, 6), np.bool_)}


def statistics(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Images with a mean far from 0, and all that belongs to three channels."""
    return {
        "x": 3 + 2 * rng.standard_normal((3, 3, 4, 2)),
        "mean": rng.standard_normal(3),
        "var": rng.uniform(0.5, 2, 3),
        "w": rng.standard_normal(3),
        "b": rng.standard_normal(3),
    }


RUNNING = ("mean", "var")
IMAGES = normal(x=(2, 3, 7, 6))
EDGE = {"kernel_size": 3, "stride": 2, "padding": 1}

CALLS: dict[str, Call] = {
    "conv2d": Call("conv2d", lambda m, F, x, w, b: F.conv2d(x, w, b), normal(x=(2, 3, 5, 6), w=(4, 3, 3, 2), b=(4,))),
    "conv2d, remainder": Call(
        "conv2d", lambda m, F, x, w: F.conv2d(x, w, None, stride=3, padding=1), normal(x=(1, 2, 7, 9), w=(3, 2, 3, 3))
    ),
    "conv2d, all options": Call(
        "conv2d",
        lambda m, F, x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), 2),
        normal(x=(2, 4, 6, 5), w=(6, 2, 2, 3), b=(6,)),
    ),
    "conv2d, one channel a group": Call(
        "conv2d", lambda m, F, x, w, b: F.conv2d(x, w, b, groups=3), normal(x=(1, 3, 4, 4), w=(6, 1, 3, 3), b=(6,))
    ),
    "conv2d, shortcut": Call(
        "conv2d", lambda m, F, x, w: F.conv2d(x, w, stride=2), normal(x=(2, 3, 5, 4), w=(5, 3, 1, 1))
    ),
    "conv2d, stem": Call(
        "conv2d", lambda m, F, x, w: F.conv2d(x, w, stride=2, padding=3), normal(x=(1, 2, 8, 9), w=(2, 2, 7, 7))
    ),
    "conv_transpose2d": Call(
        "conv_transpose2d",
        lambda m, F, x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
        normal(x=(2, 3, 3, 5), w=(3, 4, 4, 4), b=(4,)),
    ),
    "conv_transpose2d, all options": Call(
        "conv_transpose2d",
        lambda m, F, x, w, b: F.conv_transpose2d(x, w, b, (2, 1), (1, 2), (1, 2), 2, (1, 3)),
        normal(x=(2, 4, 3, 4), w=(4, 3, 2, 3), b=(6,)),
    ),
    "linear": Call("linear", lambda m, F, x, w, b: F.linear(x, w, b), normal(x=(4, 5), w=(3, 5), b=(3,))),
    "linear, more axes": Call("linear", lambda m, F, x, w: F.linear(x, w), normal(x=(2, 3, 5), w=(4, 5))),
    "matmul": Call("matmul", lambda m, F, a, b: a @ b, normal(a=(3, 4), b=(4, 5))),
    "matmul, broadcast": Call("matmul", lambda m, F, a, b: a @ b, normal(a=(2, 1, 3, 4), b=(3, 4, 2))),
    "max_pool2d": Call("max_pool2d", lambda m, F, x: F.max_pool2d(x, 2), IMAGES),
    "max_pool2d, resnet": Call("max_pool2d", lambda m, F, x: F.max_pool2d(x, **EDGE), odd_images),
    "max_pool2d, all options": Call(
        "max_pool2d", lambda m, F, x: F.max_pool2d(x, (2, 3), (2, 1), (1, 0), (2, 1), ceil_mode=True), odd_images
    ),
    "avg_pool2d": Call("avg_pool2d", lambda m, F, x: F.avg_pool2d(x, 2), IMAGES),
    "avg_pool2d, padded": Call("avg_pool2d", lambda m, F, x: F.avg_pool2d(x, **EDGE, ceil_mode=True), IMAGES),
    "avg_pool2d, without padding": Call(
        "avg_pool2d", lambda m, F, x: F.avg_pool2d(x, (3, 2), (2, 1), (1, 0), count_include_pad=False), IMAGES
    ),
    "adaptive_avg_pool2d": Call("adaptive_avg_pool2d", lambda m, F, x: F.adaptive_avg_pool2d(x, 1), IMAGES),
    "adaptive_avg_pool2d, pair": Call("adaptive_avg_pool2d", lambda m, F, x: F.adaptive_avg_pool2d(x, (3, 4)), IMAGES),
    "batch_norm, training": Call(
        "batch_norm",
        lambda m, F, x, mean, var, w, b: F.batch_norm(x, mean, var, w, b, training=True, eps=1e-3),
        statistics,
        RUNNING,
    ),
    "batch_norm, evaluation": Call(
        "batch_norm", lambda m, F, x, mean, var, w, b: F.batch_norm(x, mean, var, w, b), statistics, RUNNING
    ),
    "relu": Call("relu", lambda m, F, x: F.relu(x), odd_images),
    "sigmoid": Call("sigmoid", lambda m, F, x: F.sigmoid(x * 9.0), normal(x=(3, 4))),
    "tanh": Call("tanh", lambda m, F, x: F.tanh(x), normal(x=(3, 4))),
    "exp": Call("exp", lambda m, F, x: x.exp(), normal(x=(3, 4))),
    "log": Call("log", lambda m, F, x: x.log(), positive(x=(3, 4))),
    "pow": Call("pow", lambda m, F, x: x**2 + x**-1.5, positive(x=(3, 4))),
    "softmax": Call("softmax", lambda m, F, x: F.softmax(x, 1), normal(x=(2, 4, 3))),
    "log_softmax": Call("log_softmax", lambda m, F, x: F.log_softmax(x, 0), normal(x=(4, 3))),
    "cross_entropy": Call("cross_entropy", lambda m, F, x, target: F.cross_entropy(x, target), labelled(5, 4)),
    "cross_entropy, all options": Call(
        "cross_entropy",
        lambda m, F, x, target, weight: F.cross_entropy(x, target, weight, ignore_index=2, label_smoothing=0.1),
        labelled(6, 4, ignored=True, weights=True),
        ("weight",),
    ),
    "cross_entropy, each": Call(
        "cross_entropy",
        lambda m, F, x, target, weight: F.cross_entropy(x, target, weight, reduction="none"),
        labelled(2, 4, 3, weights=True),
        ("weight",),
    ),
    "cross_entropy, sum": Call(
        "cross_entropy",
        lambda m, F, x, target: F.cross_entropy(x, target, reduction="sum", label_smoothing=0.3),
        labelled(3, 4, 2, 2),
    ),
    "cross_entropy, probabilities": Call(
        "cross_entropy", lambda m, F, x, target: F.cross_entropy(x, target, label_smoothing=0.2), shares
    ),
    "mse": Call("mse", lambda m, F, x, target: F.mse_loss(x, target), normal(x=(3, 4), target=(3, 4))),
    "mse, sum": Call(
        "mse", lambda m, F, x, target: F.mse_loss(x, target, reduction="sum"), normal(x=(5,), target=(5,))
    ),
    "mse, each": Call(
        "mse", lambda m, F, x, target: F.mse_loss(x, target, reduction="none"), normal(x=(2, 2), target=(2, 2))
    ),
    "dropout": Call("dropout", lambda m, F, x, mask: F.dropout(x, 0.3), kept),
    "add": Call("add", lambda m, F, a, b: a + b, normal(a=(2, 3, 4), b=(3, 1))),
    "sub": Call("sub", lambda m, F, a, b: a - b, normal(a=(3, 1), b=(2, 1, 4))),
    "mul": Call("mul", lambda m, F, a, b: a * b, normal(a=(2, 3, 4), b=(4,))),
    "div": Call("div", lambda m, F, a, b: a / b, positive(a=(3, 4), b=(2, 1, 4))),
    "sum": Call("sum", lambda m, F, x: x.sum((0, 2)), normal(x=(2, 3, 4))),
    "mean": Call("mean", lambda m, F, x: x.mean(1, True), normal(x=(2, 3, 4))),
    "max": Call("max", lambda m, F, x: x.max(1)[0], odd_images),
    "max of all": Call("max", lambda m, F, x: x.max(), normal(x=(3, 4))),
    "reshape": Call("reshape", lambda m, F, x: x.reshape(4, -1) * 2.0, normal(x=(2, 3, 4))),
    "flatten": Call("flatten", lambda m, F, x: x.flatten(1) * 2.0, normal(x=(2, 3, 4))),
    "transpose": Call("transpose", lambda m, F, x: x.permute(2, 0, 1) * 2.0, normal(x=(2, 3, 4))),
    "index": Call("index", lambda m, F, x, i: x[i, 1:], lambda r: {**normal(x=(3, 4))(r), "i": np.array([2, 0, 2])}),
    "concatenate": Call("concatenate", lambda m, F, a, b: m.cat([a, b, a], 1), normal(a=(2, 3), b=(2, 1))),
}

# layers and losses in one network each: built by `nn`, with the shape of the input
LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), 1, 2), (2, 4, 5, 5)),
    "Conv2d, no bias": (lambda nn: nn.Conv2d(2, 3, 3, padding=1, dilation=2, bias=False), (1, 2, 5, 6)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 0), 2), (2, 4, 3, 4)),
    "Linear": (lambda nn: nn.Linear(5, 3), (4, 5)),
    "MaxPool2d": (lambda nn: nn.MaxPool2d(3, 2, 1), (2, 2, 7, 6)),
    "AvgPool2d": (lambda nn: nn.AvgPool2d(3, 2, 1, True, False), (1, 2, 6, 7)),
    "AdaptiveAvgPool2d": (lambda nn: nn.AdaptiveAvgPool2d((2, 3)), (1, 2, 5, 7)),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(3, momentum=0.3), (3, 3, 2, 4)),
    "BatchNorm2d, evaluation": (lambda nn: nn.BatchNorm2d(3).eval(), (2, 3, 3, 2)),
    "BatchNorm2d, bare": (lambda nn: nn.BatchNorm2d(3, 1e-2, 0.1, False, False), (2, 3, 3, 2)),
    "activations": (lambda nn: nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softmax(1)), (3, 5)),
    "no change": (
        lambda nn: nn.Sequential(
            nn.Identity(),
            nn.Dropout(0.5).eval(),
            nn.Flatten(),
            nn.Unflatten(1, (3, 2, 1)),
            nn.Dropout2d(0.5).eval(),
            nn.Flatten(),
        ),
        (2, 3, 2),
    ),
    "network": (
        lambda nn: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3, bias=False),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        (3, 2, 8, 8),
    ),
}

# parameters of these shapes, moved by gradients that are drawn anew at each step
PARAMETERS = ((2, 3), (4,))
STEPS = 8
TRAJECTORIES: dict[str, Callable[[Any, list[Any]], Any]] = {
    "SGD": lambda optim, ps: optim.SGD(ps, lr=0.1),
    "SGD, weight decay": lambda optim, ps: optim.SGD(ps, lr=0.1, weight_decay=0.2),
    "SGD, momentum": lambda optim, ps: optim.SGD(ps, lr=0.1, momentum=0.9),
    "SGD, dampening": lambda optim, ps: optim.SGD(ps, lr=0.1, momentum=0.9, dampening=0.4, weight_decay=0.1),
    "SGD, nesterov": lambda optim, ps: optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "SGD, groups": lambda optim, ps: optim.SGD(
        [{"params": [ps[0]], "lr": 0.01, "momentum": 0.5}, {"params": [ps[1]], "weight_decay": 0.3}], lr=0.2
    ),
    "Adam": lambda optim, ps: optim.Adam(ps, lr=0.1),
    "Adam, all options": lambda optim, ps: optim.Adam(ps, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    "Adam, groups": lambda optim, ps: optim.Adam(
        [{"params": [ps[0]]}, {"params": [ps[1]], "betas": (0.5, 0.9), "lr": 0.01}], lr=0.1
    ),
}

# the network: ResNet-18, narrow
RESNET = {"num_classes": 5, "width": 4}
RESNET_STEPS = 3
RESNET_SETTINGS = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True}
