"""Random transforms: torchvision's rules with fixed numbers, and distributions counted with fixed seeds."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from minicnn.data import drawing_from
from minicnn.data.transforms import (
    ColorJitter,
    RandomApply,
    RandomChoice,
    RandomErasing,
    RandomGrayscale,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    ToTensor,
)
from minicnn.data.transforms.color_jitter import shift_hue
from minicnn.errors import ArgumentError, DataError, DTypeError, ShapeError


def photo(height: int = 12, width: int = 16) -> Image.Image:
    """Random colours."""
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8))


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Mean, deviation and ends of 2000 numbers; a correct generator fails in one of ten thousand seeds."""
    assert len(values) == 2000
    uniform = (values - low) / (high - low)
    assert -0.01 < uniform.min() < 0.01 < 0.99 < uniform.max() < 1.01
    assert abs(uniform.mean() - 0.5) < 0.025  # four deviations
    assert abs(uniform.std() - 12**-0.5) < 0.015


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
    assert_uniform(height * width / size**2, 0.1, 0.4)
    assert_uniform(np.log(width / height), -math.log(2), math.log(2))
    assert_uniform(top / (size - height), 0, 1)
    assert_uniform(left / (size - width), 0, 1)


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
    for name in ("nearest", "bilinear", "bicubic", "lanczos"):
        expected = image.resize((6, 9), Image.Resampling[name.upper()])
        assert same(RandomResizedCrop((9, 6), **whole, interpolation=name)(image), expected)


# ---- RandomVerticalFlip, RandomRotation ------------------------------------------------------------------------------


def test_random_vertical_flip():
    image = photo()
    assert np.array_equal(np.asarray(RandomVerticalFlip(1)(image)), np.asarray(image)[::-1])
    with drawing_from(np.random.default_rng(0)):
        assert 200 < sum(RandomVerticalFlip(0.25)(image) is not image for _ in range(1000)) < 300


def test_random_rotation():
    image = photo(9, 9)
    assert np.array_equal(np.asarray(RandomRotation((90, 90))(image)), np.rot90(np.asarray(image)))  # counter-clockwise
    turned = RandomRotation((30, 30), "bilinear", expand=True, center=(2, 3), fill=(1, 2, 3))(image)
    expected = image.rotate(30, Image.Resampling.BILINEAR, True, (2, 3), fillcolor=(1, 2, 3))
    assert same(turned, expected)
    assert RandomRotation((45, 45), fill=9)(image).getpixel((0, 0)) == (9, 9, 9)
    assert RandomRotation((45, 45), fill=9)(image.convert("L")).getpixel((0, 0)) == 9


def test_angles_are_uniform(monkeypatch):
    angles = []
    monkeypatch.setattr(Image.Image, "rotate", lambda image, angle, *_, **__: angles.append(angle))
    with drawing_from(np.random.default_rng(0)):
        for _ in range(2000):
            RandomRotation(20)(photo())
    assert_uniform(np.array(angles), -20, 20)


# ---- RandomErasing --------------------------------------------------------------------------------------------------


def test_rectangles_have_the_distribution_of_the_rule():
    erase, size = RandomErasing(scale=(0.02, 0.2), ratio=(0.5, 3)), 4000
    with drawing_from(np.random.default_rng(0)):
        top, left, height, width = np.array([erase.rectangle(size, size) for _ in range(2000)]).T
    assert_uniform(height * width / size**2, 0.02, 0.2)
    assert_uniform(np.log(height / width), math.log(0.5), math.log(3))
    assert_uniform(top / (size - height), 0, 1)
    assert_uniform(left / (size - width), 0, 1)


@pytest.mark.parametrize("value", [0, (1.5, 2.5, 3.5), "random"])
def test_a_rectangle_is_covered(value):
    x = np.random.default_rng(0).random((3, 20, 30), dtype=np.float32) + 5
    before = x.copy()
    erase = RandomErasing(1, value=value)
    with drawing_from(np.random.default_rng(5)):
        y = erase(x)
    assert np.array_equal(x, before)  # the input is left alone
    changed = (y != x).any(axis=0)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    assert changed[inside].all()
    assert changed.sum() == changed[inside].size < changed.size
    covered = y[:, inside[0], inside[1]]
    if value == "random":
        assert len(np.unique(covered)) == covered.size
        assert abs(covered.mean()) < 0.3
        assert 0.8 < covered.std() < 1.2
    else:
        expected = np.broadcast_to(np.reshape(value, (-1, 1, 1)), covered.shape)
        assert np.array_equal(covered, expected.astype(np.float32))
    assert y.dtype == np.float32


