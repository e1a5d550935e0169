"""Maps of networks that can only look at one corner; what is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import nn
from minicnn.errors import ArgumentError, DataError, GraphError, ShapeError
from minicnn.models import resnet18
from minicnn.training.maps import grad_cam, occlusion, overlay


class Corner(nn.Module):
    """Class 1 is as sure as the lower left quarter is bright; the network cannot see anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.conv.weight.array[:] = np.array([1, -1], np.float32)[:, None, None, None] / 9
        self.conv.bias.array[:] = 0

    def forward(self, x):
        y = self.conv(x)
        mean = y[:, :, 8:, :8].mean((2, 3))
        return mean @ minicnn.Tensor(np.array([[0, 4], [0, 0]], np.float32))


def said(images) -> float:
    """The probability of class 1."""
    return float(nn.functional.softmax(Corner()(minicnn.Tensor(images)), 1).detach().numpy()[0, 1])


BRIGHT = np.ones((2, 1, 16, 16), np.float32)
CORNER = np.zeros((16, 16), bool)
CORNER[8:, :8] = True


def test_occlusion_sees_the_corner_and_nothing_else():
    heat = occlusion(Corner(), BRIGHT, size=4, stride=2, classes=1)
    assert heat.shape == (2, 16, 16)
    assert heat.dtype == np.float32
    inner, outer = np.zeros_like(CORNER), np.ones_like(CORNER)
    inner[10:, :6], outer[3:, :13] = True, False  # a patch that touches neither the corner nor the convolution's rim
    assert heat[0][inner].min() > 0.01
    assert np.abs(heat[0][outer]).max() == 0
    assert_close(occlusion(Corner(), BRIGHT, size=4, stride=2, classes=0), -heat, rtol=1e-5, atol=1e-7)
    assert_close(occlusion(Corner(), BRIGHT, size=4, stride=2), heat)  # class 1 is what the network says
    assert heat[0, 15, 0] > 0  # the last place is at the edge
    falls = []
    for top, left in ((10, 2), (10, 0), (12, 2), (12, 0)):  # the four patches on the pixels 12..13, 2..3
        hidden = BRIGHT[:1].copy()
        hidden[:, :, top : top + 4, left : left + 4] = 0
        falls += [said(BRIGHT[:1]) - said(hidden)]
    assert_close(heat[0, 12:14, 2:4], np.full((2, 2), np.mean(falls), np.float32), rtol=1e-4)


@pytest.mark.parametrize("layer", ["conv", None])
def test_grad_cam_sees_bright_places_only(layer):
    """Its weights are one number a channel: the map is the channel's own picture, here a bright corner."""
    images = np.zeros((1, 1, 16, 16), np.float32)
    images[:, :, 8:, :8] = 1
    heat = grad_cam(Corner(), images, layer)[0]
    assert heat[CORNER].mean() > 20 * heat[~CORNER].mean()
    assert heat.max() == heat[11:15, 1:5].max()
    assert grad_cam(Corner(), images, layer, classes=0).max() == 0  # nothing speaks for class 0


def test_a_residual_network_by_the_name_of_any_layer_and_nothing_changes():
    minicnn.manual_seed(0)
    model = resnet18(num_classes=3, width=4, stem="small")
    x = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    model.layer1.freeze()
    model(minicnn.Tensor(x)).sum().backward()
    before, gradient = model.state_dict(), model.fc.weight.grad
    modes = [(module.training, module.frozen) for module in model.modules()]
    learns = [parameter.requires_grad for parameter in model.parameters()]
    maps = [grad_cam(model, x, layer) for layer in ("layer4", "layer2.0.conv1", "conv1", None)]
    assert all(heat.shape == (3, 32, 32) and heat.min() >= 0 and heat.max() > 0 for heat in maps)
    assert_close(maps[3], maps[0])  # the last map of a ResNet, before it is averaged
    assert_close(grad_cam(model, x[1:2], "layer4")[0], maps[0][1], rtol=1e-4)  # an image's map is its own
    occlusion(model, x, 16, 16)
    assert all((before[name] == value).all() for name, value in model.state_dict().items())
    assert model.fc.weight.grad is gradient
    assert [(module.training, module.frozen) for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == learns
    assert not any(module._hooks for module in model.modules())


def test_overlay():
    image = np.full((4, 5, 3), 100, np.uint8)
    heat = np.zeros((4, 5))
    heat[1, 2] = 3
    picture = overlay(image, heat, 0.5)
    assert picture.shape == (4, 5, 3)
    assert picture.dtype == np.uint8
    assert picture[1, 2].sum() > picture[0, 0].sum() + 150
    assert (overlay(image[..., 0], np.zeros((4, 5)), 0) == 100).all()
    assert (overlay(image, -heat) == overlay(image, 0 * heat)).all()


def test_bad_input():
    model = Corner()
    cases = [
        (lambda: grad_cam(model, BRIGHT[0]), ShapeError, "seen (1, 16, 16) float32"),
        (lambda: grad_cam(model, BRIGHT, "conf"), ArgumentError, "no layer is called 'conf'"),
        (lambda: grad_cam(model, BRIGHT, classes=2), ArgumentError, "2 classes"),
        (lambda: grad_cam(model, BRIGHT, classes=[0, 1, 1]), ArgumentError, "(3,) int64"),
        (lambda: grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), BRIGHT), ArgumentError, "occlusion needs"),
        (lambda: grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), BRIGHT, "1"), ArgumentError, "(2, 2)"),
        (lambda: occlusion(model, BRIGHT, 17), ArgumentError, "size=17, images 16x16"),
        (lambda: occlusion(model, BRIGHT, 4, 5), ArgumentError, "leaves gaps"),
        (lambda: overlay(np.zeros((4, 4)), np.zeros((4, 4))), ShapeError, "(4, 4) float64"),
        (lambda: overlay(np.zeros((4, 4), np.uint8), np.full((4, 4), np.nan)), DataError, "not finite"),
    ]
    for call, error, text in cases:
        with pytest.raises(error) as caught:
            call()
        assert text in str(caught.value)
    with minicnn.no_grad(), pytest.raises(GraphError, match="outside no_grad"):
        grad_cam(model, BRIGHT)
