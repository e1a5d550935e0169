"""Preprocessing as the weights file says it: torchvision's rule, written out here with Pillow and NumPy alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_close
from PIL import Image

from minicnn import weights
from minicnn.data.transforms import Resize
from minicnn.errors import ArgumentError
from minicnn.training import transform_for
from minicnn.weights import WeightsInfo

PLAIN = WeightsInfo("resnet18", {"num_classes": 4, "width": 8, "stem": "small"}, list("abcd"))
KINDS = {  # what the files say that networks are published with
    "torchvision": {"input_size": 224, "resize": 256},
    "inception": {"input_size": 299, "resize": 342},
    "timm": {"input_size": 20, "resize": 21, "interpolation": "bicubic"},
    "keras vgg": {"input_size": 12, "channels": "BGR", "scale": 255, "mean": (103.9, 116.8, 123.7), "std": (1, 1, 1)},
    "grey": {"input_size": 9, "channels": "L", "mean": (0.5,), "std": (0.25,)},
    "sharp": {"input_size": 8, "resize": 11, "antialias": False},
}


def photo(width, height):
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def by_the_rule(image, size, crop):
    """The short side `size`, the long one int(size * long / short); the middle, its corner rounded half to even.

    What lies outside is black: the smaller half of the missing pixels left and above.
    """
    short, long = sorted(image.size)
    sides = size, int(size * long / short)
    image = image.resize(sides if image.width <= image.height else sides[::-1], Image.BILINEAR)
    pixels = np.asarray(image)
    missing = [max(crop - side, 0) for side in pixels.shape[:2]]
    pixels = np.pad(pixels, [*((m // 2, m - m // 2) for m in missing), (0, 0)])
    top, left = (round((side - crop) / 2.0) for side in pixels.shape[:2])
    return pixels[top : top + crop, left : left + crop]


@pytest.mark.parametrize("sides", [(500, 375), (375, 500), (257, 256), (333, 77), (1, 1), (1, 3), (5, 1), (61, 60)])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (342, 299), (33, 40), (7, 7)])
def test_as_torchvision_prepares_photographs(sides, resize, crop):
    """The same pixels, not only within one grey level."""
    info = replace(PLAIN, resize=resize, input_size=crop)
    expected = by_the_rule(photo(*sides), resize, crop).transpose(2, 0, 1) / 255
    expected = (expected - np.reshape(info.mean, (3, 1, 1))) / np.reshape(info.std, (3, 1, 1))
    actual = info.transforms()(photo(*sides))
    assert actual.dtype == np.float32
    assert_close(actual, expected, rtol=1e-5, dtype=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_carries_its_preprocessing(path, state, kind):
    info = replace(PLAIN, **KINDS[kind])
    weights.save(path, state, info)
    assert weights.describe(path) == info
    image = photo(40, 31)
    x = weights.transforms(path)(image)
    assert x.shape == (len(info.mean), info.input_size, info.input_size)
    assert np.array_equal(x, transform_for(info)(image))
    if kind == "keras vgg":
        rgb = np.asarray(image.resize((15, 12), Image.BILINEAR))[:, 2:14]  # 1.5 to the even neighbour
        assert_close(x, (rgb[:, :, ::-1] - np.array(info.mean)).transpose(2, 0, 1), rtol=0, atol=1e-4, dtype=False)
    if kind == "timm":
        cubic = np.asarray(image.resize((27, 21), Image.BICUBIC))[0:20, 4:24]  # 0.5 and 3.5, likewise
        assert_close(x * np.reshape(info.std, (3, 1, 1)) + np.reshape(info.mean, (3, 1, 1)),
                     cubic.transpose(2, 0, 1) / 255, rtol=0, atol=1e-5, dtype=False)  # fmt: skip


def test_older_files_stay_as_they_are(path, state, info):
    """A file without these attributes: the short side is the input size; written again, the same bytes."""
    import h5py

    with h5py.File(path) as file:
        assert not {"resize", "interpolation", "antialias", "channels", "scale"} & set(file.attrs)
    before = path.read_bytes()
    said = weights.describe(path)
    assert said.transforms().transforms[0].size == said.input_size == 32
    weights.save(path, state, said)
    assert path.read_bytes() == before
    weights.save(path, state, replace(said, resize=36))
    assert path.read_bytes() != before


def test_resize_without_smoothing_is_interpolation():
    """A quarter of the pixels in both axes: each new one lies between four old ones, of equal weight."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    actual = np.asarray(Resize((2, 2), antialias=False)(pixels)).astype(float)
    expected = [[pixels[i : i + 2, j : j + 2].mean() for j in (1, 5)] for i in (1, 5)]
    assert np.abs(actual - expected).max() <= 0.5
    assert np.asarray(Resize((4, 1), "nearest")(pixels[:, :1])).tolist() == [[24], [72], [120], [168]]


@pytest.mark.parametrize(
    ("name", "value"),
    [("resize", "0"), ("resize", "true"), ("resize", "1e3"), ("interpolation", "cubic"), ("antialias", "1"),
     ("channels", "GBR"), ("scale", "2"), ("scale", "true"), ("scale", "[1]")],
)  # fmt: skip
def test_values_that_cannot_be(edit, refused, name, value):
    with edit() as file:
        file.attrs[name] = np.bytes_(value.encode())
    refused(f"the attribute '{name}' has a value that cannot be", read=weights.describe)


def test_arguments():
    with pytest.raises(ArgumentError, match=r"Resize: an unknown interpolation; seen interpolation='cubic'; rule: one"):
        Resize(4, "cubic")
    with pytest.raises(ArgumentError, match=r"Resize: this interpolation is made for smoothing; seen interp.*bicubic$"):
        Resize(4, "lanczos", antialias=False)
    with pytest.raises(ArgumentError, match="no transform makes these channels of an image; seen channels='RGB', in_"):
        replace(PLAIN, mean=(0.5,) * 4, std=(0.5,) * 4).transforms()
    grey = replace(PLAIN, input_size=4).transforms(grey=True)
    assert grey(np.full((4, 4), 9, np.uint8)).shape == (3, 4, 4)
