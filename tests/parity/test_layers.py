"""Every layer and small networks of layers against PyTorch's: fresh random shapes, arguments and values at each run.

Both are built by the same line (`nn` is the one package or the other), get the same state and the same input, and must
agree in output, gradients and buffers afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ShapeError

torch = pytest.importorskip("torch")

CASES = 8
TOLERANCE = {np.float32: (2e-5, 1e-6), np.float64: (1e-10, 1e-12)}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def held(ours: Any, theirs: Any, dtype: Any) -> None:
    rtol, atol = TOLERANCE[dtype]
    assert_close(ours, theirs.detach().numpy(), rtol=rtol, atol=atol)


def compare(build: Any, shape: tuple[int, ...], rng: Any, dtype: Any, *, training: bool = True) -> None:
    """Output, gradients of input and parameters, buffers; twice, so that second buffers build on first ones."""
    mine, yours = build(nn).to_dtype(dtype), build(torch.nn)
    yours.to(torch.float64 if dtype == np.float64 else torch.float32)
    state = {}
    for name, tensor in yours.state_dict().items():
        values = rng.uniform(0.5, 2, tensor.shape) if "var" in name else rng.standard_normal(tuple(tensor.shape)) / 3
        state[name] = np.asarray(values, dtype) if tensor.is_floating_point() else tensor.numpy().copy()
    yours.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    assert mine.load_state_dict(state) == ([], [])
    assert list(mine.state_dict()) == list(state)
    mine.train(training)
    yours.train(training)
    for _ in range(2):
        x = np.asarray(rng.standard_normal(shape) * 2 + 0.5, dtype)
        a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        mine.zero_grad()
        yours.zero_grad()
        y, expected = mine(a), yours(b)
        held(y.array, expected, dtype)
        dy = np.asarray(rng.standard_normal(y.shape), dtype)
        y.backward(dy)
        expected.backward(torch.tensor(dy))
        held(a.grad.array, b.grad, dtype)
        grads = {name: p.grad for name, p in yours.named_parameters()}
        assert {name for name, _ in mine.named_parameters()} == set(grads)
        for name, p in mine.named_parameters():
            held(p.grad.array, grads[name], dtype)
        buffers = dict(yours.named_buffers())
        assert {name for name, _ in mine.named_buffers()} == set(buffers)
        for name, buffer in mine.named_buffers():
            held(buffer.array, buffers[name], dtype)


def whole(rng: Any, least: int, most: int, many: int | None = None) -> Any:
    """Whole numbers from `least` to `most`."""
    drawn = rng.integers(least, most + 1, many)
    return int(drawn) if many is None else tuple(int(v) for v in drawn)


def either(rng: Any, least: int, most: int) -> Any:
    """One number or a pair."""
    return whole(rng, least, most) if rng.random() < 0.5 else whole(rng, least, most, 2)


def chance(rng: Any) -> bool:
    return bool(rng.random() < 0.5)


def test_conv2d(rng, dtype):
    for _ in range(CASES):
        groups = whole(rng, 1, 3)
        channels, out = groups * whole(rng, 1, 3), groups * whole(rng, 1, 3)
        arguments = (channels, out, either(rng, 1, 3), either(rng, 1, 3), either(rng, 0, 2), either(rng, 1, 2), groups)
        bias, shape = chance(rng), (whole(rng, 1, 3), channels, *whole(rng, 6, 10, 2))
        compare(lambda nn, a=arguments, b=bias: nn.Conv2d(*a, bias=b), shape, rng, dtype)


def test_conv_transpose2d(rng, dtype):
    for _ in range(CASES):
        groups, stride, dilation = whole(rng, 1, 3), whole(rng, 1, 3, 2), whole(rng, 1, 3, 2)
        channels, out = groups * whole(rng, 1, 3), groups * whole(rng, 1, 3)
        more = tuple(whole(rng, 0, max(steps) - 1) for steps in zip(stride, dilation, strict=True))
        options = {"stride": stride, "padding": either(rng, 0, 2), "output_padding": more, "groups": groups}
        options |= {"bias": chance(rng), "dilation": dilation}
        kernel, shape = either(rng, 1, 4), (whole(rng, 1, 3), channels, *whole(rng, 5, 8, 2))
        compare(lambda nn, a=(channels, out, kernel), o=options: nn.ConvTranspose2d(*a, **o), shape, rng, dtype)


def test_output_size_of_conv_transpose2d(rng, dtype):
    """The size that is asked for; and where it cannot be, both refuse."""
    x = np.asarray(rng.standard_normal((1, 2, 4, 5)), dtype)
    mine, yours = nn.ConvTranspose2d(2, 3, 3, 2, 1).to_dtype(dtype), torch.nn.ConvTranspose2d(2, 3, 3, 2, 1)
    yours.load_state_dict({name: torch.tensor(value) for name, value in mine.state_dict().items()})
    yours.to(torch.float64 if dtype == np.float64 else torch.float32)
    for size in ((7, 10), (8, 9)):
        held(mine(Tensor(x), size).array, yours(torch.tensor(x), size), dtype)
    for size in ((6, 9), (7, 11)):
        with pytest.raises(ShapeError, match=r"rule: 7..8 rows, 9..10 columns"):
            mine(Tensor(x), size)
        with pytest.raises(ValueError, match="requested an output size"):
            yours(torch.tensor(x), size)


def test_linear(rng, dtype):
    for _ in range(CASES):
        features, out, bias = whole(rng, 1, 9), whole(rng, 1, 9), chance(rng)
        shape = (*whole(rng, 1, 4, whole(rng, 1, 2)), features)
        compare(lambda nn, f=features, o=out, b=bias: nn.Linear(f, o, b), shape, rng, dtype)


def test_pooling(rng, dtype):
    for _ in range(CASES):
        kernel = whole(rng, 2, 3, 2)
        padding = tuple(whole(rng, 0, k // 2) for k in kernel)
        stride = either(rng, 1, 3) if chance(rng) else None
        shape, ceil, count = (whole(rng, 1, 3), whole(rng, 1, 3), *whole(rng, 5, 9, 2)), chance(rng), chance(rng)
        largest = {"padding": padding, "dilation": either(rng, 1, 2), "ceil_mode": ceil}
        compare(lambda nn, k=kernel, s=stride, o=largest: nn.MaxPool2d(k, s, **o), shape, rng, dtype)
        arguments = (kernel, stride, padding, ceil, count)
        compare(lambda nn, a=arguments: nn.AvgPool2d(*a), shape, rng, dtype)
        size = either(rng, 1, 6)
        compare(lambda nn, s=size: nn.AdaptiveAvgPool2d(s), shape, rng, dtype)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_batch_norm(rng, dtype, training):
    for _ in range(CASES):
        channels = whole(rng, 1, 4)
        options = {"eps": float(10 ** rng.uniform(-5, -1)), "momentum": float(rng.uniform(0, 1))}
        options |= {"affine": chance(rng), "track_running_stats": chance(rng)}
        shape = (whole(rng, 2, 4), channels, *whole(rng, 2, 5, 2))
        compare(lambda nn, c=channels, o=options: nn.BatchNorm2d(c, **o), shape, rng, dtype, training=training)


@pytest.mark.parametrize("name", ["ReLU", "Sigmoid", "Tanh", "Flatten", "Identity"])
def test_layers_without_parameters(rng, dtype, name):
    for _ in range(CASES):
        compare(lambda nn: getattr(nn, name)(), whole(rng, 1, 5, whole(rng, 2, 4)), rng, dtype)


def test_layers_along_axes(rng, dtype):
    for _ in range(CASES):
        shape = whole(rng, 1, 5, whole(rng, 2, 4))
        dim = whole(rng, -len(shape), len(shape) - 1)
        compare(lambda nn, d=dim: nn.Softmax(d), shape, rng, dtype)
        first, last = sorted(whole(rng, 0, len(shape) - 1, 2))
        compare(lambda nn, a=first, b=last: nn.Flatten(a, b), shape, rng, dtype)


def test_dropout_in_evaluation(rng, dtype):
    compare(lambda nn: nn.Dropout(0.7), (3, 4), rng, dtype, training=False)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_small_networks(rng, training):
    """In float64: batch norms of a few values enlarge rounding, and float32 would say little (see `test_models.py`)."""

    def build(nn):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Sequential(nn.Conv2d(4, 6, 3, 2, groups=2), nn.Tanh(), nn.AvgPool2d(2, 1)),
            nn.BatchNorm2d(6, momentum=0.4),
            nn.AdaptiveAvgPool2d((2, 1)),
            nn.Flatten(),
            nn.Linear(12, 5),
            nn.Sigmoid(),
        )

    for _ in range(CASES):
        compare(build, (whole(rng, 3, 6), 3, *whole(rng, 11, 16, 2)), rng, np.float64, training=training)


# ---- initial values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda nn: nn.Linear(40, 50),
        lambda nn: nn.Conv2d(8, 60, (3, 5)),
        lambda nn: nn.Conv2d(8, 64, 3, groups=4),
        lambda nn: nn.ConvTranspose2d(64, 8, 3),
    ],
)
def test_initial_values_have_the_same_distribution(build):
    """Of 20 layers of each: their quantiles agree (Kolmogorov and Smirnov's statistic)."""
    for name in ("weight", "bias"):
        a = np.sort(np.concatenate([getattr(build(nn), name).array.ravel() for _ in range(20)]))
        b = np.sort(np.concatenate([getattr(build(torch.nn), name).detach().numpy().ravel() for _ in range(20)]))
        both = np.sort(np.concatenate([a, b]))
        gap = np.abs(np.searchsorted(a, both, "right") / a.size - np.searchsorted(b, both, "right") / b.size).max()
        assert gap < 2.4 * np.sqrt(2 / a.size)  # a chance of 1 in 50,000


def test_kaiming_normal():
    shape = (60, 30, 3, 3)
    for mode in ("fan_in", "fan_out"):
        mine = nn.init.kaiming_normal_(Tensor(np.empty(shape)), mode).array
        yours = torch.nn.init.kaiming_normal_(torch.empty(shape), mode=mode, nonlinearity="relu").numpy()
        assert abs(mine.std() / yours.std() - 1) < 0.05
    defaults = nn.init.kaiming_normal_(Tensor(np.empty(shape))).array, torch.nn.init.kaiming_normal_(torch.empty(shape))
    assert abs(defaults[0].std() / defaults[1].numpy().std() - 1) < 0.05
