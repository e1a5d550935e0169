"""Inception-v3: two heads in training, one in evaluation; torchvision's way of normalising; its files."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import models, nn, optim, weights
from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError, ShapeError, WeightsError
from minicnn.training import Trainer


def images(size, n=2, seed=0):
    return Tensor(np.random.default_rng(seed).random((n, 3, size, size)).astype(np.float32))


@pytest.fixture(scope="module")
def model():
    minicnn.manual_seed(0)
    return models.inception_v3(3, width=2)


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.h5"
    arguments = {"num_classes": 3, "width": 2, "aux_logits": True, "transform_input": True}
    weights.save(path, model.state_dict(), weights.WeightsInfo("inception_v3", arguments, list("abc"), 299))
    return path


def test_two_heads_in_training_and_one_in_evaluation(model):
    outputs = model.train()(images(299))
    assert isinstance(outputs, models.InceptionOutputs)
    assert outputs.logits.shape == outputs.aux_logits.shape == (2, 3)
    (0.4 * nn.functional.cross_entropy(outputs.aux_logits, np.array([0, 2]))).backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert {"Conv2d_1a_3x3", "Mixed_6e", "AuxLogits"} <= reached
    assert not {"Mixed_7a", "fc"} & reached
    with no_grad():
        assert model.eval()(images(75)).shape == (2, 3)


def test_the_trainer_adds_the_loss_of_the_second_head(model):
    x, labels = images(299), Tensor(np.array([0, 2]))
    minicnn.manual_seed(1)
    with no_grad():
        outputs = model.train()(x)
    losses = [nn.functional.cross_entropy(y, labels).item() for y in outputs]
    minicnn.manual_seed(1)  # dropout draws the same
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.0), nn.CrossEntropyLoss(), progress=False)
    history = trainer.fit([(x, labels)])
    assert history[0].train_loss == pytest.approx(losses[0] + 0.4 * losses[1], rel=1e-5)
    assert trainer.predict(x).shape == (2, 3)


def test_the_second_head_needs_large_images(model):
    with pytest.raises(ShapeError) as caught:
        model.train()(images(298))
    assert str(caught.value) == (
        "Inception3: the images are too small; seen x (2, 3, 298, 298); "
        "rule: height and width of at least 299 in training with aux_logits; hint: Resize(299) before it"
    )


def test_transform_input_is_another_normalisation(path):
    """Images by ImageNet's mean and deviation, or by 0.5 and 0.5: the same logits."""
    model = models.inception_v3(weights=path).eval()
    info, x = model.weights_info, images(75).array
    assert model.transform_input
    mean, std = (np.float32(v).reshape(3, 1, 1) for v in (info.mean, info.std))
    with no_grad():
        by_imagenet = model(Tensor((x - mean) / std)).array
        model.transform_input = False
        by_half = model(Tensor((x - np.float32(0.5)) / np.float32(0.5))).array
    assert_close(by_imagenet, by_half, rtol=1e-4)
    with pytest.raises(ArgumentError, match="transform_input is for three channels"):
        models.Inception3(transform_input=True, in_channels=4)


def test_other_heads_and_channels(path, tmp_path):
    """A file with a second head, for another task: without that head, with one channel, which it then says."""
    model = models.inception_v3(weights=path, num_classes=5, in_channels=1, aux_logits=False)
    report, info = model.load_report, model.weights_info
    assert [key for key in model.state_dict() if "Aux" in key] == []
    assert sorted(key for key, *_ in report.replaced) == [
        "AuxLogits.fc.bias", "AuxLogits.fc.weight", "fc.bias", "fc.weight"
    ]  # fmt: skip
    assert [key for key, *_ in report.adapted] == ["Conv2d_1a_3x3.conv.weight"]
    assert (info.mean, info.std, info.arguments["transform_input"]) == ((0.5,), (0.5,), False)
    grey = Tensor(images(75, n=3).array[:, :1])
    assert model.train()(grey).shape == (3, 5)
    info.arguments["num_classes"] = 5
    weights.save(tmp_path / "one.h5", model.state_dict(), info)
    with pytest.raises(WeightsError, match=r"AuxLogits\.conv0\.conv\.weight \(8, 48, 1, 1\) is missing"):
        models.inception_v3(weights=tmp_path / "one.h5", aux_logits=True)
    assert models.inception_v3(weights=tmp_path / "one.h5").AuxLogits is None


def test_arguments():
    with pytest.raises(ArgumentError, match=r"^Inception3: width is odd; seen width=3; rule: an even number$"):
        models.inception_v3(width=3)
    with pytest.raises(ArgumentError, match=r"aux_logits is not valid; seen 'no'; rule: true or false"):
        models.pretrained.LARGEST["inception_v3"](aux_logits="no")
