"""A checkpoint saved by PyTorch, imported, and fine-tuned on a folder of images: the losses are PyTorch's."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.models import import_weights, resnet18

torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "benchmarks"))
import first_epoch  # noqa: E402
from parity import torch_resnet  # noqa: E402


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(16):
            pixels = generator.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("optimizer", first_epoch.OPTIMIZERS)
def test_the_same_losses_in_float64(tmp_path, photos, optimizer, monkeypatch):
    monkeypatch.setattr(first_epoch, "BATCH", 8)
    torch.manual_seed(0)
    torch.save(torch_resnet.resnet18(num_classes=10, width=8).state_dict(), tmp_path / "mine.pth")
    import_weights(tmp_path / "mine.pth", tmp_path / "mine.h5")
    info = replace(minicnn.weights.describe(tmp_path / "mine.h5"), input_size=32, resize=None)
    loader = first_epoch.batches(photos, info.transforms())
    ours = resnet18(weights=tmp_path / "mine.h5", num_classes=2).double()
    theirs = torch_resnet.resnet18(num_classes=10, width=8)
    theirs.load_state_dict(torch.load(tmp_path / "mine.pth", weights_only=True))
    theirs.fc = torch.nn.Linear(64, 2)
    theirs.fc.load_state_dict({name: torch.from_numpy(p.detach().numpy()) for name, p in ours.fc.named_parameters()})
    losses = first_epoch.in_minicnn(ours, loader, optimizer)
    expected = first_epoch.in_torch(theirs.double(), loader, optimizer, torch.contiguous_format)
    assert len(losses) == 4
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    assert len({round(loss, 6) for loss in losses}) == 4  # it does learn
