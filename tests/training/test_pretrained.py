"""Fine-tuning for images of other channels or another size: the file that comes out says so, and predicts."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn import models, weights
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, WeightsError
from minicnn.training.predict import predict_images
from minicnn.training.pretrained import Pretrained


def stored(path, name="resnet18", **arguments):
    minicnn.manual_seed(0)
    arguments = {"num_classes": 4, "width": 2, **arguments}
    info = weights.WeightsInfo(name, arguments, list("abcd"), input_size=56, resize=64)
    weights.save(path, models.MODELS[name](**arguments).state_dict(), info)
    return path


def test_a_fine_tuned_file_carries_its_images(tmp_path):
    pretrained = Pretrained(stored(tmp_path / "colour.h5"), in_channels=1, input_size=28)
    model = pretrained.build(["cat", "dog"])
    info = pretrained.info_for(["cat", "dog"], "pets")
    assert (info.arguments["in_channels"], info.channels, info.input_size, info.resize) == (1, "L", 28, 32)
    x = pretrained.transform()(Image.new("RGB", (70, 40), "red"))
    assert x.shape == (1, 28, 28)
    weights.save(tmp_path / "grey.h5", model.state_dict(), info)
    Image.new("RGB", (70, 40), "red").save(tmp_path / "red.png")
    answer = dict(predict_images(tmp_path / "grey.h5", [tmp_path / "red.png"])[0])
    logits = model.eval()(Tensor(x[None])).array[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert [answer["cat"], answer["dog"]] == pytest.approx(list(expected), rel=1e-4)


def test_what_is_refused_before_anything_is_built(tmp_path):
    path = stored(tmp_path / "vgg.h5", "vgg11")
    with pytest.raises(
        ArgumentError, match=r"^vgg11: input_size is not valid; seen .*=31; rule: a whole number, 32 or"
    ):
        Pretrained(path, input_size=31)
    state, info = weights.read(path)
    info.arguments["width"] = 4096
    weights.save(path, state, info)
    with pytest.raises(WeightsError, match="the file's arguments do not fit its weights"):
        Pretrained(path)
