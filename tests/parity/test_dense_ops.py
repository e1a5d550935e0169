"""Matrix products, batch normalisation, softmax and losses against PyTorch: random cases."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import Tensor, apply
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops import batch_norm, cross_entropy, matmul
from minicnn.ops import softmax as softmax_room
from minicnn.ops.registry import OPERATIONS, algorithm

torch = pytest.importorskip("torch")
functional = torch.nn.functional

CASES = 60
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}
REDUCTIONS = ("mean", "sum", "none")
SPECIAL = (np.nan, np.inf, -np.inf)


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.fixture
def each_algorithm(request):
    with algorithm(**request.param):
        yield request.param


def every(*names):
    """Run a test with each algorithm of the operation (or of several operations, which must have the same ones)."""
    algorithms = OPERATIONS[names[0]].algorithms
    chosen = [dict.fromkeys(names, one) for one in algorithms]
    return pytest.mark.parametrize("each_algorithm", chosen, indirect=True, ids=algorithms)


def normal(rng, shape, dtype):
    return np.asarray(rng.standard_normal(shape), dtype)


def sizes(rng, count, most=7):
    return tuple(int(v) for v in rng.integers(1, most + 1, count))


def compare(rng, ours, theirs, arrays, dtype, *, terms=1, nan_ok=False):
    """Run both on copies of the arrays, and hold the result and all gradients to PyTorch's.

    Integer arrays and None are passed on. `terms` is the length of the longest sum. The terms here are near 1, and
    where they cancel (dy - sum(dy y) of a softmax that is sure of itself, a gradient that sums up thousands of
    positions) rounding errors of each stay: hence the absolute tolerance, which grows with the root of their number.
    """
    tensors = [None if a is None else Tensor(a.copy(), requires_grad=a.dtype.kind == "f") for a in arrays]
    twins = [None if a is None else torch.from_numpy(a.copy()).requires_grad_(a.dtype.kind == "f") for a in arrays]
    y, expected = ours(*tensors), theirs(*twins)
    rtol = TOLERANCE[dtype]
    atol = 0.1 * rtol * terms**0.5
    assert_close(y.array, expected.detach().numpy(), rtol=rtol, atol=atol, nan_ok=nan_ok)
    dy = normal(rng, y.shape, dtype)
    y.backward(dy)
    expected.backward(torch.from_numpy(dy))
    for tensor, twin in zip(tensors, twins, strict=True):
        if tensor is not None and tensor.requires_grad:
            gradient = twin.grad.numpy()
            assert_close(tensor.grad.array, gradient, rtol=rtol, atol=atol, nan_ok=nan_ok)


# ---- matrix products ------------------------------------------------------------------------------------------------


@every("matmul")
def test_matmul(each_algorithm, dtype, rng):
    """Matrices, vectors, and leading axes that are missing, 1 or full on either side."""
    for _ in range(CASES):
        rows, inner, columns = sizes(rng, 3, 20)
        batch = sizes(rng, rng.integers(0, 3), 3)
        a_batch, b_batch = (tuple(1 if rng.random() < 0.3 else n for n in batch)[rng.integers(0, 3) :] for _ in "ab")
        a_shape = (inner,) if rng.random() < 0.15 else (*a_batch, rows, inner)
        b_shape = (inner,) if rng.random() < 0.15 else (*b_batch, inner, columns)
        arrays = normal(rng, a_shape, dtype), normal(rng, b_shape, dtype)
        compare(rng, lambda a, b: apply("matmul", a, b), torch.matmul, arrays, dtype, terms=20 * 9)


@every("matmul")
def test_matmul_of_large_matrices(each_algorithm, dtype, rng):
    arrays = normal(rng, (67, 131), dtype), normal(rng, (131, 301), dtype)
    compare(rng, lambda a, b: apply("matmul", a, b), torch.matmul, arrays, dtype, terms=301)


@pytest.mark.parametrize(
    ("a_shape", "b_shape"), [((2, 3), (4, 5)), ((3,), (4,)), ((2, 2, 3), (3, 3, 4)), ((), (3,)), ((2, 3, 4), (3,))]
)
def test_matmul_refuses_what_pytorch_refuses(a_shape, b_shape):
    with pytest.raises(RuntimeError):
        torch.matmul(torch.zeros(a_shape), torch.zeros(b_shape))
    with pytest.raises(ShapeError):
        matmul.forward(np.zeros(a_shape), np.zeros(b_shape))


@every("linear")
def test_linear(each_algorithm, dtype, rng):
    for _ in range(CASES):
        inputs, outputs = sizes(rng, 2, 40)
        x = normal(rng, (*sizes(rng, rng.integers(0, 4)), inputs), dtype)
        b = normal(rng, outputs, dtype) if rng.random() < 0.7 else None
        arrays = x, normal(rng, (outputs, inputs), dtype), b
        compare(
            rng,
            lambda x, w, b: apply("linear", x, w, b),
            functional.linear,
            arrays,
            dtype,
            terms=max(40, x.size // inputs),
        )


# ---- batch normalisation --------------------------------------------------------------------------------------------


def normalise(x, weight, bias, running_mean, running_var, training, momentum, eps):
    """As `nn.functional.batch_norm` does it; returns y and the new running averages."""
    mean, var = running_mean, running_var
    if training:
        mean, var = batch_norm.statistics(x.array)
        count = batch_norm.value_count(x.array)
        running = batch_norm.update_running(running_mean, running_var, mean, var, count, momentum)
    else:
        running = running_mean, running_var
    return apply("batch_norm", x, weight, bias, mean=mean, var=var, eps=eps, training=training), running


@pytest.mark.parametrize("training", [True, False])
@every("batch_norm")
def test_batch_norm(each_algorithm, dtype, training, rng):
    """y, the running averages, and the gradients of x, weight and bias."""
    for _ in range(CASES):
        # at least 8 values a channel: with two, dx is rounding errors only
        axes = 2 if each_algorithm["batch_norm"] == "vector" else rng.integers(0, 4)  # images only, or any
        shape = (int(rng.integers(8, 12)), *sizes(rng, 1, 5), *sizes(rng, axes, 5))
        channels = shape[1]
        x = normal(rng, shape, dtype) * dtype(2) + normal(rng, (channels, *(1,) * (len(shape) - 2)), dtype)
        weight, bias = (normal(rng, channels, dtype) if rng.random() < 0.8 else None for _ in "wb")
        mean, var = normal(rng, channels, dtype), rng.uniform(0.5, 2, channels).astype(dtype)
        momentum, eps = float(rng.choice([0.1, rng.random()])), float(rng.choice([1e-5, 1e-3]))
        their_mean, their_var = torch.from_numpy(mean.copy()), torch.from_numpy(var.copy())
        found = []

        def ours(x, weight, bias, options=(mean, var, training, momentum, eps), found=found):
            y, running = normalise(x, weight, bias, *options)
            found.extend(running)
            return y

        def theirs(x, weight, bias, running=(their_mean, their_var), options=(training, momentum, eps)):
            return functional.batch_norm(x, *running, weight, bias, *options)

        compare(rng, ours, theirs, (x, weight, bias), dtype, terms=x.size // channels)
        assert_close(found[0], their_mean.numpy(), rtol=TOLERANCE[dtype], atol=0.1 * TOLERANCE[dtype])
        assert_close(found[1], their_var.numpy(), rtol=TOLERANCE[dtype], atol=0.1 * TOLERANCE[dtype])


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_batch_norm_refuses_one_value_a_channel(shape):
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        functional.batch_norm(torch.zeros(shape), None, None, training=True)
    mean, var = batch_norm.statistics(np.zeros(shape))
    with pytest.raises(ShapeError, match="training needs more than one value per channel"):
        batch_norm.forward(np.zeros(shape), None, None, mean, var, training=True)


# ---- softmax --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@every("softmax", "log_softmax")
def test_softmax(each_algorithm, dtype, name, rng):
    theirs = getattr(torch, name)
    for _ in range(CASES):
        shape = sizes(rng, rng.integers(1, 5))
        dim = int(rng.integers(-len(shape), len(shape)))
        x = normal(rng, shape, dtype) * dtype(rng.choice([1, 10, 100]))
        compare(rng, lambda x, dim=dim: apply(name, x, dim=dim), lambda x, dim=dim: theirs(x, dim), (x,), dtype)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@every("softmax", "log_softmax")
def test_softmax_of_nan_and_infinity(each_algorithm, dtype, name, rng):
    """Rows of nothing but -inf included."""
    theirs = getattr(torch, name)
    for _ in range(CASES):
        x = normal(rng, (9, 4), dtype)
        special = rng.random(x.shape) < rng.random((9, 1)) ** 2
        x[special] = rng.choice(SPECIAL, x.shape, p=[0.1, 0.1, 0.8])[special]
        x[0] = -np.inf
        y = getattr(softmax_room, f"{name}_forward")(x, dim=1)
        assert_close(y, theirs(torch.from_numpy(x), 1).numpy(), rtol=TOLERANCE[dtype], nan_ok=True)
        finite = np.isfinite(y).all(axis=1) | (x == -np.inf).any(axis=1)
        compare(rng, lambda x: apply(name, x, dim=1), lambda x: theirs(x, 1), (x[finite],), dtype, nan_ok=True)


# ---- losses ---------------------------------------------------------------------------------------------------------


def draw_loss(rng, dtype, kind):
    """Scores, a target and options, as `cross_entropy` of either library takes them."""
    classes = int(rng.integers(1, 9))
    single = rng.random() < 0.1
    places = () if single else sizes(rng, rng.integers(0, 4), 4)
    batch = () if single else sizes(rng, 1)
    x = normal(rng, (*batch, classes, *places), dtype) * dtype(3)
    options = {
        "weight": rng.uniform(0.1, 2, classes).astype(dtype) if rng.random() < 0.5 else None,
        "reduction": str(rng.choice(REDUCTIONS)),
        "label_smoothing": float(rng.random()) if rng.random() < 0.5 else 0.0,
    }
    if kind == "probabilities":
        return x, np.asarray(rng.random(x.shape), dtype), options
    options["ignore_index"] = int(rng.choice([-100, rng.integers(0, classes), 1000]))
    target = np.asarray(rng.integers(0, classes, (*batch, *places)))
    target[rng.random(target.shape) < 0.2] = options["ignore_index"]
    return x, target, options


@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@every("cross_entropy")
def test_cross_entropy(each_algorithm, dtype, kind, rng):
    """Batches where all positions are ignored come up too: a loss of NaN, a gradient of 0."""
    for _ in range(2 * CASES):
        x, target, options = draw_loss(rng, dtype, kind)
        in_torch = {**options, "weight": None if options["weight"] is None else torch.from_numpy(options["weight"])}
        compare(
            rng,
            lambda x, t, o=options: apply("cross_entropy", x, t, **o),
            lambda x, t, o=in_torch: functional.cross_entropy(x, t, **o),
            (x, target),
            dtype,
            nan_ok=True,
        )


@every("cross_entropy")
def test_cross_entropy_of_nan_and_infinity(each_algorithm, dtype, rng):
    """Impossible classes and NaN scores: the losses, and the gradients of rows that PyTorch counts."""
    for _ in range(CASES):
        x = normal(rng, (11, 4), dtype)
        special = rng.random(x.shape) < 0.2
        x[special] = rng.choice(SPECIAL, x.shape, p=[0.1, 0.1, 0.8])[special]
        compare(
            rng,
            lambda x, t: apply("cross_entropy", x, t, reduction="none"),
            lambda x, t: functional.cross_entropy(x, t, reduction="none"),
            (x, rng.integers(0, 4, 11)),
            dtype,
            nan_ok=True,
        )


def test_cross_entropy_refuses_what_pytorch_refuses():
    x = np.zeros((4, 3))
    for target, options in [
        (np.array([0, 1, 3, 0]), {}),
        (np.array([0, -1, 1, 0]), {}),
        (np.array([0, 1, 1]), {}),
        (x, {"ignore_index": 1}),
        (x, {"label_smoothing": 1.5}),
    ]:
        with pytest.raises((RuntimeError, IndexError, ValueError)):
            functional.cross_entropy(torch.from_numpy(x), torch.from_numpy(target), **options)
        with pytest.raises((ArgumentError, ShapeError)):
            cross_entropy.forward(x, target, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@every("mse")
def test_mse(each_algorithm, dtype, reduction, rng):
    for _ in range(CASES):
        shape = sizes(rng, rng.integers(0, 5))
        compare(
            rng,
            lambda x, t: apply("mse", x, t, reduction=reduction),
            lambda x, t: functional.mse_loss(x, t, reduction=reduction),
            (normal(rng, shape, dtype), normal(rng, shape, dtype)),
            dtype,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@every("cross_entropy", "mse")
def test_losses_of_an_empty_batch(each_algorithm, dtype, reduction):
    x, target = np.empty((0, 3), dtype), np.empty(0, np.int64)
    twin = torch.from_numpy(x)
    for name, theirs, labels in [
        ("mse", functional.mse_loss, x),
        ("cross_entropy", functional.cross_entropy, x),
        ("cross_entropy", functional.cross_entropy, target),
    ]:
        expected = theirs(twin, torch.from_numpy(labels), reduction=reduction).numpy()
        assert_close(apply(name, x, labels, reduction=reduction).array, expected, nan_ok=True)
