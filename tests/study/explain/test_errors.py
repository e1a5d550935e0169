"""What bad input gets: one clear error."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn.errors import ArgumentError, GraphError, MinicnnError, MismatchError, ShapeError
from minicnn.models import cnn
from minicnn.study.explain import chain, explain_chain, recorded
from minicnn.study.explain.asked import EXPLAINERS

IMAGE = np.ones((1, 1, 8, 8), np.float32)


@pytest.fixture(scope="module")
def model():
    minicnn.manual_seed(0)
    return cnn(image_size=8, in_channels=1).eval()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"layer": "conv3"}, ArgumentError, r"no such layer; seen 'conv3'; .*nearest: conv[12], conv[12]"),
        ({"layer": "conv1", "at": (0, 8, 0)}, ShapeError, r"outside of the array; seen \[0,0,8,0\], shape \(1, 32, 8"),
        ({"layer": "conv1", "at": (0, -1, 0)}, ShapeError, "outside of the array"),
        ({"layer": "conv1", "at": (0, 1)}, ShapeError, r"another number of axes; seen \[0,1\]"),
        ({"layer": "conv1", "at": (0, 1.5, 0)}, ArgumentError, "not an index.*whole numbers"),
        ({"layer": "conv1", "grad": "w"}, ArgumentError, "no gradient came.*hint: record the run with labels"),
        ({"layer": "images"}, GraphError, "no gradient came here.*hint: give labels"),
        ({"layer": "images", "grad": "x", "labels": [1]}, ArgumentError, "explain images: no layer; .*leave out grad"),
        ({"layer": "fc2.weight", "labels": [1], "at": (3,)}, ShapeError, r"another number of axes; seen \[3\]"),
        ({"layer": "loss"}, GraphError, "no loss.*give labels"),
        ({"layer": "conv1", "grad": "q", "labels": [1]}, ArgumentError, "no such input; seen grad 'q'; rule: x, w, b"),
        ({"layer": "loss", "grad": "target", "labels": [1]}, GraphError, "no gradient goes to this input"),
        ({"layer": "conv1", "step": 99}, ArgumentError, r"no such step; seen step 99; rule: 0\.\.\d+"),
        ({"layer": "conv1", "step": 4}, ArgumentError, "of another layer"),
        ({"labels": [12]}, MinicnnError, "out of range|label"),
    ],
)
def test_one_clear_error(model, arguments, kind, message):
    with pytest.raises(kind, match=message) as error:
        model.explain(IMAGE, **arguments)
    assert "\n" not in str(error.value)


def test_images_of_a_wrong_size(model):
    with pytest.raises(ShapeError, match=r"fc1: linear: the features of x and w differ; seen x \(1, 576\)"):
        model.explain(np.ones((1, 1, 12, 12), np.float32))
    with pytest.raises(ShapeError, match="conv1: conv2d: the channels"):
        model.explain(np.ones((1, 3, 8, 8), np.float32))
    with pytest.raises(MinicnnError, match="only floating point"):
        model.explain(np.ones((1, 1, 8, 8), np.uint8))


def test_a_model_without_saved_arrays(model):
    with pytest.raises(GraphError, match=r"left no steps to look at.*hint: a fused network keeps no arrays"):
        minicnn.fuse(model).explain(IMAGE)
    with minicnn.no_grad():
        assert model.explain(IMAGE, layer="conv1").agrees  # a forward pass needs none of them
        with pytest.raises(GraphError, match="nothing here requires a gradient"):
            model.explain(IMAGE, [1], layer="conv1", grad="x")
    with pytest.raises(ArgumentError, match="not a network; seen int"):
        minicnn.explain(3, IMAGE)


def test_a_layer_that_another_one_does(model):
    minicnn.manual_seed(0)
    resnet = minicnn.models.resnet18(num_classes=2, width=2, stem="small").eval()
    images = np.ones((1, 3, 8, 8), np.float32)
    with pytest.raises(ArgumentError, match=r"ran no operation; seen 'layer1\.0\.relu'.*nearest: layer1\.0\.bn"):
        resnet.explain(images, layer="layer1.0.relu")


def test_an_operation_that_nobody_explains(model, monkeypatch):
    monkeypatch.delitem(EXPLAINERS, "conv2d")
    with pytest.raises(ArgumentError, match="seen operation conv2d; rule: explained are adaptive_avg_pool2d, "):
        model.explain(IMAGE, layer="conv1")


def test_chains_that_cannot_be_followed(model, monkeypatch):
    with pytest.raises(GraphError, match="no loss"):
        explain_chain(recorded(model, IMAGE))
    run = recorded(model, IMAGE, [1])
    with pytest.raises(ShapeError, match="outside of the array"):
        explain_chain(run, (0, 9, 9))
    with pytest.raises(ArgumentError, match=r"no such layer.*nearest: conv"):
        explain_chain(run, start="conv7")

    with pytest.raises(ArgumentError, match=r"no such layer; seen 'conv1.wieght'.*nearest: conv1.weight"):
        explain_chain(run, start="conv1.wieght")
    with pytest.raises(GraphError, match=r"not finite; seen nan"):
        explain_chain(recorded(model, IMAGE * np.nan, [1]), (0, 3, 3))
    monkeypatch.setattr(chain, "GRADIENTS", ("dz",))  # an explainer whose terms name no output
    with pytest.raises(MismatchError, match=r"ways .* do not add up .*; seen 0 over 0 outputs, gradient "):
        explain_chain(run, (0, 3, 3))
