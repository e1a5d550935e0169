"""Bernoulli and Gaussian losses: by hand, at extremes, gradients by central differences, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import gradcheck, nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.nn import functional as F  # noqa: N812

LOGITS = np.array([0.0, 2.0, -3.0, 0.5])
TARGETS = np.array([1.0, 0.0, 0.25, 1.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plainly(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def test_by_hand():
    expected = plainly(sigmoid(LOGITS), TARGETS)
    logits, probabilities = Tensor(LOGITS), Tensor(sigmoid(LOGITS))
    for reduction, wanted in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        assert_close(nn.BCEWithLogitsLoss(reduction=reduction)(logits, TARGETS).array, wanted, rtol=1e-12)
        assert_close(nn.BCELoss(reduction=reduction)(probabilities, TARGETS).array, wanted, rtol=1e-12)
    assert_close(F.softplus(logits).array, np.log1p(np.exp(LOGITS)), rtol=1e-12)


def test_logits_of_any_size():
    """Neither overflow nor ln 0, and the slope is the sigmoid, at 0 too."""
    x = Tensor(np.array([-3e38, -200, -20, 0, 20, 200, 3e38], np.float32), requires_grad=True)
    y = F.softplus(x)
    assert_close(y.array, np.array([0, 0, 0, math.log(2), 20, 200, 3e38], np.float32), rtol=0, atol=1e-6)
    y.backward(np.ones(7, np.float32))
    assert_close(x.grad.array, np.array([0, 0, 2.0611537e-09, 0.5, 1, 1, 1], np.float32), rtol=1e-6)
    assert F.softplus(Tensor([math.inf, -math.inf])).array.tolist() == [math.inf, 0]
    assert np.isnan(F.softplus(Tensor([math.nan])).array).all()


def test_probabilities_of_0_and_1():
    """The logarithm is at least -100, as in PyTorch; gradients stay finite."""
    p = Tensor(np.array([0.0, 0.0, 1.0, 1.0]), requires_grad=True)
    loss = F.binary_cross_entropy(p, np.array([0.0, 1.0, 0.0, 1.0]), reduction="none")
    assert_close(loss.array, np.array([0.0, 100, 100, 0]), rtol=0, atol=1e-12)
    loss.sum().backward()
    assert_close(p.grad.array, np.array([1.0, -1e12, 1e12, -1.0]), rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"weight": np.array([0.5, 2, 0, 1])}, {"reduction": "sum"}])
def test_gradients(options):
    t = TARGETS * 0.8 + 0.1
    positive = {"pos_weight": np.array([2.0, 0.5, 1, 3])}
    assert gradcheck(lambda x, t: F.binary_cross_entropy_with_logits(x, t, **options, **positive), [LOGITS - 0.1, t])
    assert gradcheck(lambda p, t: F.binary_cross_entropy(p, t, **options), [sigmoid(LOGITS), t])


# ---- Gaussians ------------------------------------------------------------------------------------------------------


def test_kl_by_hand():
    """Of N(1, 4) and N(0, 1): 1/2 (4 - ln 4 - 1 + 1)."""
    m, log_s = Tensor(np.array([[1.0, 0.0]])), Tensor(np.array([[math.log(4), 0.0]]))
    assert F.gaussian_kl(m, log_s).array.tolist() == pytest.approx([2 - math.log(2)])
    assert F.gaussian_kl(m, log_s, m, log_s).array.tolist() == [0]


def test_kl_is_the_mean_of_the_logarithm():
    """E_q[ln q - ln p] over 400,000 draws from q, within 5 standard errors."""
    rng = np.random.default_rng(0)
    m, s, m2, s2 = (np.array(v) for v in ([0.7, -1.2, 0.1], [0.5, 1.5, 0.9], [0.0, 0.4, 0.0], [1.0, 2.0, 0.8]))
    z = m + s * rng.standard_normal((400_000, 3))
    logs = (-np.log(s) - ((z - m) / s) ** 2 / 2 + np.log(s2) + ((z - m2) / s2) ** 2 / 2).sum(axis=1)
    found = F.gaussian_kl(Tensor(m), Tensor(2 * np.log(s)), m2, 2 * np.log(s2)).item()
    assert abs(found - logs.mean()) < 5 * logs.std() / math.sqrt(len(logs))


def test_gradients_of_gaussians():
    rng = np.random.default_rng(1)
    m, log_s, m2, log_s2, noise = rng.standard_normal((5, 3, 2))
    for reduction in ("none", "mean", "sum"):
        assert gradcheck(lambda *four, r=reduction: F.gaussian_kl(*four, reduction=r), [m, log_s, m2, log_s2])
    assert gradcheck(lambda m, log_s: F.gaussian_sample(m, log_s, noise), [m, log_s])
    x, log_v = Tensor(m, requires_grad=True), Tensor(log_s, requires_grad=True)
    F.gaussian_kl(x, log_v, reduction="sum").backward()
    assert_close(x.grad.array, m, rtol=1e-12)
    assert_close(log_v.grad.array, (np.exp(log_s) - 1) / 2, rtol=1e-12)


def test_samples_have_the_moments_and_follow_the_seed():
    m, log_s = Tensor(np.full((20_000, 2), 3.0)), Tensor(np.full((20_000, 2), math.log(0.25)))
    minicnn.manual_seed(5)
    z = F.gaussian_sample(m, log_s).array
    assert_close(z.mean(axis=0), np.array([3.0, 3.0]), rtol=0.01)
    assert_close(z.std(axis=0), np.array([0.5, 0.5]), rtol=0.03)
    minicnn.manual_seed(5)
    assert np.array_equal(F.gaussian_sample(m, log_s).array, z)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.binary_cross_entropy(Tensor([0.5, 1.5]), [0.0, 1.0]),
            ArgumentError,
            "binary_cross_entropy: input is not between 0 and 1; seen 0.5..1.5; rule: 0 <= input <= 1; hint: from log",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(Tensor([[0.5]]), Tensor([0.0])),
            ShapeError,
            "binary_cross_entropy_with_logits: input and target have different shapes; seen input (1, 1), target (1,); "
            "rule: one shape, nothing is broadcast; hint: reshape target to the shape of input",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(Tensor([0.5]), np.array([1])),
            DTypeError,
            "binary_cross_entropy_with_logits: input and target have different dtypes; seen input float32, ",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(Tensor([0.5]), [1.0], reduction="max"),
            ArgumentError,
            "binary_cross_entropy_with_logits: reduction is not valid; seen reduction='max'; rule: 'mean', 'sum' or",
        ),
        (
            lambda: F.binary_cross_entropy(Tensor([0.5]), [1.0], weight=[1.0, 2.0]),
            ShapeError,
            "binary_cross_entropy: weight does not fit; seen weight (2,); rule: to (1,)",
        ),
        (
            lambda: F.gaussian_kl(Tensor([0.5]), Tensor([[1.0]])),
            ShapeError,
            "gaussian_kl: mean and log_variance have different shapes, or no axis; seen mean (1,), log_variance (1, 1)",
        ),
        (
            lambda: F.gaussian_sample(Tensor([[0.5]]), Tensor([[1.0]]), noise=0.0),
            ShapeError,
            "gaussian_sample: noise has another shape; seen noise (); rule: (1, 1)",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(text)
