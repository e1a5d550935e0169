"""ONNX files that PyTorch exports, imported, give its results: batch normalisations kept, and folded."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from compare import assert_close

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from parity.torch_resnet import resnet18  # noqa: E402

from minicnn import Tensor, models, no_grad  # noqa: E402
from minicnn.models.importing import import_weights  # noqa: E402

KEPT = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}


@pytest.mark.parametrize("options", [{}, KEPT], ids=["folded", "kept"])
def test_exports_of_torch(tmp_path, rng, options):
    model = resnet18(width=8, num_classes=5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            if module is not model.bn1:  # equal biases are stored once, and named by Identity
                torch.nn.init.normal_(module.bias, 0, 0.2) if rng.random() < 0.7 else None
    images = rng.standard_normal((2, 3, 64, 64)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), torch.from_numpy(images), tmp_path / "a.onnx", dynamo=False, **options)
    with torch.no_grad():  # after the export, which changes running statistics in training mode
        expected = model.eval()(torch.from_numpy(images)).numpy()
    report = import_weights(tmp_path / "a.onnx", tmp_path / "a.h5")
    assert any("folded" in note for note in report.notes) == (not options)
    ours = models.resnet18(weights=tmp_path / "a.h5").eval()
    with no_grad():
        assert_close(ours(Tensor(images)).numpy(), expected, rtol=2e-5)
