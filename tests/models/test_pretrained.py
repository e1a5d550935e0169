"""Networks from weights files: what the file says is checked before anything is built from it."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import models, weights
from minicnn.autograd import Tensor
from minicnn.errors import WeightsError

ARGUMENTS = {"num_classes": 3, "width": 2, "stem": "small"}
X = Tensor(np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32))


@pytest.fixture
def model():
    made = models.resnet18(**ARGUMENTS)
    made(X)  # moves the running statistics
    return made.eval()


@pytest.fixture
def save(model, tmp_path):
    """Writes the model's weights, under the arguments and the architecture that a test claims."""

    def write(arguments=ARGUMENTS, architecture="resnet18", state=None):
        info = weights.WeightsInfo(architecture, arguments, classes=["a", "b", "c"], input_size=16)
        path = tmp_path / "model.h5"
        weights.save(path, model.state_dict() if state is None else state, info)
        return path

    return write


def test_the_file_says_which_network(model, save):
    loaded = models.resnet18(weights=save()).eval()
    assert np.array_equal(loaded(X).array, model(X).array)
    assert loaded.weights_info.classes == ["a", "b", "c"]
    assert len(loaded.load_report.loaded) == 122
    assert not loaded.load_report.replaced


def test_another_number_of_classes(model, save):
    loaded = models.resnet18(num_classes=7, weights=str(save())).eval()
    assert loaded(X).shape == (2, 7)
    assert np.array_equal(loaded.features(X).array, model.features(X).array)
    assert loaded.load_report.replaced == [("fc.weight", (3, 16), (7, 16)), ("fc.bias", (3,), (7,))]


def test_another_width(save):
    with pytest.raises(
        WeightsError, match=r"the weights do not fit the network; seen conv1.weight is \(2, 3, 3, 3\) in"
    ):
        models.resnet18(width=4, weights=save())


def test_another_architecture(save):
    with pytest.raises(WeightsError) as caught:
        models.resnet34(weights=save())
    assert str(caught.value).endswith(
        "model.h5: these weights are for another architecture; seen resnet18; rule: resnet34; "
        "hint: use models.resnet18(weights=...)"
    )


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing\.h5: there is no such weights file; rule: a path, or an embedded"):
        models.resnet18(weights=tmp_path / "nothing.h5")


@pytest.mark.parametrize(
    ("claimed", "rule"),
    [
        ({"width": 60_000}, "layer4.1.conv2.weight (480000, 480000, 3, 3)"),
        ({"width": 4}, "layer4.1.conv2.weight (32, 32, 3, 3)"),
        ({"num_classes": 65_536}, "fc.weight (65536, 16)"),
    ],
)
def test_sizes_that_the_file_does_not_hold(save, claimed, rule):
    """Refused before a network of that size is built: the first would take 40 terabytes."""
    with pytest.raises(WeightsError) as caught:
        models.resnet18(weights=save({**ARGUMENTS, **claimed}))
    text = str(caught.value)
    assert "model.h5: the file's arguments do not fit its weights; seen {'num_classes'" in text
    assert text.endswith(f"rule: {rule}")


@pytest.mark.parametrize("claimed", [{"depth": 3}, {"width": "2"}, {"stem": "huge"}, {"num_classes": "3"}])
def test_arguments_of_nothing(save, claimed):
    with pytest.raises(
        WeightsError, match=r"model\.h5: the file's arguments are not those of resnet18; seen \{'num_cl"
    ):
        models.resnet18(weights=save({**ARGUMENTS, **claimed}))


def test_a_file_without_the_largest_weights(model, save):
    state = model.state_dict()
    del state["layer4.1.conv2.weight"]
    with pytest.raises(
        WeightsError, match=r"layer4\.1\.conv2\.weight missing; rule: layer4\.1\.conv2\.weight \(16, 16"
    ):
        models.resnet18(weights=save(state=state))


def test_the_small_network(save):
    small = models.cnn(4, 8)
    info = weights.WeightsInfo("cnn", {"num_classes": 4, "image_size": 8})
    path = save({"num_classes": 4, "image_size": 8}, "cnn", small.state_dict())
    models.check_arguments(path, info)
    info.arguments["image_size"] = 4096
    with pytest.raises(WeightsError, match=r"rule: fc1\.weight \(512, 67108864\)$"):
        models.check_arguments(path, info)
    info.arguments["image_size"] = 9
    with pytest.raises(WeightsError, match=r"the file's arguments are not those of cnn.*CNN: image_size is not valid"):
        models.check_arguments(path, info)
