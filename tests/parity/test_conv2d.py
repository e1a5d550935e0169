"""Convolution against PyTorch: random cases."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import Tensor
from minicnn.errors import ShapeError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import conv2d
from minicnn.ops.registry import algorithm

torch = pytest.importorskip("torch")

CASES = 60
# relative to the largest expected value, and absolute: sums of values near 1 can come out near 0
TOLERANCE = {np.float32: (2e-5, 1e-5), np.float64: (1e-11, 1e-11)}


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.fixture(params=["formula", "loops", "im2col"])
def each_algorithm(request):
    with algorithm(conv2d=request.param):
        yield


def draw(rng: np.random.Generator, dtype: type, most: int = 12) -> tuple[list[np.ndarray], dict]:
    """x, w, b (or None) and options; the kernel may turn out larger than the padded image."""
    groups, inputs, outputs = rng.integers(1, 4, 3)
    kernel = rng.integers(1, 5, 2)
    steps = {"stride": rng.integers(1, 5, 2), "padding": rng.integers(0, 5, 2), "dilation": rng.integers(1, 4, 2)}
    options = {name: int(v[0]) if rng.random() < 0.3 else tuple(v.tolist()) for name, v in steps.items()}
    x = rng.standard_normal((rng.integers(0, 4), groups * inputs, *rng.integers(1, most, 2)))
    w = rng.standard_normal((groups * outputs, inputs, *kernel))
    b = rng.standard_normal(len(w)) if rng.random() < 0.7 else None
    arrays = [None if a is None else a.astype(dtype) for a in (x, w, b)]
    return arrays, {**options, "groups": int(groups)}


def theirs(arrays, options, rng) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """PyTorch's y and a random dy, then dx, dw and db; None where it refuses."""
    tensors = [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]
    try:
        y = torch.nn.functional.conv2d(*tensors, **options)
    except RuntimeError as error:
        if "Kernel size can't be greater than actual input size" not in str(error):
            raise
        return None
    dy = rng.standard_normal(y.shape).astype(arrays[0].dtype)
    y.backward(torch.tensor(dy))
    return dy, [y.detach().numpy(), *(t.grad.numpy() for t in tensors if t is not None)]


def compare(arrays, options, dy, expected, dtype) -> None:
    rtol, atol = TOLERANCE[dtype]
    x, w, b = arrays
    found = [
        conv2d.forward(x, w, b, **options),
        conv2d.grad_input(dy, w, x.shape, **options),
        conv2d.grad_weight(dy, x, w.shape, **options),
        *([conv2d.grad_bias(dy)] if b is not None else []),
    ]
    assert len(found) == len(expected)
    for ours, torchs in zip(found, expected, strict=True):
        assert_close(ours, torchs, rtol=rtol, atol=atol)


def test_random_cases(each_algorithm, dtype, seed):
    rng = np.random.default_rng(seed)
    compared = 0
    for _ in range(CASES):
        arrays, options = draw(rng, dtype)
        answer = theirs(arrays, options, rng)
        if answer is None:
            with pytest.raises(ShapeError, match="the kernel is larger than the padded input"):
                conv2d.forward(*arrays, **options)
        else:
            compare(arrays, options, *answer, dtype)
            compared += 1
    assert compared > CASES / 2


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((4, 3, 33, 35), (16, 3, 7, 7), {"stride": 2, "padding": 3}),  # the stem of a ResNet
        ((3, 16, 29, 17), (24, 16, 3, 3), {"padding": 1}),
        ((3, 24, 15, 14), (40, 24, 1, 1), {"stride": 2}),
        ((5, 32, 13, 11), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    ],
)
def test_layers_of_real_networks(each_algorithm, dtype, seed, x_shape, w_shape, options):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape, w_shape[:1])]
    compare(arrays, options, *theirs(arrays, options, rng), dtype)


def test_on_the_tape(dtype, seed):
    """Through nn.functional, with the algorithm that is preferred."""
    rng = np.random.default_rng(seed)
    rtol, atol = TOLERANCE[dtype]
    for _ in range(20):
        arrays, options = draw(rng, dtype)
        answer = theirs(arrays, options, rng)
        if answer is None:
            continue
        dy, expected = answer
        tensors = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
        y = F.conv2d(*tensors, **options)
        y.backward(dy)
        found = [y.detach().numpy(), *(t.grad.array for t in tensors if t is not None)]
        for ours, torchs in zip(found, expected, strict=True):
            assert_close(ours, torchs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stand_where_they_stand_in_pytorch(each_algorithm, dtype, seed, value):
    """In x and in dy, without padding (around the image PyTorch's own algorithms differ)."""
    rng = np.random.default_rng(seed)
    options = {"stride": (2, 1), "groups": 2}
    for place in (0, "dy"):
        arrays = [rng.standard_normal(s).astype(dtype) for s in ((2, 4, 7, 6), (6, 2, 3, 2), (6,))]
        if place == 0:
            arrays[0][1, 2, 3, 4] = value
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        y = torch.nn.functional.conv2d(*tensors, **options)
        dy = rng.standard_normal(y.shape).astype(dtype)
        if place == "dy":
            dy[0, 5, 1, 2] = value
        y.backward(torch.tensor(dy))
        x, w, b = arrays
        found = [
            conv2d.forward(x, w, b, **options),
            conv2d.grad_input(dy, w, x.shape, **options),
            conv2d.grad_weight(dy, x, w.shape, **options),
            conv2d.grad_bias(dy),
        ]
        for ours, theirs_ in zip(found, [y.detach(), *(t.grad for t in tensors)], strict=True):
            assert np.array_equal(np.isnan(ours), np.isnan(theirs_.numpy()))
            assert_close(ours, theirs_.numpy(), rtol=TOLERANCE[dtype][0], atol=TOLERANCE[dtype][1], nan_ok=True)
