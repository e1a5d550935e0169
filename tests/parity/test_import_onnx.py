"""ONNX files that PyTorch exports, imported, give its results: batch normalisations kept, and folded."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pytest
from compare import assert_close

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from parity.torch_resnet import resnet18  # noqa: E402

from minicnn import Tensor, models, no_grad  # noqa: E402
from minicnn.errors import WeightsError  # noqa: E402
from minicnn.models.importing import import_weights  # noqa: E402
from minicnn.models.verifying import verify_weights  # noqa: E402

KEPT = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}


def trained(rng):
    """A network with statistics as after training."""
    model = resnet18(width=8, num_classes=5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            if rng.random() < 0.7:  # equal biases are stored once, and named by Identity
                torch.nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


def export(model, path, images, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, torch.from_numpy(images), path, dynamo=False, **options)


@pytest.mark.parametrize("options", [{}, KEPT], ids=["folded", "kept"])
def test_exports_of_torch(tmp_path, rng, options):
    model = trained(rng)
    images = rng.standard_normal((2, 3, 64, 64)).astype(np.float32)
    export(model, tmp_path / "a.onnx", images, **options)
    with torch.no_grad():  # after the export, which changes running statistics in training mode
        expected = model.eval()(torch.from_numpy(images)).numpy()
    report = import_weights(tmp_path / "a.onnx", tmp_path / "a.h5")
    assert any("folded" in note for note in report.notes) == (not options)
    ours = models.resnet18(weights=tmp_path / "a.h5").eval()
    with no_grad():
        assert_close(ours(Tensor(images)).numpy(), expected, rtol=2e-5)


def test_outputs_are_compared_with_onnxruntime(tmp_path, rng):
    pytest.importorskip("onnxruntime")
    export(trained(rng), tmp_path / "a.onnx", np.zeros((1, 3, 64, 64), np.float32))
    import_weights(tmp_path / "a.onnx", tmp_path / "a.h5", input_size=64)
    found = verify_weights(tmp_path / "a.h5", tmp_path / "a.onnx", outputs=True)
    assert "outputs of onnxruntime for two images differ by" in found.outputs


@pytest.mark.parametrize("same", [True, False])
def test_outputs_are_compared_with_torchvision(tmp_path, rng, monkeypatch, same):
    """torchvision is played by our rebuild of it, once with a network of other results."""

    def build(num_classes, width):
        model = resnet18(num_classes=num_classes, width=width)
        model.maxpool = model.maxpool if same else torch.nn.AvgPool2d(3, 2, 1)
        return model

    torchvision = types.ModuleType("torchvision")
    torchvision.models = types.SimpleNamespace(resnet18=build)
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    torch.save({"state_dict": trained(rng).state_dict()}, tmp_path / "a.pth")
    import_weights(tmp_path / "a.pth", tmp_path / "a.h5", input_size=64)
    if same:
        found = verify_weights(tmp_path / "a.h5", tmp_path / "a.pth", outputs=True)
        assert "outputs of torchvision" in str(found)
        return
    with pytest.raises(WeightsError, match="other outputs than torchvision gives"):
        verify_weights(tmp_path / "a.h5", tmp_path / "a.pth", outputs=True)
