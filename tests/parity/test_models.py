"""ResNet against torchvision's (`torch_resnet.py`): the same weights give the same logits, gradients and training."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import models, nn, optim
from minicnn.autograd import Tensor
from minicnn.ops import max_pool2d

torch = pytest.importorskip("torch")
from parity import torch_resnet  # noqa: E402


def pair(rng, dtype=np.float32, name="resnet18", **arguments):
    """Both networks with the same random state: PyTorch's own, with batch norms that are not identities."""
    torch.manual_seed(int(rng.integers(2**31)))
    yours = getattr(torch_resnet, name)(**arguments)
    state = {}
    for key, tensor in yours.state_dict().items():
        state[key] = tensor.numpy().copy()
        if tensor.ndim == 1 and "fc" not in key:
            positive = key.endswith(("weight", "running_var"))
            drawn = rng.uniform(0.5, 1.5, tensor.shape) if positive else 0.2 * rng.standard_normal(tensor.shape)
            state[key] = drawn.astype(np.float32)
    yours.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    mine = getattr(models, name)(**arguments)
    assert mine.load_state_dict(state) == ([], [])
    return mine.to_dtype(dtype), yours.to(torch.float64 if dtype == np.float64 else torch.float32)


def images(rng, n, size, dtype=np.float32):
    return rng.standard_normal((n, 3, size, size)).astype(dtype)


def relative(ours, theirs):
    """Largest difference beside the largest value; NaN where either has one; 0 between zeros."""
    theirs = theirs.detach().numpy().astype(np.float64)
    difference = np.abs(ours.astype(np.float64) - theirs).max()
    return float(difference and difference / np.abs(theirs).max())


def step(mine, yours, x, labels):
    """One pass of each, forward and backward; the worst relative difference of logits, and by name of gradients."""
    y, expected = mine(Tensor(x)), yours(torch.tensor(x))
    nn.functional.cross_entropy(y, labels).backward()
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    grads = {name: p.grad for name, p in yours.named_parameters()}
    assert [name for name, _ in mine.named_parameters()] == list(grads)
    return relative(y.array, expected), {n: relative(p.grad.array, grads[n]) for n, p in mine.named_parameters()}


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
@pytest.mark.parametrize("arguments", [{}, {"num_classes": 7, "width": 6, "stem": "small"}], ids=["plain", "other"])
def test_names_and_shapes(name, arguments):
    mine, yours = getattr(models, name)(**arguments), getattr(torch_resnet, name)(**arguments)
    expected = {key: tuple(value.shape) for key, value in yours.state_dict().items()}
    assert {key: value.shape for key, value in mine.state_dict().items()} == expected
    assert [key for key, _ in mine.named_parameters()] == [key for key, _ in yours.named_parameters()]


# ---- at full width, float32 -----------------------------------------------------------------------------------------


def test_resnet18_logits_at_full_width(rng):
    """1,000 classes, width 64: within 1e-4 of the largest logit, in both modes; running statistics too."""
    mine, yours = pair(rng)
    x = images(rng, 4, 64)
    for training in (False, True):
        with torch.no_grad(), minicnn.no_grad():
            y, expected = mine.train(training)(Tensor(x)), yours.train(training)(torch.tensor(x))
        assert relative(y.array, expected) < 1e-4
    for (_, ours), theirs in zip(mine.named_buffers(), yours.buffers(), strict=True):
        assert_close(ours.array, theirs.numpy(), rtol=1e-4)


def corners(mine, yours):
    """Two lists that fill up in the next pass: which way each ReLU and each max pooling turned, in both networks."""
    ways = [], []
    for model, seen, kinds in ((mine, ways[0], nn), (yours, ways[1], torch.nn)):
        array = (lambda t: t.array) if model is mine else (lambda t: t.detach().numpy())
        for name, module in model.named_modules():
            fused = model is mine and name.split(".")[-1] in ("bn1", "bn2")  # batch norm and ReLU as one operation
            if fused or (model is yours and isinstance(module, kinds.ReLU)):
                module.register_forward_hook(lambda _, __, y, s=seen, a=array: s.append(a(y) > 0))
            if isinstance(module, kinds.MaxPool2d):
                pool = {"kernel_size": 3, "stride": 2, "padding": 1}
                module.register_forward_hook(
                    lambda _, x, __, s=seen, a=array, p=pool: s.append(max_pool2d.forward(a(x[0]), **p)[1])
                )
    return ways


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_resnet18_gradients_at_full_width(rng, training):
    """All 62 within 1e-3, wherever both networks stand on the same side of every corner.

    Of half a million values before a ReLU, some lie so near zero that rounding decides their sign; then the gradients
    of the two packages differ by the share of that value, rightly. Such draws are drawn again.
    """
    for _ in range(12):
        mine, yours = pair(rng)
        ways = corners(mine.train(training), yours.train(training))
        logits, gradients = step(mine, yours, images(rng, 2, 64), rng.integers(0, 1000, 2))
        assert logits < 1e-4
        if all(map(np.array_equal, *ways)):
            break
    else:
        pytest.fail("rounding turned a corner in each of 12 draws: that is more than chance")
    assert len(ways[0]) == len(ways[1]) == 18
    assert len(gradients) == 62
    assert {name: error for name, error in gradients.items() if not error < 1e-3} == {}


