"""The losses against PyTorch's, with all their options drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.nn import functional as F  # noqa: N812

torch = pytest.importorskip("torch")

CASES = 25
TOLERANCE = {np.float32: (1e-5, 1e-6), np.float64: (1e-11, 1e-12)}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def compare(mine: Any, yours: Any, x: np.ndarray, target: np.ndarray, rng: Any, *, nan_ok: bool = False) -> None:
    """Value and gradients: of x, and of a target of floats."""
    soft = target.dtype.kind == "f"
    rtol, atol = TOLERANCE[x.dtype.type]
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    s, t = Tensor(target, requires_grad=soft), torch.tensor(target, requires_grad=soft)
    y, expected = mine(a, s), yours(b, t)
    options = {"rtol": rtol, "atol": atol, "nan_ok": nan_ok}
    assert_close(y.array, expected.detach().numpy(), **options)
    dy = np.asarray(rng.standard_normal(y.shape), x.dtype)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    assert_close(a.grad.array, b.grad.numpy(), **options)
    if soft:
        assert_close(s.grad.array, t.grad.numpy(), **options)


def scores(rng: Any, dtype: Any) -> np.ndarray:
    """(C,), (N, C) or (N, C, d1, ...); sometimes of a size at which e^x overflows."""
    classes, places = int(rng.integers(2, 7)), tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 3)))
    shape = (classes,) if rng.random() < 0.1 else (int(rng.integers(1, 6)), classes, *places)
    return np.asarray(rng.standard_normal(shape) * (200 if rng.random() < 0.2 else 2), dtype)


def options_of(rng: Any, classes: int, dtype: Any) -> dict[str, Any]:
    return {
        "weight": np.asarray(rng.uniform(0.1, 2, classes), dtype) if rng.random() < 0.5 else None,
        "reduction": str(rng.choice(["mean", "sum", "none"])),
        "label_smoothing": float(rng.choice([0.0, 0.1, 0.7, 1.0])),
    }


def losses(options: dict[str, Any]) -> tuple[Any, Any]:
    """Both packages' loss with the same options."""
    theirs = {**options, "weight": None if options["weight"] is None else torch.tensor(options["weight"])}
    return nn.CrossEntropyLoss(**options), torch.nn.CrossEntropyLoss(**theirs)


def test_class_indices(rng, dtype):
    for _ in range(CASES):
        x = scores(rng, dtype)
        classes = x.shape[min(1, x.ndim - 1)]
        target = np.asarray(rng.integers(0, classes, () if x.ndim == 1 else (x.shape[0], *x.shape[2:])))
        options = options_of(rng, classes, dtype)
        if rng.random() < 0.5:
            options["ignore_index"] = int(rng.integers(0, classes)) if rng.random() < 0.5 else -100
            target = np.where(rng.random(target.shape) < 0.3, options["ignore_index"], target)
        compare(*losses(options), x, target, rng, nan_ok=True)  # the mean over nothing is NaN in both


def test_class_probabilities(rng, dtype):
    for _ in range(CASES):
        x = scores(rng, dtype)
        axis = min(1, x.ndim - 1)
        q = rng.uniform(0.01, 1, x.shape)
        target = np.asarray(q / q.sum(axis=axis, keepdims=True), dtype)
        compare(*losses(options_of(rng, x.shape[axis], dtype)), x, target, rng)


def test_mean_squared_error(rng, dtype):
    for _ in range(CASES):
        shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(0, 4)))
        x, target = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
        for reduction in ("mean", "sum", "none"):
            compare(nn.MSELoss(reduction), torch.nn.MSELoss(reduction=reduction), x, target, rng)


def test_binary_cross_entropy(rng, dtype):
    """From logits, some of a size at which e^x overflows, and from probabilities, 0 and 1 among the targets."""
    for _ in range(CASES):
        shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(0, 4)))
        x = np.asarray(rng.standard_normal(shape) * (200 if rng.random() < 0.3 else 2), dtype)
        target = np.asarray(np.clip(rng.uniform(-0.5, 1.5, shape), 0, 1), dtype)
        weight, positive = (np.asarray(rng.uniform(0.1, 2, shape[-1:]), dtype) for _ in range(2))
        for reduction in ("mean", "sum", "none"):
            options = {"weight": weight, "pos_weight": positive} if rng.random() < 0.5 else {}
            theirs = {name: torch.tensor(value) for name, value in options.items()}
            compare(
                nn.BCEWithLogitsLoss(reduction=reduction, **options),
                torch.nn.BCEWithLogitsLoss(reduction=reduction, **theirs),
                *(x, target, rng),
            )
            p = np.asarray(rng.uniform(0.01, 0.99, shape), dtype)
            options.pop("pos_weight", None)
            theirs.pop("pos_weight", None)
            compare(
                nn.BCELoss(reduction=reduction, **options),
                torch.nn.BCELoss(reduction=reduction, **theirs),
                p,
                target,
                rng,
            )


def test_kl_of_gaussians(rng, dtype):
    m, log_s, m2, log_s2 = (np.asarray(rng.standard_normal((5, 3)), dtype) for _ in range(4))
    normal = torch.distributions.Normal
    found = F.gaussian_kl(Tensor(m), Tensor(log_s), m2, log_s2).array
    q, p = (normal(torch.tensor(a), torch.tensor(b / 2).exp()) for a, b in ((m, log_s), (m2, log_s2)))
    assert_close(found, torch.distributions.kl_divergence(q, p).sum(-1).numpy(), rtol=TOLERANCE[dtype][0])
    standard = torch.distributions.kl_divergence(q, normal(0.0, 1.0)).sum(-1).numpy()
    assert_close(F.gaussian_kl(Tensor(m), Tensor(log_s)).array, standard, rtol=TOLERANCE[dtype][0])


def test_softmax_and_its_logarithm(rng, dtype):
    for _ in range(CASES):
        x = scores(rng, dtype)
        dim = int(rng.integers(-x.ndim, x.ndim))
        for name in ("softmax", "log_softmax"):
            mine = getattr(F, name)(Tensor(x), dim).array
            yours = getattr(torch.nn.functional, name)(torch.tensor(x), dim).numpy()
            rtol, atol = TOLERANCE[dtype]
            assert_close(mine, yours, rtol=rtol, atol=atol)
