"""Maps and the sweep of the learning rate where the network is on the GPU: the same as on the CPU."""

from __future__ import annotations

import numpy as np
from compare import assert_close

import minicnn
from minicnn import nn, optim
from minicnn.data import ArrayDataset, DataLoader
from minicnn.training import find_learning_rate, grad_cam, occlusion


def test_maps_and_a_sweep(gpu):
    minicnn.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    x = np.random.default_rng(0).normal(size=(2, 1, 6, 6)).astype(np.float32)
    loader = DataLoader(ArrayDataset(np.repeat(x, 8, 0), np.zeros(16, int), list("abc")), 4, seed=0)
    results = []
    for device in ("cpu", "cuda"):
        model.to(device)
        before = model.state_dict()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        found = find_learning_rate(model, optimizer, nn.CrossEntropyLoss(), loader, start=1e-3, end=0.5, steps=12)
        results.append((grad_cam(model, x), occlusion(model, x, 3, 3), found.losses))
        assert model[0].weight.device == device
        assert all((before[name] == value).all() for name, value in model.state_dict().items())
    for here, there in zip(*results, strict=True):
        assert_close(there, here, rtol=1e-5)
