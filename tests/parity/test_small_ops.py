"""Element-wise operations, reductions, shapes and dropout against PyTorch: random cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import Tensor, apply
from minicnn.ops import dropout, elementwise, reduce, relu, shape  # noqa: F401 (make the operations known)
from minicnn.ops.registry import algorithm

torch = pytest.importorskip("torch")

CASES = 20
TOLERANCE = {np.float32: (1e-5, 1e-6), np.float64: (1e-10, 1e-12)}
COMPUTING = (
    "relu",
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "exp",
    "log",
    "sigmoid",
    "tanh",
    "sum",
    "mean",
    "max",
    "dropout",
)


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.fixture(params=["formula", "loops"])
def each_algorithm(request):
    with algorithm(**dict.fromkeys(COMPUTING, request.param)):
        yield


def draw_shape(rng: np.random.Generator, least: int = 0, most: int = 4) -> tuple[int, ...]:
    return tuple(int(size) for size in rng.integers(1, 6, rng.integers(least, most + 1)))


def values(rng: np.random.Generator, size: tuple[int, ...], dtype: Any, *, special: bool = True) -> np.ndarray:
    """Normal values, some of them equal; with `special` also zeros, infinities and NaN."""
    x = np.asarray(rng.standard_normal(size).round(1) * 2, dtype)
    if special and rng.random() < 0.5:
        odd = rng.choice(np.array([0, -0.0, np.inf, -np.inf, np.nan], dtype), size)
        x = np.where(rng.random(size) < 0.1, odd, x)
    return x


def held_equal(ours: Any, theirs: Any, dtype: Any) -> None:
    rtol, atol = TOLERANCE[dtype]
    assert_close(ours, theirs.detach().numpy(), rtol=rtol, atol=atol, nan_ok=True)


def compare(ours: Any, theirs: Any, arrays: list[np.ndarray], rng: np.random.Generator, dtype: Any) -> None:
    """Values and gradients of two functions, with a random upstream gradient."""
    mine = [Tensor(x.copy(), requires_grad=True) for x in arrays]
    yours = [torch.tensor(x, requires_grad=True) for x in arrays]
    y, expected = ours(*mine), theirs(*yours)
    held_equal(y.array, expected, dtype)
    dy = np.asarray(rng.standard_normal(y.shape), dtype)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    for one, other in zip(mine, yours, strict=True):
        held_equal(one.grad.array, other.grad, dtype)


@pytest.mark.parametrize("name", ["relu", "exp", "log", "sigmoid", "tanh"])
def test_functions(each_algorithm, rng, dtype, name):
    for _ in range(CASES):
        x = values(rng, draw_shape(rng), dtype)
        compare(lambda x: apply(name, x), getattr(torch, name), [x], rng, dtype)


def test_powers(each_algorithm, rng, dtype):
    for _ in range(CASES):
        exponent = float(rng.choice([0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.7]))
        x = values(rng, draw_shape(rng), dtype)
        x = np.where(x == -np.inf, dtype(np.nan), x + 0)  # (-inf)^0.5 and (-0)^-1.5 differ between libraries of C
        compare(lambda x, e=exponent: x**e, lambda x, e=exponent: x**e, [x], rng, dtype)


ARITHMETIC = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


@pytest.mark.parametrize("name", list(ARITHMETIC))
def test_arithmetic_with_broadcasting(each_algorithm, rng, dtype, name):
    for _ in range(CASES):
        full = draw_shape(rng)
        sizes = []
        for _ in range(2):
            kept = full[int(rng.integers(0, len(full) + 1)) :]
            sizes.append(tuple(1 if rng.random() < 0.3 else size for size in kept))
        arrays = [values(rng, size, dtype) for size in sizes]
        compare(ARITHMETIC[name], ARITHMETIC[name], arrays, rng, dtype)


@pytest.mark.parametrize("name", list(ARITHMETIC))
def test_numbers_as_operands(rng, dtype, name):
    fn = ARITHMETIC[name]
    for _ in range(CASES):
        number, x = float(rng.choice([2, -0.5, 3])), values(rng, draw_shape(rng), dtype)
        compare(lambda x, n=number: fn(x, n), lambda x, n=number: fn(x, n), [x], rng, dtype)
        compare(lambda x, n=number: fn(n, x), lambda x, n=number: fn(n, x), [x], rng, dtype)


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_sums(each_algorithm, rng, dtype, name):
    for _ in range(CASES):
        size = draw_shape(rng)
        axes = tuple(int(a) for a in rng.permutation(len(size))[: rng.integers(0, len(size) + 1)])
        dim = axes if axes and rng.random() < 0.7 else None
        keepdim = bool(rng.random() < 0.5)

        def theirs(x, dim=dim, keepdim=keepdim):
            return getattr(x, name)(dim, keepdim)

        compare(lambda x, d=dim, k=keepdim: getattr(x, name)(d, k), theirs, [values(rng, size, dtype)], rng, dtype)


def test_maximum_along_one_axis(each_algorithm, rng, dtype):
    for _ in range(CASES):
        size = draw_shape(rng, 1)
        dim, keepdim = int(rng.integers(-len(size), len(size))), bool(rng.random() < 0.5)
        x = values(rng, size, dtype)
        compare(lambda x, d=dim, k=keepdim: x.max(d, k)[0], lambda x, d=dim, k=keepdim: x.max(d, k)[0], [x], rng, dtype)
        assert np.array_equal(Tensor(x).max(dim, keepdim)[1].array, torch.tensor(x).max(dim, keepdim)[1].numpy())


def test_maximum_over_all_axes_or_some(each_algorithm, rng, dtype):
    for _ in range(CASES):
        size = draw_shape(rng, 1)
        x = values(rng, size, dtype)
        compare(lambda x: x.max(), lambda x: x.max(), [x], rng, dtype)
        dim = tuple(int(a) for a in rng.permutation(len(size))[: rng.integers(1, len(size) + 1)])
        finite = values(rng, size, dtype, special=False)  # PyTorch's amax has no gradient rule for NaN of its own
        compare(lambda x, d=dim: x.max(d), lambda x, d=dim: x.amax(d), [finite], rng, dtype)


def test_shapes(rng, dtype):
    for _ in range(CASES):
        size = draw_shape(rng, 1)
        x = values(rng, size, dtype)
        dims = tuple(int(a) for a in rng.permutation(len(size)))
        first, last = sorted(int(a) for a in rng.integers(0, len(size), 2))
        compare(lambda x, d=dims: x.permute(*d), lambda x, d=dims: x.permute(*d), [x], rng, dtype)
        compare(lambda x, a=first, b=last: x.flatten(a, b), lambda x, a=first, b=last: x.flatten(a, b), [x], rng, dtype)
        compare(lambda x, s=size: x.reshape(s[-1], -1), lambda x, s=size: x.reshape(s[-1], -1), [x], rng, dtype)
        compare(
            lambda x, a=first, b=last: x.transpose(a, b), lambda x, a=first, b=last: x.transpose(a, b), [x], rng, dtype
        )


def test_indices(rng, dtype):
    for _ in range(CASES):
        size = draw_shape(rng, 2)
        x = values(rng, size, dtype)
        rows, columns = (rng.integers(-n, n, 7) for n in size[:2])
        mask = rng.random(size) < 0.5
        for index in (
            0,
            -1,
            (slice(None), 0),
            (..., slice(0, 1)),
            None,
            rows,
            (rows, columns),
            (rows, slice(0, 2)),
            mask,
        ):
            theirs = torch.tensor(mask) if index is mask else index
            compare(lambda x, i=index: x[i], lambda x, i=theirs: x[i], [x], rng, dtype)


def test_concatenation(rng, dtype):
    for _ in range(CASES):
        size = list(draw_shape(rng, 1))
        dim = int(rng.integers(-len(size), len(size)))
        arrays = []
        for _ in range(int(rng.integers(1, 4))):
            size[dim] = int(rng.integers(1, 4))
            arrays.append(values(rng, tuple(size), dtype))
        compare(
            lambda *xs, d=dim: apply("concatenate", *xs, dim=d), lambda *xs, d=dim: torch.cat(xs, d), arrays, rng, dtype
        )


def test_dropout_with_the_same_mask(each_algorithm, rng, dtype):
    """PyTorch draws its own masks: where it kept an element, ours is given the same."""
    for _ in range(CASES):
        p, x = float(rng.choice([0.0, 0.2, 0.5, 0.9])), values(rng, draw_shape(rng), dtype, special=False)
        x = np.where(x == 0, 1, x).astype(dtype)
        theirs = torch.tensor(x, requires_grad=True)
        expected = torch.nn.functional.dropout(theirs, p)
        mask = np.asarray(expected.detach().numpy() != 0)
        ours = Tensor(x, requires_grad=True)
        y = apply("dropout", ours, mask=mask, p=p)
        held_equal(y.array, expected, dtype)
        dy = np.asarray(rng.standard_normal(x.shape), dtype)
        y.backward(dy)
        expected.backward(torch.tensor(dy))
        held_equal(ours.grad.array, theirs.grad, dtype)


def test_a_chain_of_all(each_algorithm, rng, dtype):
    """Everything in one graph, with inputs that are used several times."""

    def network(x, w, cat, pick):
        h = (x * w).exp() / (x * x + 1.5) - w
        h = cat([h, x[:, pick]])
        h = h.reshape(-1, 3).transpose(0, 1)
        return (h.mean(0) ** 2).sum() + h.max() * h.sum() / 7

    for _ in range(CASES):
        x, w = values(rng, (4, 6), dtype, special=False), values(rng, (1, 6), dtype, special=False)
        pick = rng.integers(0, 6, 3)
        compare(
            lambda x, w, i=pick: network(x, w, lambda ts: apply("concatenate", *ts, dim=1), i),
            lambda x, w, i=pick: network(x, w, lambda ts: torch.cat(ts, 1), i),
            [x * 0.3, w * 0.3],
            rng,
            dtype,
        )
