"""Transforms: exact sizes and pixels, numbers by hand, an independent resampling; what they refuse and say."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minicnn.data import drawing_from
from minicnn.data.transforms import (
    CenterCrop,
    Compose,
    Grayscale,
    Normalize,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToTensor,
)
from minicnn.errors import ArgumentError, DataError, DTypeError, ShapeError


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 pixels; (H, W) for one channel."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def triangle_weights(length: int, new_length: int) -> np.ndarray:
    """(new, old) weights of bilinear resampling with antialias: a triangle as wide as the step, cut at the borders."""
    step = length / new_length
    support = max(step, 1.0)
    centres = (np.arange(new_length) + 0.5) * step
    distance = np.abs(np.arange(length) + 0.5 - centres[:, None]) / support
    weights = np.maximum(0, 1 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


# ---- Resize ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "size", "new"),
    [  # (height, width)
        ((160, 213), 64, (64, 85)),  # 85.2 is cut off, not rounded
        ((213, 160), 64, (85, 64)),
        ((3, 2), 5, (7, 5)),  # 7.5
        ((375, 500), 256, (256, 341)),  # 341.33
        ((7, 7), 3, (3, 3)),
        ((1, 9), 2, (2, 18)),
        ((5, 4), [8], (10, 8)),  # a list of one is a number
        ((5, 4), (3, 9), (3, 9)),
        ((5, 4), [9, 3], (9, 3)),
    ],
)
def test_resize_size(old, size, new):
    assert np.asarray(Resize(size)(picture(*old))).shape == (*new, 3)


def test_resize_known_pixels():
    row = np.array([[0, 0, 140, 252]], np.uint8)
    # Halved: (3 * 0 + 3 * 0 + 140) / 7 = 20 and (0 + 3 * 140 + 3 * 252) / 7 = 168
    assert np.asarray(Resize((1, 2))(row)).tolist() == [[20, 168]]
    # Doubled: a quarter of the way between neighbours, rounded
    assert np.asarray(Resize((1, 8))(row)).tolist() == [[0, 0, 0, 35, 105, 168, 224, 252]]


@pytest.mark.parametrize(
    ("old", "new"), [((13, 17), (5, 7)), ((8, 8), (32, 32)), ((40, 3), (9, 11)), ((23, 31), (23, 8))]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_is_bilinear_with_antialias(old, new, channels):
    image = picture(*old, channels)
    expected = np.einsum(
        "ph,hw...,qw->pq...", triangle_weights(old[0], new[0]), image, triangle_weights(old[1], new[1])
    )
    actual = np.asarray(Resize(new)(image)).astype(float)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1  # one grey level: Pillow rounds between its two passes


def test_resize_same_size_gives_the_same_pixels():
    image = Image.fromarray(picture(6, 9))
    assert Resize(6)(image) is image
    assert Resize((6, 9))(image) is image


def test_resize_refuses_to_explode(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    thread = Image.new("L", (1, 5_000))
    with pytest.raises(DataError, match=re.escape("Resize: an image too large to be decoded safely; seen 50 x 250000")):
        Resize(50)(thread)
    with pytest.raises(DataError, match=re.escape("seen 50 x 5000 pixels")):  # between Pillow's two passes
        Resize((50, 50))(thread)
    assert Resize((50, 10))(thread).size == (10, 50)


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_resize_rule(height, width, size):
    new = Resize(size)(picture(height, width, 1))
    assert min(new.size) == size
    assert max(new.size) == size * max(height, width) // min(height, width)
    assert (new.width >= new.height) == (width >= height) or new.width == new.height


# ---- CenterCrop and Pad ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "size", "rows", "columns"),
    [
        ((8, 8), 4, slice(2, 6), slice(2, 6)),
        ((7, 9), (4, 4), slice(2, 6), slice(2, 6)),  # (7 - 4) / 2 = 1.5 -> 2, (9 - 4) / 2 = 2.5 -> 2
        ((5, 6), (4, 3), slice(0, 4), slice(2, 5)),  # 0.5 -> 0, 1.5 -> 2
        ((5, 5), 5, slice(0, 5), slice(0, 5)),
    ],
)
def test_center_crop_takes_torchvisions_pixels(old, size, rows, columns):
    image = picture(*old)
    assert np.array_equal(np.asarray(CenterCrop(size)(image)), image[rows, columns])


def test_center_crop_pads_a_small_image():
    image = picture(2, 7, 1) | 1  # no black pixels of its own
    expected = np.zeros((5, 4), np.uint8)
    expected[1:3] = image[:, 2:6]  # 3 rows are missing: 1 above, 2 below; (7 - 4) / 2 = 1.5 -> 2
    assert np.array_equal(np.asarray(CenterCrop((5, 4))(image)), expected)


@pytest.mark.parametrize(
    ("padding", "widths"),
    [(2, (2, 2, 2, 2)), ((3,), (3, 3, 3, 3)), ((1, 2), (1, 2, 1, 2)), ((1, 0, 2, 3), (1, 0, 2, 3)), (0, (0, 0, 0, 0))],
)
@pytest.mark.parametrize("padding_mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pad(padding, widths, padding_mode, channels):
    image = picture(5, 4, channels)
    left, top, right, bottom = widths
    pads = [(top, bottom), (left, right), (0, 0)][: image.ndim]
    options = {"constant_values": 9} if padding_mode == "constant" else {}
    expected = np.pad(image, pads, padding_mode, **options)
    assert np.array_equal(np.asarray(Pad(padding, 9, padding_mode)(image)), expected)


def test_pad_with_a_colour():
    padded = np.asarray(Pad((0, 1), fill=[1, 2, 3])(picture(2, 2)))
    assert padded[0].tolist() == [[1, 2, 3], [1, 2, 3]]
    with pytest.raises(
        DataError, match=r"Pad: fill and the image differ in channels; seen fill=\(1, 2, 3\), .* mode L"
    ):
        Pad(1, fill=(1, 2, 3))(picture(2, 2, 1))


def test_pad_cannot_mirror_more_than_there_is():
    assert np.asarray(Pad(4, padding_mode="symmetric")(picture(4, 5))).shape == (12, 13, 3)
    with pytest.raises(DataError, match=r"Pad: a border wider .* rule: at most 3 pixels with padding_mode='reflect'"):
        Pad(4, padding_mode="reflect")(picture(4, 5))


# ---- ToTensor, Normalize, Grayscale ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("as_pil", [True, False])
def test_to_tensor(channels, as_pil):
    image = picture(3, 5, channels)
    x = ToTensor()(Image.fromarray(image) if as_pil else image)
    expected = image.reshape(3, 5, channels).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert np.array_equal(x, expected)


def test_to_tensor_extremes():
    x = ToTensor()(np.array([[0, 51, 255]], np.uint8))
    assert x.tolist() == [[[0.0, np.float32(0.2), 1.0]]]


def test_to_tensor_of_bits_and_floats():
    assert ToTensor()(Image.fromarray(np.array([[True, False]]))).tolist() == [[[1.0, 0.0]]]
    for dtype in (np.float32, np.float64):
        x = np.linspace(-3, 300, 12, dtype=dtype).reshape(2, 3, 2)
        assert_close(ToTensor()(x), x.transpose(2, 0, 1), rtol=0, atol=0)
    assert ToTensor()(Image.fromarray(np.array([[1.5, -2]], np.float32))).tolist() == [[[1.5, -2.0]]]


def test_to_tensor_takes_any_strides():
    image = picture(6, 8)
    assert np.array_equal(ToTensor()(image[::-2, ::-1]), ToTensor()(np.ascontiguousarray(image[::-2, ::-1])))


def test_normalize_by_hand():
    x = np.array([[[0.5, 1.0]], [[0.25, 0.0]]], np.float32)
    y = Normalize(mean=[0.5, 0.25], std=[0.25, 0.5])(x)
    assert_close(y, np.array([[[0.0, 2.0]], [[0.0, -0.5]]], np.float32), rtol=0, atol=0)
    assert x[0, 0, 1] == 1.0  # the input is left alone
    one_for_all = Normalize(0.5, 0.25)(x.astype(np.float64))
    assert_close(one_for_all, np.array([[[0.0, 2.0]], [[-1.0, -2.0]]]), rtol=0, atol=0)


def test_normalize_imagenet():
    x = np.full((3, 1, 1), 0.5, np.float32)
    y = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(x)
    expected = [0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225]
    assert_close(y.ravel(), np.array(expected, np.float32), rtol=1e-6)


def test_normalize_lets_nan_travel():
    x = np.array([[[np.nan, 1.0]]], np.float32)
    assert np.isnan(Normalize(0, 1)(x)).tolist() == [[[True, False]]]


def test_grayscale():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert np.asarray(Grayscale()(colours)).tolist() == [[76, 150, 29, 255]]  # 255 * (0.299, 0.587, 0.114, 1)
    three = np.asarray(Grayscale(3)(colours))
    assert three.shape == (1, 4, 3)
    assert three[0, 1].tolist() == [150, 150, 150]
    assert np.array_equal(np.asarray(Grayscale(3)(picture(2, 3, 1)))[:, :, 2], picture(2, 3, 1))


# ---- random transforms ----------------------------------------------------------------------------------------------


def test_random_crop_finds_every_place():
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    crop = RandomCrop((3, 2))
    with drawing_from(np.random.default_rng(0)):
        corners = [tuple(np.asarray(crop(image)).ravel().tolist()) for _ in range(400)]
    expected = {tuple(image[i : i + 3, j : j + 2].ravel().tolist()) for i in range(2) for j in range(4)}
    assert set(corners) == expected
    assert min(corners.count(corner) for corner in expected) > 25  # 50 each, if all places are equally likely


def test_random_crop_pads_first():
    image = picture(4, 4, 1) | 1
    with drawing_from(np.random.default_rng(1)):
        crops = [np.asarray(RandomCrop(4, padding=2)(image)) for _ in range(100)]
    assert {crop.shape for crop in crops} == {(4, 4)}
    assert any((crop[0] == 0).all() for crop in crops)
    assert any((crop[:, 3] == 0).all() for crop in crops)
    assert any(np.array_equal(crop, image) for crop in crops)
    assert np.asarray(RandomCrop((6, 3), pad_if_needed=True, fill=7)(image)).shape == (6, 3)


def test_random_crop_of_a_small_image():
    with pytest.raises(DataError) as caught:
        RandomCrop(6)(picture(5, 9))
    assert str(caught.value) == (
        "RandomCrop: the image is smaller than the part to cut out; seen image 5 x 9, size 6 x 6; "
        "rule: image >= size, padding included; hint: pad_if_needed=True, or a Resize before it"
    )


def test_random_flip():
    image = picture(3, 4)
    assert np.array_equal(np.asarray(RandomHorizontalFlip(1)(image)), image[:, ::-1])
    assert np.array_equal(np.asarray(RandomHorizontalFlip(0)(image)), image)
    with drawing_from(np.random.default_rng(2)):
        flips = [np.array_equal(np.asarray(RandomHorizontalFlip(0.25)(image)), image[:, ::-1]) for _ in range(1000)]
    assert 200 < sum(flips) < 300


# ---- Compose and printing -------------------------------------------------------------------------------------------


def test_compose_runs_in_order_and_takes_functions():
    transform = Compose([Resize((2, 2)), np.asarray, lambda x: x // 2, ToTensor()])
    assert transform(np.full((8, 8), 100, np.uint8)).tolist() == [[[np.float32(50 / 255)] * 2] * 2]
    assert Compose([])("anything") == "anything"


def test_repr_is_the_call():
    transform = Compose([Resize((8, 9)), RandomCrop(8, padding=1), RandomHorizontalFlip(), Grayscale(3), ToTensor()])
    assert repr(transform) == (
        "Compose([\n"
        "    Resize(size=(8, 9), interpolation='bilinear', antialias=True),\n"
        "    RandomCrop(size=(8, 8), padding=1, pad_if_needed=False, fill=0, padding_mode='constant'),\n"
        "    RandomHorizontalFlip(p=0.5),\n"
        "    Grayscale(num_output_channels=3),\n"
        "    ToTensor(),\n"
        "])"
    )
    assert repr(eval(repr(transform))) == repr(transform)
    assert repr(Normalize([0.5], 2)) == "Normalize(mean=(0.5,), std=(2.0,))"
    assert repr(Pad((1, 2), fill=[3])) == "Pad(padding=(1, 2), fill=(3,), padding_mode='constant')"
    assert repr(CenterCrop(3)) == "CenterCrop(size=(3, 3))"
    assert repr(Compose([])) == "Compose([])"


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Resize(0), "Resize: size is too small; seen size=0 (int); rule: an integer, 1 or more"),
        (lambda: Resize(224.0), "Resize: size is not an integer; seen size=224.0 (float)"),
        (lambda: Resize("224"), "Resize: size is not an integer; seen size='224' (str)"),
        (lambda: Resize(True), "Resize: size is not an integer; seen size=True (bool)"),
        (lambda: Resize((4, -1)), "Resize: size[1] is too small; seen size[1]=-1 (int)"),
        (lambda: Resize((1, 2, 3)), "Resize: size has a wrong length; seen size=(1, 2, 3)"),
        (lambda: Resize(()), "Resize: size has a wrong length; seen size=()"),
        (lambda: CenterCrop((0, 4)), "CenterCrop: size[0] is too small; seen size[0]=0 (int)"),
        (lambda: RandomCrop(None), "RandomCrop: size is not an integer; seen size=None (NoneType)"),
        (lambda: RandomCrop(4, padding=(1, 2, 3)), "RandomCrop: padding has a wrong length; seen padding=(1, 2, 3)"),
        (lambda: Pad(-1), "Pad: padding[0] is too small; seen padding[0]=-1 (int); rule: an integer, 0 or more"),
        (lambda: Pad(1, fill="red"), "Pad: fill is not a finite number; seen fill='red' (str)"),
        (
            lambda: Pad(1, padding_mode="wrap"),
            "Pad: an unknown padding mode; seen padding_mode='wrap'; rule: one of con",
        ),
        (lambda: RandomHorizontalFlip(1.5), "RandomHorizontalFlip: p is no probability; seen p=1.5; rule: 0 <= p <= 1"),
        (
            lambda: RandomHorizontalFlip(float("nan")),
            "RandomHorizontalFlip: p is not a finite number; seen p=nan (float)",
        ),
        (
            lambda: Grayscale(2),
            "Grayscale: a number of channels that grey images do not have; seen num_output_channels=2",
        ),
        (lambda: Normalize([0.5], [0]), "Normalize: std is not positive; seen std=(0.0,)"),
        (lambda: Normalize([], []), "Normalize: mean is empty"),
        (lambda: Normalize([0, 0], [1]), "Normalize: mean and std differ in length; seen mean=(0.0, 0.0), std=(1.0,)"),
        (lambda: Normalize(["a"], [1]), "Normalize: mean is not a finite number; seen mean='a' (str)"),
        (lambda: Compose(ToTensor()), "Compose: transforms are not a list; seen ToTensor; hint: Compose([...])"),
        (lambda: Compose([ToTensor]), "Compose: transforms[0] is not a transform; seen <class"),
        (lambda: Compose([ToTensor(), 3]), "Compose: transforms[1] is not a transform; seen 3"),
    ],
)
def test_wrong_arguments(make, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        make()


@pytest.mark.parametrize(
    ("transform", "image", "error", "text"),
    [
        (Resize(2), np.zeros((3, 4, 4), np.float32), DTypeError, "Resize: not an image; seen array float32 (3, 4, 4)"),
        (Resize(2), "photo.jpg", DTypeError, "Resize: not an image; seen str; rule: a PIL image, or a uint8 array"),
        (
            CenterCrop(2),
            np.zeros((3, 4, 7), np.uint8),
            ShapeError,
            "CenterCrop: an array that is not an image; seen shape",
        ),
        (Resize(2), np.zeros((0, 4), np.uint8), ShapeError, "Resize: an array that is not an image; seen shape (0, 4)"),
        (Resize(2), Image.new("P", (4, 4)), DTypeError, "Resize: an image of palette entries or bits; seen mode P"),
        (Resize(2), Image.new("1", (4, 4)), DTypeError, "seen mode 1"),
        (ToTensor(), Image.new("P", (4, 4)), DTypeError, "ToTensor: an image without brightness 0..255; seen mode P"),
        (ToTensor(), Image.new("I", (4, 4)), DTypeError, "ToTensor: an image without brightness 0..255; seen mode I"),
        (ToTensor(), np.zeros((4, 4), np.int64), DTypeError, "ToTensor: not an image; seen array int64"),
        (ToTensor(), None, DTypeError, "ToTensor: not an image; seen NoneType"),
        (ToTensor(), np.zeros(4, np.uint8), ShapeError, "ToTensor: not an image; seen shape (4,)"),
        (Normalize(0, 1), np.zeros((4, 4, 3), np.uint8), DTypeError, "hint: put ToTensor() before Normalize"),
        (Normalize(0, 1), Image.new("L", (4, 4)), DTypeError, "Normalize: not a float array; seen Image"),
        (
            Normalize([0] * 3, [1] * 3),
            np.zeros((1, 4, 4), np.float32),
            ShapeError,
            "hint: Grayscale(3) before ToTensor",
        ),
        (Normalize(0, 1), np.zeros((4, 4), np.float32), ShapeError, "Normalize: mean and std do not fit the image"),
    ],
)
def test_wrong_images(transform, image, error, text):
    with pytest.raises(error, match=re.escape(text)):
        transform(image)
