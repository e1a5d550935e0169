"""Random numbers of whole networks: explained totals equal the engine's values; nothing of the network changes."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.backends.random import generator
from minicnn.models import ConvVAE, resnet18
from minicnn.study.explain import explain_chain, explain_recording, recorded

PICKS = 100  # in each mode


@pytest.fixture(scope="module")
def network():
    minicnn.manual_seed(0)
    return resnet18(num_classes=3, width=4, stem="imagenet")


def images(shape=(2, 3, 32, 32), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_random_picks_in_a_narrow_resnet(network, training):
    network.train(training)
    run, rng = recorded(network, images(), np.array([0, 2])), np.random.default_rng(int(training))
    passes = [(step, name) for step in run.steps for name in ("y", "grad y", *step.gradients())]
    seen = set()
    for _ in range(PICKS):
        step, name = passes[int(rng.integers(len(passes)))]
        array = {"y": step.output.array, "grad y": step.dy}.get(name)
        array = step.gradients()[name] if array is None else array
        index = tuple(int(rng.integers(size)) for size in array.shape)
        grad = {"y": None, "grad y": "y"}.get(name, name)
        found = explain_recording(run, at=index, grad=grad, step=step)
        assert found.agrees
        assert found.engine == array[index]
        assert abs(found.total - array[index]) <= 1e-4 * (np.abs(array).max() + 1e-6), found.title
        seen.add((step.operation.name, name))
    assert len(seen) >= 12


class Scaled(nn.Module):
    """A loss with a parameter, against targets that want a gradient."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, output, target):
        return ((output * self.scale - target) ** 2).mean()


def test_nothing_else_changes():
    minicnn.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 2))
    network[0].weight.requires_grad = False
    x, target = (Tensor(images(shape), requires_grad=True) for shape in ((2, 3, 8, 8), (2, 2)))
    loss = Scaled()
    loss(network(x), target).backward()  # so that there are gradients, and moving statistics

    def state():
        tensors = [*network.parameters(), *loss.parameters(), x, target]
        grads = [None if t.grad is None else (t.grad, t.grad.array.tobytes()) for t in tensors]
        arrays = [array.tobytes() for array in network.state_dict().values()]
        modes = [(module.training, list(module._hooks), list(module._pre_hooks)) for module in network.modules()]
        return arrays, grads, [t.requires_grad for t in tensors], modes, generator().bit_generator.state

    before = state()
    first = network.explain(x, target, layer="2", loss_function=loss)
    assert state() == before
    assert network.explain(x, target, layer="2", loss_function=loss).total == first.total  # the same dropout
    assert network.explain(x, target, layer="0", grad="w", loss_function=loss).agrees  # of a frozen weight
    assert state() == before
    with pytest.raises(ZeroDivisionError):
        network.explain(x, target, layer="0", loss_function=lambda output, _: 1 / 0)
    assert state() == before


def test_the_gradient_of_a_sum_of_users(network):
    run = recorded(network.eval(), images(), np.array([0, 2]))
    found = explain_recording(run, "layer1.0.bn2", grad="y")
    assert [term.block for term in found.terms] == ["layer1.1.conv1: conv2d", "layer1.1.bn2: batch_norm_relu"]
    assert found.engine == run.of_layer("layer1.0.bn2")[-1].dy[found.index]
    assert [part.title for part in found.parts] == [
        f"layer1.1.conv1: conv2d: dx{found.place[2:]}",
        f"layer1.1.bn2: batch_norm_relu: dresidual{found.place[2:]}",
    ]
    whole = explain_recording(run, "images", at=(0, 3, 5))
    assert whole.engine == run.images.grad.array[0, 0, 3, 5]
    assert (whole.title, len(whole.terms) > 4) == ("conv1: conv2d: dx[0,0,3,5]", True)  # of its only user
    bias = explain_recording(run, "fc.bias", at=(1,))
    assert (bias.engine, bias.title) == (run.gradients["fc.bias"][1], "fc: linear: db[1]")
    assert bias.notes[-1] == "fc.bias was used by fc (linear, b) alone: this is its whole gradient"
    loss = explain_recording(run, "loss", grad="y")
    assert (loss.total, len(loss.terms), str(loss.terms[0])) == (1.0, 1, "dL/dL")
    assert loss.formula.text == "dy = 1"


