"""ResNet-50, VGG, AlexNet and Inception-v3 against PyTorch (`torch_networks.py`): names, results, one training step."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.autograd import Tensor

torch = pytest.importorskip("torch")
from parity import torch_networks  # noqa: E402
from parity.test_models import relative  # noqa: E402

NAMES = ("resnet50", "vgg11", "vgg11_bn", "vgg16", "vgg16_bn", "alexnet", "inception_v3")
# Narrow networks and small images: arguments, size of the images in evaluation and in training.
CASES = {
    "resnet50": ({"width": 4}, 65, 65),
    "vgg11": ({"width": 2}, 33, 32),
    "vgg16_bn": ({"width": 2}, 47, 47),
    "alexnet": ({"width": 2}, 70, 63),
    "inception_v3": ({"width": 2, "transform_input": True}, 107, 299),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_at_full_width(name):
    """Neither network is drawn: PyTorch's is on its device without memory."""
    with nn.init.uninitialized():
        mine = getattr(models, name)()
    with torch.device("meta"):
        yours = torch_networks.build(name)
    parameters = {key: tuple(value.shape) for key, value in yours.named_parameters()}
    assert {key: value.shape for key, value in mine.named_parameters()} == parameters
    assert [key for key, _ in mine.named_parameters()] == list(parameters)
    state = {key: tuple(value.shape) for key, value in yours.state_dict().items()}
    buffers = {key: value.shape for key, value in mine.named_buffers()}
    assert {key: state[key] for key in state if key not in parameters} == buffers


def pair(rng, name, dtype):
    """Both networks with one state, far from the initial one; dropout off, since the packages draw differently."""
    arguments = {"num_classes": 3, **CASES[name][0]}
    torch.manual_seed(int(rng.integers(2**31)))
    yours, mine = torch_networks.build(name, **arguments), getattr(models, name)(**arguments)
    state = {}
    for key, tensor in yours.state_dict().items():
        array = tensor.numpy().copy()
        if tensor.ndim == 1 and "fc" not in key and "classifier" not in key:
            positive = key.endswith(("weight", "running_var"))
            array = rng.uniform(0.5, 1.5, array.shape) if positive else 0.2 * rng.standard_normal(array.shape)
        elif tensor.ndim == 4:
            array = rng.standard_normal(array.shape) * np.sqrt(2 / array[0].size)
        state[key] = array.astype(tensor.numpy().dtype)
    yours.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    assert mine.load_state_dict(state) == ([], [])
    for module in mine.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for module in yours.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return mine.to_dtype(dtype), yours.to(torch.float64 if dtype == np.float64 else torch.float32)


@pytest.mark.parametrize("name", CASES)
def test_results_in_evaluation(rng, name):
    """In float32, by the algorithms that users get."""
    mine, yours = pair(rng, name, np.float32)
    size = CASES[name][1]
    x = rng.standard_normal((2, 3, size, size)).astype(np.float32)
    with torch.no_grad(), minicnn.no_grad():
        assert relative(mine.eval()(Tensor(x)).array, yours.eval()(torch.tensor(x))) < 1e-4


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_training(rng, name):
    """In float64: logits, all gradients and running statistics; for Inception with its second head."""
    mine, yours = pair(rng, name, np.float64)
    size = CASES[name][2]
    x, labels = rng.standard_normal((3, 3, size, size)), rng.integers(0, 3, 3)
    ours, theirs = mine.train()(Tensor(x)), yours.train()(torch.tensor(x))
    if name == "inception_v3":
        assert isinstance(ours, models.InceptionOutputs)
    else:
        ours, theirs = (ours,), (theirs,)
    losses = []
    for y, expected, share in zip(ours, theirs, (1.0, 0.4), strict=False):
        assert relative(y.array, expected) < 1e-9
        losses.append(
            (
                nn.functional.cross_entropy(y, labels) * share,
                torch.nn.functional.cross_entropy(expected, torch.tensor(labels)) * share,
            )
        )
    assert len(losses) == 1 + (name == "inception_v3")
    sum((loss for loss, _ in losses[1:]), losses[0][0]).backward()
    sum((loss for _, loss in losses[1:]), losses[0][1]).backward()
    gradients = {key: p.grad for key, p in yours.named_parameters()}
    # A bias before a batch norm has the gradient zero: what rounding leaves of it is measured against the largest one.
    floor = 1e-6 * max(g.abs().max().item() for g in gradients.values())
    for key, p in mine.named_parameters():
        expected = gradients[key].numpy()
        error = np.abs(p.grad.array - expected).max() / max(np.abs(expected).max(), floor)
        assert error < 1e-7, key
    buffers = dict(yours.named_buffers())
    assert {key: relative(b.array, buffers[key]) < 1e-9 for key, b in mine.named_buffers()} == dict.fromkeys(
        buffers, True
    )
