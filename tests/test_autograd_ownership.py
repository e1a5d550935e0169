"""Gradients that nobody else holds are kept without a copy; all others are copied."""

from __future__ import annotations

import numpy as np

import minicnn
from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.ops.conv2d import formula


def owned(monkeypatch, run):
    seen = []
    add_grad = Tensor.add_grad

    def note(self, gradient, own=False):
        seen.append(own)
        return add_grad(self, gradient, own)

    monkeypatch.setattr(Tensor, "add_grad", note)
    run()
    return seen


def test_gradients_of_layers_are_not_copied(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    assert all(owned(monkeypatch, lambda: model(minicnn.randn(2, 3, 8, 8)).sum().backward()))


def test_a_gradient_that_passes_through_is_copied(monkeypatch):
    a, b = (Tensor(np.ones(3, np.float32), requires_grad=True) for _ in range(2))
    dy = np.arange(3, dtype=np.float32)
    assert not any(owned(monkeypatch, lambda: (a + b).backward(dy)))
    a.grad.array[...] = 7
    np.testing.assert_array_equal(b.grad.array, [0, 1, 2])
    np.testing.assert_array_equal(dy, [0, 1, 2])


def test_a_kernel_that_returns_the_same_array_again_and_again():
    buffer = np.empty((2, 1, 3, 3), np.float64)

    def grad_weight(dy, x, **options):
        buffer[...] = formula.grad_weight(dy, x, **options)
        return buffer

    minicnn.register_algorithm("conv2d", "static", grad_weight=grad_weight)
    try:
        layers = [nn.Conv2d(1, 2, 3).double() for _ in range(2)]
        with minicnn.algorithm(conv2d="static"):
            for scale, layer in enumerate(layers, 1):
                layer(Tensor(np.full((1, 1, 4, 4), float(scale)))).sum().backward()
        assert layers[0].weight.grad.array[0, 0, 0, 0] == 4
        assert layers[1].weight.grad.array[0, 0, 0, 0] == 8
    finally:
        minicnn.unregister_algorithm("conv2d", "static")