# ---- narrow, float64 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("stem", "size"), [("imagenet", 64), ("imagenet", 75), ("small", 33)])
def test_narrow_resnet18(rng, stem, size, training):
    """Width 8: all gradients within 1e-8, odd image sizes too."""
    mine, yours = pair(rng, np.float64, num_classes=5, width=8, stem=stem)
    mine.train(training)
    yours.train(training)
    logits, gradients = step(mine, yours, images(rng, 3, size, np.float64), rng.integers(0, 5, 3))
    assert logits < 1e-10
    assert {name: error for name, error in gradients.items() if not error < 1e-8} == {}


def test_narrow_resnet34(rng):
    mine, yours = pair(rng, np.float64, "resnet34", num_classes=3, width=4)
    logits, gradients = step(mine, yours, images(rng, 4, 64, np.float64), rng.integers(0, 3, 4))
    assert logits < 1e-10
    assert {name: error for name, error in gradients.items() if not error < 1e-8} == {}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-3}),
        ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
        ("Adam", {"lr": 1e-3, "weight_decay": 1e-2, "eps": 1e-4}),
    ],
    ids=["momentum", "nesterov", "Adam"],
)
def test_training_stays_equal(rng, kind, options):
    """Several steps in float64, each on new images: losses, parameters and running statistics stay together."""
    mine, yours = pair(rng, np.float64, num_classes=4, width=8, stem="small")
    ours, theirs = (
        getattr(optim, kind)(mine.parameters(), **options),
        getattr(torch.optim, kind)(yours.parameters(), **options),
    )
    for _ in range(4):
        x, labels = images(rng, 6, 32, np.float64), rng.integers(0, 4, 6)
        ours.zero_grad()
        theirs.zero_grad()
        loss = nn.functional.cross_entropy(mine(Tensor(x)), labels)
        expected = torch.nn.functional.cross_entropy(yours(torch.tensor(x)), torch.tensor(labels))
        assert abs(loss.item() - expected.item()) < 1e-8
        loss.backward()
        expected.backward()
        ours.step()
        theirs.step()
    state = yours.state_dict()
    for name, value in mine.state_dict().items():
        assert relative(value, state[name]) < 1e-7, name


def test_frozen_features_stay_equal(rng):
    """Feature extraction: in PyTorch, a backbone in evaluation mode without gradients; here, `freeze`."""
    mine, yours = pair(rng, np.float64, num_classes=4, width=4, stem="small")
    mine.freeze()
    mine.fc.unfreeze()
    yours.eval()
    yours.requires_grad_(False)
    yours.fc.requires_grad_(True)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    ours, theirs = optim.SGD(mine.parameters(), **settings), torch.optim.SGD(yours.parameters(), **settings)
    before = {name: value.tobytes() for name, value in mine.state_dict().items()}
    for _ in range(5):
        x, labels = images(rng, 5, 32, np.float64), rng.integers(0, 4, 5)
        ours.zero_grad()
        theirs.zero_grad()
        nn.functional.cross_entropy(mine.train()(Tensor(x)), labels).backward()
        torch.nn.functional.cross_entropy(yours(torch.tensor(x)), torch.tensor(labels)).backward()
        ours.step()
        theirs.step()
    state = yours.state_dict()
    for name, value in mine.state_dict().items():
        assert relative(value, state[name]) < 1e-10, name
        assert (value.tobytes() == before[name]) == (not name.startswith("fc."))


def test_small_network_of_the_documents(rng):
    """System S4, as printed, in PyTorch."""

    class CNN(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 32, 3, padding=1)
            self.conv2 = torch.nn.Conv2d(32, 64, 3, padding=1)
            self.pool = torch.nn.MaxPool2d(2, 2)
            self.fc1 = torch.nn.Linear(64 * 4 * 4, 512)
            self.fc2 = torch.nn.Linear(512, 10)

        def forward(self, x):
            x = self.pool(torch.relu(self.conv1(x)))
            x = self.pool(torch.relu(self.conv2(x)))
            x = x.view(-1, 64 * 4 * 4)
            return self.fc2(torch.relu(self.fc1(x)))

    mine, yours = models.cnn(10, 16).double(), CNN().double()
    mine.load_state_dict({name: value.numpy() for name, value in yours.state_dict().items()})
    logits, gradients = step(mine, yours, images(rng, 3, 16, np.float64), rng.integers(0, 10, 3))
    assert logits < 1e-10
    assert max(gradients.values()) < 1e-10
