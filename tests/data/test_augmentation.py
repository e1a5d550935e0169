"""Random transforms: torchvision's rules with fixed numbers, and distributions counted with fixed seeds."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from minicnn.data import drawing_from
from minicnn.data.transforms import ColorJitter, RandomGrayscale, RandomResizedCrop
from minicnn.data.transforms.color_jitter import shift_hue
from minicnn.errors import ArgumentError, DTypeError


def photo(height: int = 12, width: int = 16) -> Image.Image:
    """Random colours."""
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8))


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.mode == b.mode and np.array_equal(np.asarray(a), np.asarray(b))


# ---- RandomResizedCrop ----------------------------------------------------------------------------------------------


def test_parts_have_the_distribution_of_the_rule():
    """Large image, so that rounding and refused parts do not matter: area uniform, log ratio uniform, all places."""
    cut = RandomResizedCrop(8, scale=(0.1, 0.4), ratio=(1 / 2, 2))
    size = 4000
    with drawing_from(np.random.default_rng(0)):
        parts = np.array([cut.part(size, size) for _ in range(2000)])
    top, left, height, width = parts.T
    area, log_ratio = height * width / size**2, np.log(width / height)
    for values, low, high in ((area, 0.1, 0.4), (log_ratio, -math.log(2), math.log(2))):
        uniform = (values - low) / (high - low)
        assert -0.01 < uniform.min() < 0.01 < 0.99 < uniform.max() < 1.01
        assert abs(uniform.mean() - 0.5) < 0.025  # four deviations of a mean of 2000 uniform numbers
        assert abs(uniform.std() - 12**-0.5) < 0.015
    for start, length in ((top, height), (left, width)):
        place = start / (size - length)
        assert place.min() >= 0
        assert place.max() <= 1
        assert abs(place.mean() - 0.5) < 0.025
        assert abs(place.std() - 12**-0.5) < 0.015


def test_the_part_is_cut_then_scaled():
    image, cut = photo(30, 40), RandomResizedCrop((5, 7))
    for seed in range(5):
        with drawing_from(np.random.default_rng(seed)):
            top, left, height, width = cut.part(30, 40)
        with drawing_from(np.random.default_rng(seed)):
            result = cut(image)
        part = image.crop((left, top, left + width, top + height))
        assert same(result, part.resize((7, 5), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("size", "ratio", "part"),
    [  # (top, left, height, width) by torchvision's rule, by hand; no part of a ratio near 1 and the full area fits
        ((10, 100), (3 / 4, 4 / 3), (0, 43, 10, 13)),
        ((100, 10), (3 / 4, 4 / 3), (43, 0, 13, 10)),
        ((20, 21), (1.0, 1.0), (0, 0, 20, 20)),
        ((1, 9), (0.25, 0.25), (0, 4, 1, 1)),
    ],
)
def test_where_no_part_fits_it_is_the_middle(size, ratio, part):
    with drawing_from(np.random.default_rng(0)):
        assert RandomResizedCrop(4, scale=(1.0, 1.0), ratio=ratio).part(*size) == part


def test_everything_is_resized_and_interpolations_differ():
    image = photo(16, 16)
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    for name in ("nearest", "bilinear", "bicubic"):
        expected = image.resize((6, 9), Image.Resampling[name.upper()])
        assert same(RandomResizedCrop((9, 6), **whole, interpolation=name)(image), expected)


# ---- ColorJitter, RandomGrayscale -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.7])
def test_a_factor_is_pillows_enhancement(setting, kind, factor):
    image = photo()
    assert same(ColorJitter(**{setting: (factor, factor)})(image), kind(image).enhance(factor))


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.004, 0.25, 0.5])
def test_hue_is_turned_as_torchvision_turns_it(shift):
    image = photo()
    hue, saturation, value = image.convert("HSV").split()
    turned = np.asarray(hue) + np.int32(shift * 255).astype(np.uint8)  # wraps around, as its uint8 array does
    expected = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
    assert same(ColorJitter(hue=(shift, shift))(image), expected)
    assert same(shift_hue(image.convert("L"), shift), image.convert("L"))
    transparent = image.copy()
    transparent.putalpha(77)
    assert shift_hue(transparent, shift).getchannel("A").getextrema() == (77, 77)
    assert same(shift_hue(transparent, shift).convert("RGB"), expected)


def test_factors_are_uniform_and_orders_equally_likely():
    """On a grey image the brightness is the factor; clipping in between tells which of two changes came first."""
    grey = Image.new("RGB", (1, 1), (100, 100, 100))
    with drawing_from(np.random.default_rng(0)):
        factors = np.array([ColorJitter(brightness=0.5)(grey).getpixel((0, 0))[0] for _ in range(1000)]) / 100
    assert 0.5 <= factors.min() < 0.51
    assert 1.48 < factors.max() <= 1.5
    assert abs(factors.mean() - 1) < 0.04
    image = Image.fromarray(np.array([[[50] * 3, [150] * 3]], np.uint8))
    jitter = ColorJitter(brightness=(2, 2), contrast=(0.5, 0.5))  # 2 * 150 is clipped to 255, if it comes first
    with drawing_from(np.random.default_rng(0)):
        results = [jitter(image).tobytes() for _ in range(400)]
    assert len(set(results)) == 2
    assert 160 < results.count(results[0]) < 240


def test_nothing_to_change():
    image = photo()
    for jitter in (ColorJitter(), ColorJitter(brightness=(1, 1), hue=(0, 0))):
        assert same(jitter(image), image)


def test_random_grayscale():
    image = photo()
    assert same(RandomGrayscale(1)(image), image.convert("L").convert("RGB"))
    assert same(RandomGrayscale(0)(image), image)
    with drawing_from(np.random.default_rng(1)):
        assert 80 < sum(RandomGrayscale(0.1)(image) is not image for _ in range(1000)) < 120


# ---- what is refused, and how they print ----------------------------------------------------------------------------


def test_repr_is_the_call():
    for text in (
        "RandomResizedCrop(size=(8, 9), scale=(0.5, 1.0), ratio=(0.75, 1.25), interpolation='bicubic')",
        "ColorJitter(brightness=(0.5, 1.5), contrast=(0.0, 3.0), saturation=(1.0, 1.0), hue=(-0.25, 0.25))",
        "RandomGrayscale(p=0.5)",
    ):
        assert repr(eval(text)) == text
    assert repr(ColorJitter(0.5, 2, hue=0.25)) == (
        "ColorJitter(brightness=(0.5, 1.5), contrast=(0.0, 3.0), saturation=(1.0, 1.0), hue=(-0.25, 0.25))"
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RandomResizedCrop(0), "RandomResizedCrop: size is too small; seen size=0 (int)"),
        (
            lambda: RandomResizedCrop(8, scale=0.5),
            "RandomResizedCrop: scale is no range; seen scale=0.5; rule: (smallest, largest)",
        ),
        (lambda: RandomResizedCrop(8, scale=(0.9, 0.1)), "scale is out of range; seen scale=(0.9, 0.1); rule: 0 <="),
        (lambda: RandomResizedCrop(8, scale=(0, 1)), "scale begins with zero; seen scale=(0.0, 1.0); rule: above 0"),
        (lambda: RandomResizedCrop(8, scale=(0.1, 1.5)), "rule: 0 <= smallest <= largest <= 1"),
        (lambda: RandomResizedCrop(8, ratio=(0, 1)), "ratio begins with zero; seen ratio=(0.0, 1.0); rule: above 0"),
        (lambda: RandomResizedCrop(8, ratio=(1, float("nan"))), "ratio[1] is not a finite number"),
        (
            lambda: RandomResizedCrop(8, interpolation="lanczos5"),
            "an unknown interpolation; seen interpolation='lanczos5'; rule: one of nearest, bilinear, bicubic",
        ),
        (lambda: ColorJitter(-0.1), "ColorJitter: brightness is out of range; seen brightness=-0.1; rule: 0 or more"),
        (lambda: ColorJitter(hue=0.6), "ColorJitter: hue is out of range; seen hue=0.6; rule: 0 .. 0.5"),
        (lambda: ColorJitter(hue=(-0.6, 0)), "rule: -0.5 <= smallest <= largest <= 0.5"),
        (lambda: ColorJitter(contrast=(2, 1)), "contrast is out of range; seen contrast=(2, 1)"),
        (lambda: ColorJitter(saturation="x"), "saturation is not a finite number; seen saturation='x' (str)"),
        (lambda: RandomGrayscale(2), "RandomGrayscale: p is no probability; seen p=2; rule: 0 <= p <= 1"),
    ],
)
def test_wrong_arguments(make, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        make()


@pytest.mark.parametrize("transform", [RandomResizedCrop(2), ColorJitter(), RandomGrayscale()])
def test_arrays_of_floats_are_refused(transform):
    text = f"hint: put {type(transform).__name__} before ToTensor"
    with pytest.raises(DTypeError, match=text):
        transform(np.zeros((3, 4, 4), np.float32))