def test_terms_and_parts_have_names(network):
    run = recorded(network.train(), images(), np.array([0, 2]))
    found = explain_recording(run, "layer1.0.conv1", at=(0, 0, 0))
    assert {factor.source for term in found.terms for factor in term.factors} == {
        "output of maxpool",
        "layer1.0.conv1.weight",
    }
    assert found.in_padding == 5 * 4  # the corner: 5 of 9 taps in each of 4 channels
    assert [t.factors[0].note for t in found.terms][:4] == ["padding"] * 3 + ["padding"]
    assert_close(found.partial_sums[-1], found.total)
    kinds = explain_recording(run, "layer1.0.bn1", grad="x")
    assert [term.block for term in kinds.terms] == ["direct", "through mean", "through variance"]
    assert [part.symbol for part in kinds.parts] == ["mean(γ·dz)", "mean(γ·dz·x_hat)", "mean", "var"]
    assert len(kinds.part("mean").terms) == 2 * 8 * 8
    pixel = explain_recording(run, "layer1.0.conv1", at=(0, 0, 0), grad="x")
    assert len(pixel.terms) == 4 * 4  # a corner pixel stands in 4 windows of 4 channels
    assert explain_recording(run, "layer1.0.bn2", at=(1, 2, 3)).part("z").terms.blocks[-1].name == "residual"


@pytest.mark.parametrize("training", [False, True])
def test_a_chain_follows_one_path(network, training):
    run = recorded(network.train(training), images(), np.array([0, 2]))
    chain = explain_chain(run)
    assert (chain.links[0].layer, chain.links[-1].operation) == ("conv1", "cross_entropy")
    assert chain.whole == run.images.grad.array[chain.index] != 0
    assert_close(chain.product, np.prod([link.local for link in chain.links]))
    for link, after in zip(chain.links, chain.links[1:], strict=False):
        assert link.target == after.source
        assert link.gradient == float(run.steps[link.step].dy[link.target])
        assert link.gradient == after.whole or len(run.users(run.steps[link.step].output)) > 1


def test_where_there_is_one_path_only_it_carries_the_whole_gradient():
    minicnn.manual_seed(0)
    line = nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 1), nn.Sigmoid())
    run = recorded(line, np.ones((1, 1)).astype(np.float32), np.zeros(1), lambda y, _: y.sum())
    chain = explain_chain(run, (0, 0))
    assert [link.operation for link in chain.links] == ["linear", "tanh", "linear", "sigmoid", "sum"]
    w, a = (line[k].weight.array.item() for k in (0, 2)), run.steps[1].output.array.item()
    y = run.output.array.item()
    first, second = w
    assert_close(np.array([link.local for link in chain.links]), [first, 1 - a * a, second, y * (1 - y), 1], rtol=1e-5)
    assert chain.share == pytest.approx(1, rel=1e-5)
    assert "this path carries 100 % of the gradient" in str(chain)
    assert len(ElementTree.fromstring(chain._repr_html_()).findall(".//tr")) == 1 + len(chain.links)
    assert len(explain_chain(run, (0, 0), "1").links) == 3


def test_a_chain_from_a_pixel_that_nothing_uses():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, stride=2))
    run = recorded(model, np.ones((1, 1, 3, 3), np.float32), np.zeros(1), lambda y, _: y.sum())
    chain = explain_chain(run, (0, 1, 1))
    assert (chain.links, chain.whole) == ([], 0)
    assert "no path has a gradient" in str(chain)
    assert explain_recording(run, "images", at=(0, 1, 1)).total == 0


def test_the_loss_of_a_variational_autoencoder_is_a_chain_of_small_operations():
    minicnn.manual_seed(0)
    model = ConvVAE(image_size=8, width=2, latent=2).eval()
    run = recorded(model, np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32))
    kinds = {step.operation.name for step in run.steps if step.layer == "loss"}
    assert kinds >= {"exp", "log", "sum", "mean", "mul", "add"}
    for step in run.steps:
        for name in (None, *(("y", *step.gradients()) if step.dy is not None else ())):
            assert explain_recording(run, step=step, grad=name).agrees
    found = explain_recording(run, "loss")
    sources = {factor.source for term in found.terms for factor in term.factors}
    last = {step.output: step for step in run.steps}
    wanted = [last[tensor] for tensor in run.steps[-1].inputs]
    assert sources == {f"output of loss ({step.operation.name}, step {step.number})" for step in wanted}
    assert {term.block.split(":")[0] for term in found.terms} == {"a", "b"}  # reconstruction and KL


def test_a_named_algorithm_stays_named():
    minicnn.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    with minicnn.algorithm(conv2d="im2col"):
        run = recorded(model, images())
    assert explain_recording(run).algorithm == "im2col"
