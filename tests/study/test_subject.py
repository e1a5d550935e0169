"""Networks and images in words: architectures, weights files, digits, labels; and what is refused."""

import numpy as np
import pytest
from PIL import Image

from minicnn.errors import ArgumentError, MinicnnError
from minicnn.study.subject import load_subject

EMBEDDED = "resnet18-fashion-mnist-32"


def test_an_architecture_has_the_same_random_weights_every_time():
    first, second = load_subject("cnn"), load_subject("cnn")
    np.testing.assert_array_equal(first.model.conv1.weight.array, second.model.conv1.weight.array)
    assert first.images.shape == (1, 3, 32, 32)
    assert first.images.dtype == np.float32
    assert first.images.std() > 0.1
    assert not first.model.training
    assert first.labels.tolist() == [0]  # ten classes without names: the digit's own
    assert "random weights (seed 0)" in first.description


def test_embedded_weights_and_an_image_of_ones_own(tmp_path):
    path = tmp_path / "white.png"
    Image.new("RGB", (50, 40), "white").save(path)
    subject = load_subject(EMBEDDED, path)
    np.testing.assert_allclose(subject.images, (1 - 0.286) / 0.353, rtol=1e-5)
    scores = subject.model(subject.images).array
    assert subject.labels.tolist() == [scores.argmax()]
    assert subject.classes[1] == "Trouser"
    assert load_subject(EMBEDDED, path, label="Trouser").labels.tolist() == [1]
    assert load_subject(EMBEDDED, path, label="7").labels.tolist() == [7]


def test_a_network_without_classes_has_no_label():
    subject = load_subject("vae")
    assert subject.labels is None
    assert subject.images.shape == (1, 1, 28, 28)
    assert subject.images.min() >= 0
    assert subject.images.max() <= 1


@pytest.mark.parametrize(
    ("model", "image", "options", "said"),
    [
        ("resnet19", None, {}, "no such model"),
        ("nowhere.h5", None, {}, "no such weights file"),
        ("cnn", "nowhere.png", {}, "nowhere.png"),
        ("cnn", None, {"label": "11"}, "no such class"),
        ("cnn", None, {"label": "cat"}, "no such class"),
        (EMBEDDED, None, {"label": "Trousers"}, "nearest: Trouser"),
        (EMBEDDED, None, {"width": 8}, "go with the name of an architecture"),
        ("cnn", None, {"width": 8}, "cnn has no width"),
        ("vae", None, {"label": 0}, "no classes"),
    ],
)
def test_what_is_refused(model, image, options, said):
    with pytest.raises((MinicnnError, OSError)) as caught:
        load_subject(model, image, **options)
    assert said in str(caught.value)


def test_arguments_that_are_none_do_not_count():
    assert load_subject("cnn", width=None).images.shape == (1, 3, 32, 32)
    with pytest.raises(ArgumentError):
        load_subject("cnn", size=30)
