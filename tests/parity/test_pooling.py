"""Pooling against PyTorch: random cases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from compare import assert_close

from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from minicnn.ops.registry import algorithm

torch = pytest.importorskip("torch")
functional = torch.nn.functional

CASES = 150
# relative to the largest expected value, and absolute: a mean of values near 1 can come out near 0
TOLERANCE = {np.float32: (1e-5, 1e-6), np.float64: (1e-10, 1e-12)}
ALGORITHMS = ("formula", "loops", "vector")


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    names = dict.fromkeys(("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"), request.param)
    if request.param == "vector":
        del names["adaptive_avg_pool2d"]  # it has one for whole images only
    with algorithm(**names):
        yield


def draw_windows(rng: np.random.Generator, *, dilated: bool) -> tuple[tuple[int, ...], dict]:
    """A shape, and options within PyTorch's own limits (the kernel may still turn out too large)."""
    shape = (*rng.integers(1, 4, 2), *rng.integers(1, 12, 2))
    kernel = rng.integers(1, 5, 2)
    options = {
        "kernel_size": tuple(kernel.tolist()),
        "stride": None if rng.random() < 0.2 else tuple(rng.integers(1, 5, 2).tolist()),
        "padding": tuple(rng.integers(0, kernel // 2 + 1).tolist()),
        "ceil_mode": bool(rng.random() < 0.5),
    }
    if dilated:
        options["dilation"] = tuple(rng.integers(1, 4, 2).tolist())
    return tuple(int(v) for v in shape), options


def pool_in_torch(pool: Callable, x: object, **options) -> object:
    """The result, or None where PyTorch says that no window fits; any other refusal is an error of the test."""
    try:
        return pool(x, **options)
    except RuntimeError as error:
        if "too small" not in str(error):
            raise
        return None


def has_empty_window(shape: tuple[int, ...], out: tuple[int, ...], options: dict) -> bool:
    """Whether all places of some window lie in the padding (dilation can step over a small image)."""
    stride = options["stride"] or options["kernel_size"]
    for a in (0, 1):
        for p in range(out[a]):
            start = p * stride[a] - options["padding"][a]
            places = [start + r * options["dilation"][a] for r in range(options["kernel_size"][a])]
            if not any(0 <= place < shape[2 + a] for place in places):
                return True
    return False


def compare(y: np.ndarray, dx: np.ndarray, x: object, expected: object, dy: np.ndarray) -> None:
    """Hold y and dx to PyTorch's; NaN must stand in the same places."""
    expected.backward(torch.from_numpy(dy))
    rtol, atol = TOLERANCE[y.dtype.type]
    assert_close(y, expected.detach().numpy(), rtol=rtol, atol=atol, nan_ok=True)
    assert_close(dx, x.grad.numpy(), rtol=rtol, atol=atol, nan_ok=True)


@pytest.mark.parametrize("values", ["normal", "ties", "special"])
def test_max_pool2d(each_algorithm, dtype, values, seed):
    """y, winners and dx; with ties, several NaN in a window, and windows of minus infinity."""
    rng = np.random.default_rng(seed)
    compared = 0
    for case in range(CASES):
        shape, options = draw_windows(rng, dilated=True)
        x = (rng.standard_normal(shape) if values == "normal" else rng.integers(-2, 2, shape)).astype(dtype)
        if values == "special":
            for special in (np.nan, -np.inf, np.inf):
                x[rng.random(shape) < 0.25] = special
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        result = pool_in_torch(functional.max_pool2d, theirs, **options, return_indices=True)
        if result is None:
            with pytest.raises(ShapeError, match="the kernel is larger than the padded input"):
                max_pool2d.forward(x, **options)
            continue
        expected, places = result
        if has_empty_window(shape, expected.shape[2:], options):
            # the one difference: PyTorch answers minus infinity, and an index that can lie outside the image
            with pytest.raises(ShapeError, match="a window steps over the image"):
                max_pool2d.forward(x, **options)
            continue
        y, winner = max_pool2d.forward(x, **options)
        assert np.array_equal(winner, places.numpy()), f"case {case}: {shape} {options}"
        dy = rng.standard_normal(y.shape).astype(dtype)
        compare(y, max_pool2d.grad_input(dy, winner, shape, **options), theirs, expected, dy)
        compared += 1
    assert compared > CASES / 3


def test_max_pool2d_of_resnet(each_algorithm, dtype, seed):
    """3x3, stride 2, padding 1, on negative values: padding must not win."""
    rng = np.random.default_rng(seed)
    x = -rng.random((2, 4, 17, 18)).astype(dtype)
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    y, winner = max_pool2d.forward(x, **options)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = max_pool2d.grad_input(dy, winner, x.shape, **options)
    compare(y, dx, theirs, functional.max_pool2d(theirs, **options), dy)


def test_padding_limit_is_pytorchs():
    """At most half the kernel, whatever the dilation."""
    x = np.zeros((1, 1, 9, 9))
    for options in ({"padding": 1, "dilation": 1}, {"padding": 1, "dilation": 3}):
        y, _ = max_pool2d.forward(x, kernel_size=2, stride=1, **options)
        assert y.shape == tuple(functional.max_pool2d(torch.from_numpy(x), 2, 1, **options).shape)
    for options in ({"padding": 2, "dilation": 1}, {"padding": 2, "dilation": 3}):
        with pytest.raises(RuntimeError, match=r"at most half|smaller than or equal to half"):
            functional.max_pool2d(torch.from_numpy(x), 2, 1, **options)
        with pytest.raises(ArgumentError, match="padding is more than half the kernel"):
            max_pool2d.forward(x, kernel_size=2, stride=1, **options)


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool2d(each_algorithm, dtype, count_include_pad, seed):
    rng = np.random.default_rng(seed)
    compared = 0
    for _ in range(CASES):
        shape, options = draw_windows(rng, dilated=False)
        options["count_include_pad"] = count_include_pad
        x = rng.standard_normal(shape).astype(dtype)
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        expected = pool_in_torch(functional.avg_pool2d, theirs, **options)
        if expected is None:
            with pytest.raises(ShapeError, match="the kernel is larger than the padded input"):
                avg_pool2d.forward(x, **options)
            continue
        y = avg_pool2d.forward(x, **options)
        dy = rng.standard_normal(y.shape).astype(dtype)
        compare(y, avg_pool2d.grad_input(dy, shape, **options), theirs, expected, dy)
        compared += 1
    assert compared > CASES / 2


def test_adaptive_avg_pool2d(each_algorithm, dtype, seed):
    rng = np.random.default_rng(seed)
    for _ in range(CASES):
        shape = tuple(int(v) for v in (*rng.integers(1, 4, 2), *rng.integers(1, 14, 2)))
        sides = tuple(None if rng.random() < 0.2 else int(v) for v in rng.integers(1, 14, 2))
        size = 1 if rng.random() < 0.3 else sides
        x = rng.standard_normal(shape).astype(dtype)
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        y = adaptive_avg_pool2d.forward(x, output_size=size)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dx = adaptive_avg_pool2d.grad_input(dy, shape)
        compare(y, dx, theirs, functional.adaptive_avg_pool2d(theirs, size), dy)
