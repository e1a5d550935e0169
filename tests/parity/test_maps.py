"""Grad-CAM equals what PyTorch's autograd gives by the paper's formula, on a residual network, at any layer."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

from minicnn.training.maps import grad_cam

torch = pytest.importorskip("torch")
from parity.test_models import images, pair  # noqa: E402


@pytest.mark.parametrize("layer", ["layer4", "layer2.0.conv1"])
def test_grad_cam_of_a_residual_network(rng, layer):
    mine, yours = pair(rng, width=8, num_classes=5)
    x, classes = images(rng, 3, 64), np.array([4, 0, 2])
    seen = []

    def see(module, given, output):
        seen.append(output)
        return output.clone()  # what follows may change it in place

    yours.eval().get_submodule(layer).register_forward_hook(see)
    scores = yours(torch.tensor(x))
    (gradient,) = torch.autograd.grad(scores[range(3), classes].sum(), seen[0])
    expected = torch.relu((gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1, keepdim=True))
    expected = torch.nn.functional.interpolate(expected, size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    assert_close(grad_cam(mine, x, layer, classes), expected.detach().numpy(), rtol=1e-4)
