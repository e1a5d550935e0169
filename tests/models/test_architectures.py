"""All networks: published counts; weights files, with another head, other channels and sizes; fused; trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import models, nn, optim, weights
from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError, ShapeError, WeightsError
from minicnn.weights.adaptation import adapted, fit_kernels

PARAMETERS = {  # with 1,000 classes, as torchvision's documentation says
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "alexnet": 61_100_840,
    "inception_v3": 27_161_264,
}
# Of each architecture that has code of its own: arguments, and the least height and width that it takes.
NETWORKS = {
    "resnet18": ({"width": 2}, 1),
    "resnet50": ({"width": 2}, 1),
    "vgg11_bn": ({"width": 2}, 32),
    "alexnet": ({"width": 2}, 63),
    "inception_v3": ({"width": 2}, 75),
    "cnn": ({"image_size": 8}, None),
}
GENERATIVE = {  # without classes: see test_vae; arguments that have a 7 and a 2
    "vae": {"in_channels": 2, "image_size": 5, "hidden1": 6, "hidden2": 4, "latent": 7},
    "conv_vae": {"in_channels": 2, "image_size": 8, "width": 6, "latent": 7},
}
FILES = ("resnet18", "vgg11_bn", "alexnet", "cnn")  # Inception's: see test_inception
KINDS = (nn.Conv2d, nn.Linear)


def size_of(name):
    """Images that every one of these takes, as small as may be."""
    return {"resnet18": 32, "resnet50": 32, "cnn": 8}.get(name) or NETWORKS[name][1]


def images(name, channels=3, n=2, seed=0):
    size = size_of(name)
    return Tensor(np.random.default_rng(seed).standard_normal((n, channels, size, size)).astype(np.float32))


def logits(model, x):
    with no_grad():
        return model.eval()(x).array


@pytest.fixture(scope="module", params=NETWORKS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    """A network of three classes with lively statistics."""
    minicnn.manual_seed(1)
    rng = np.random.default_rng(2)
    model = models.MODELS[name](3, **NETWORKS[name][0])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.array[...] = rng.normal(0, 0.1, module.num_features)
            module.running_var.array[...] = rng.uniform(0.5, 1.5, module.num_features)
    return model


@pytest.fixture(scope="module")
def file(name, model, tmp_path_factory):
    """It, in a file."""
    size = size_of(name)
    arguments = {"num_classes": 3, **NETWORKS[name][0]}
    info = weights.WeightsInfo(name, arguments, list("abc"), input_size=size, resize=2 * size)
    path = tmp_path_factory.mktemp(name) / "weights.h5"
    weights.save(path, model.state_dict(), info)
    return path


# ---- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", PARAMETERS)
def test_published_counts(published):
    """Nothing is drawn, so that the largest, of half a gigabyte, takes no time and no memory."""
    with nn.init.uninitialized():
        model = models.MODELS[published]()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[published]
    layers = [layer for layer in model.modules() if isinstance(layer, KINDS)]
    assert layers[-1].out_features == 1000
    assert len(layers) == {
        "resnet18": 21, "resnet34": 37, "resnet50": 54, "vgg11": 11, "vgg11_bn": 11, "vgg16": 16, "vgg16_bn": 16,
        "alexnet": 8, "inception_v3": 98,
    }[published]  # fmt: skip


def test_every_architecture_guards_its_files():
    """What a file must hold before a network is built from its arguments: weights that the network has."""
    assert set(models.MODELS) == {*PARAMETERS, "cnn", *GENERATIVE} == set(models.pretrained.LARGEST)
    for each, largest in models.pretrained.LARGEST.items():
        arguments = {"num_classes": 7, "in_channels": 2, **({} if each == "cnn" else {"width": 6})}
        arguments = GENERATIVE.get(each, arguments)
        with nn.init.uninitialized():
            shapes = {key: p.shape for key, p in models.MODELS[each](**arguments).named_parameters()}
        found = largest(**arguments)
        assert {key: shapes[key] for key in found} == found
        assert 7 in {size for shape in found.values() for size in shape}
        assert {2, 2 * 5 * 5} & {size for shape in found.values() for size in shape}


def test_what_is_not_drawn_is_drawn_again_outside():
    minicnn.manual_seed(3)
    first = models.cnn(2, 4).state_dict()
    minicnn.manual_seed(3)
    with nn.init.uninitialized():
        models.cnn(2, 4)
    second = models.cnn(2, 4).state_dict()
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_the_least_size_of_images(name):
    least = NETWORKS[name][1]
    if least in (None, 1):
        return
    model = models.MODELS[name](3, **NETWORKS[name][0]).eval()
    x = np.zeros((1, 3, least, least + 2), np.float32)
    assert model(Tensor(x)).shape == (1, 3)
    with pytest.raises(ShapeError) as caught:
        model(Tensor(x[:, :, 1:]))
    assert f"the images are too small; seen x (1, 3, {least - 1}, {least + 2}); rule: height and width of at le" in str(
        caught.value
    )
    with pytest.raises(ArgumentError, match=rf"^{name}: input_size is not valid; .*rule: a whole number, {least} or m"):
        models.MODELS[name](input_size=least - 1)


# ---- files: the head, the channels, the size ------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES, indirect=True)
def test_another_head(name, file):
    model = models.MODELS[name](weights=file, num_classes=5)
    state, info = weights.read(file)
    heads = [f"{head}.{kind}" for head in model.heads for kind in ("weight", "bias")]
    for key, value in model.state_dict().items():
        assert value.shape[:1] == (5,) if key in heads else np.array_equal(value, state[key])
    assert sorted(key for key, *_ in model.load_report.replaced) == sorted(heads)
    assert model.load_report.adapted == []
    assert model.weights_info == info


@pytest.mark.parametrize("name", FILES, indirect=True)
def test_grey_images(name, file, model, tmp_path):
    """As the network answers to the grey image in each channel; the file that is saved knows it."""
    build = models.MODELS[name]
    grey = build(weights=file, in_channels=1)
    x = images(name, channels=1)
    expected = logits(model, Tensor(np.repeat(x.array, 3, axis=1)))
    assert_close(logits(grey, x), expected, rtol=1e-4)
    assert len(grey.load_report.adapted) == 1
    assert str(grey.load_report).splitlines()[1].endswith("; kernels summed over the channels)")
    info = grey.weights_info
    assert (info.arguments["in_channels"], info.channels, len(info.mean)) == (1, "L", 1)
    assert info.transforms()(np.zeros((9, 12, 3), np.uint8)).shape == x.shape[1:]
    weights.save(tmp_path / "grey.h5", grey.state_dict(), info)
    again = build(weights=tmp_path / "grey.h5")
    assert again.load_report.adapted == []
    assert np.array_equal(logits(again, x), logits(grey, x))


def test_kernels_for_other_channels():
    w = np.random.default_rng(0).standard_normal((4, 3, 2, 5)).astype(np.float32)
    assert fit_kernels(w, 3) is w
    assert_close(fit_kernels(w, 1)[:, 0], w[:, 0] + w[:, 1] + w[:, 2], rtol=1e-6)
    five = fit_kernels(w, 5)
    assert five.dtype == np.float32
    for i, c in enumerate([0, 1, 2, 0, 1]):
        assert_close(five[:, i], w[:, c] * np.float32(0.6), rtol=1e-6)
    assert_close(fit_kernels(w[:, :1], 3).sum(axis=1), w[:, 0], rtol=1e-6)


def test_what_a_file_says_of_other_channels_and_sizes():
    info = weights.WeightsInfo("resnet18", input_size=224, resize=256, mean=(0.1, 0.2, 0.6), std=(0.2, 0.4, 0.3))
    assert adapted(info, 3, 224) == info
    grey = adapted(info, 1, 112)
    assert (grey.input_size, grey.resize, grey.channels) == (112, 128, "L")
    assert_close(np.array([*grey.mean, *grey.std]), np.array([0.3, 0.3]))
    assert adapted(info, 4).mean == (0.1, 0.2, 0.6, 0.1)
    with pytest.raises(ArgumentError, match=r"no transform makes these channels of an image; .*in_channels=4"):
        adapted(info, 4).transforms()
    assert adapted(replace(info, resize=None), input_size=64).resize is None
    back = adapted(grey, 3)
    assert (back.channels, back.arguments) == ("RGB", {"in_channels": 3})


@pytest.mark.parametrize("name", FILES, indirect=True)
def test_other_channels_fit_only_the_first_convolution(file, name):
    """A network of another width is still refused, with other channels too."""
    with pytest.raises(WeightsError, match=r"the weights do not fit the network|no name in the file matches"):
        models.MODELS[name](weights=file, in_channels=1, **({"image_size": 12} if name == "cnn" else {"width": 4}))


@pytest.mark.parametrize("name", ["vgg11_bn", "alexnet"], indirect=True)
@pytest.mark.parametrize("claim", [{"in_channels": 60_000}, {"num_classes": 60_000}, {"in_channels": True}])
def test_arguments_that_the_file_does_not_hold(file, name, claim, tmp_path):
    state, info = weights.read(file)
    weights.save(tmp_path / "claim.h5", state, replace(info, arguments={**info.arguments, **claim}))
    with pytest.raises(WeightsError, match=r"the file's arguments (do not fit its weights|are not those of)"):
        models.MODELS[name](weights=tmp_path / "claim.h5")


# ---- running --------------------------------------------------------------------------------------------------------


def test_fused(model, name):
    x = images(name, seed=3)
    expected = logits(model, x)
    fused = minicnn.fuse(model)
    assert_close(fused(x).array, expected, rtol=1e-4)
    assert not any(step.startswith("batch_norm") for step in fused.steps(x))


def test_a_step_of_training_lowers_the_loss(name):
    minicnn.manual_seed(0)
    model = models.MODELS[name](3, **NETWORKS[name][0])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if name == "inception_v3":
        model.AuxLogits = None  # needs images of 299 x 299: see test_inception
    x, labels = images(name, n=4), np.array([0, 1, 2, 0])
    loss = nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []
    slope = float(np.sqrt(sum(np.square(p.grad.array).sum(dtype=np.float64) for p in model.parameters())))
    optim.SGD(model.parameters(), lr=1e-3 / slope**2).step()  # so short that the loss falls by 0.001 along its tangent
    fall = loss.item() - nn.functional.cross_entropy(model(x), labels).item()
    assert fall == pytest.approx(1e-3, rel=0.3)