def test_how_often_it_is_erased():
    x = np.ones((1, 8, 8), np.float32)
    with drawing_from(np.random.default_rng(0)):
        assert 200 < sum(RandomErasing(0.25)(x) is not x for _ in range(1000)) < 300
        assert RandomErasing(1, scale=(1, 1))(x) is x  # no rectangle smaller than the image: nothing is done


# ---- RandomApply, RandomChoice --------------------------------------------------------------------------------------


def test_random_apply_and_choice():
    with drawing_from(np.random.default_rng(0)):
        some = RandomApply([lambda x: x + 1, lambda x: x * 10], 0.25)
        results = [some(1) for _ in range(1000)]
        chosen = [RandomChoice([abs, lambda x: x], [3, 1])(-1) for _ in range(1000)]
        evenly = [RandomChoice([abs, lambda x: x])(-1) for _ in range(1000)]
    assert set(results) == {1, 20}
    assert 200 < results.count(20) < 300
    assert 700 < chosen.count(1) < 800
    assert 440 < evenly.count(1) < 560
    with drawing_from(np.random.default_rng(0)):
        assert RandomChoice([lambda x, y: (y, x)])(1, 2) == (2, 1)


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
        "RandomVerticalFlip(p=0.5)",
        "RandomRotation(degrees=(-5.0, 5.0), interpolation='bilinear', expand=True, center=(1.0, 2.0), fill=0)",
        "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value='random')",
        "RandomApply(transforms=[ToTensor()], p=0.25)",
        "RandomChoice(transforms=[ToTensor(), RandomGrayscale(p=0.1)], p=[0.25, 0.75])",
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
            "an unknown interpolation; seen interpolation='lanczos5'; rule: one of nearest, bilinear, bicubic, box",
        ),
        (
            lambda: RandomRotation(9, interpolation="box"),
            "seen interpolation='box'; rule: one of nearest, bilinear, bic",
        ),
        (lambda: ColorJitter(-0.1), "ColorJitter: brightness is out of range; seen brightness=-0.1; rule: 0 or more"),
        (lambda: ColorJitter(hue=0.6), "ColorJitter: hue is out of range; seen hue=0.6; rule: 0 .. 0.5"),
        (lambda: ColorJitter(hue=(-0.6, 0)), "rule: -0.5 <= smallest <= largest <= 0.5"),
        (lambda: ColorJitter(contrast=(2, 1)), "contrast is out of range; seen contrast=(2, 1)"),
        (lambda: ColorJitter(saturation="x"), "saturation is not a finite number; seen saturation='x' (str)"),
        (lambda: RandomRotation(-3), "RandomRotation: degrees is negative; seen degrees=-3; rule: 0 or more"),
        (lambda: RandomRotation((3, -3)), "degrees is out of range; seen degrees=(3, -3); rule: smallest <= largest"),
        (lambda: RandomRotation(3, center=4), "RandomRotation: center is no point; seen center=4; rule: (x, y)"),
        (lambda: RandomErasing(scale=(0.5, 2)), "RandomErasing: scale is out of range; seen scale=(0.5, 2)"),
        (lambda: RandomErasing(ratio=(0, 2)), "RandomErasing: ratio begins with zero"),
        (lambda: RandomErasing(value="grey"), "RandomErasing: an unknown value; seen value='grey'; rule: numbers or"),
        (lambda: RandomApply(abs), "RandomApply: transforms are not a list; seen builtin_function_or_method"),
        (lambda: RandomApply([ToTensor]), "RandomApply: transforms[0] is not a transform; seen <class"),
        (lambda: RandomChoice([]), "RandomChoice: weights that choose nothing; seen 0 transforms, p=None"),
        (lambda: RandomChoice([abs, abs], [1, -1]), "rule: one weight for each transform, none below zero"),
        (lambda: RandomGrayscale(2), "RandomGrayscale: p is no probability; seen p=2; rule: 0 <= p <= 1"),
    ],
)
def test_wrong_arguments(make, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        make()


@pytest.mark.parametrize("transform", [RandomResizedCrop(2), ColorJitter(), RandomGrayscale(), RandomRotation(9)])
def test_arrays_of_floats_are_refused(transform):
    text = f"hint: put {type(transform).__name__} before ToTensor"
    with pytest.raises(DTypeError, match=text):
        transform(np.zeros((3, 4, 4), np.float32))


def test_what_else_is_refused():
    with pytest.raises(DTypeError, match=r"RandomErasing: not a float array .* hint: put ToTensor\(\) before"):
        RandomErasing()(photo())
    with pytest.raises(ShapeError, match="RandomErasing: value and the image differ in channels"):
        RandomErasing(value=(1, 2))(np.zeros((3, 4, 4), np.float32))
    with pytest.raises(DataError, match="RandomRotation: fill and the image differ in channels"):
        RandomRotation(5, fill=(1, 2))(photo())
