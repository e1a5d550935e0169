"""MixUp and CutMix: torchvision's rules by hand, shares that are true, the loader's batches, PyTorch's loss."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compare import assert_close

from minicnn import manual_seed, nn, optim
from minicnn.data import ArrayDataset, DataLoader, drawing_from
from minicnn.data.transforms import CutMix, MixUp, RandomChoice
from minicnn.errors import ArgumentError, DataError, ShapeError
from minicnn.training import Trainer


def batch(count: int = 5, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).random((count, 3, 8, 10)).astype(dtype)
    return images, np.arange(count) % 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mixup_is_the_weighted_mean_with_the_image_before(dtype):
    images, labels = batch(dtype=dtype)
    share = np.random.default_rng(4).beta(0.4, 0.4)
    with drawing_from(np.random.default_rng(4)):
        mixed, probabilities = MixUp(alpha=0.4, num_classes=3)(images, labels)
    one_hot = np.eye(3, dtype=dtype)[labels]
    for result, source in ((mixed, images), (probabilities, one_hot)):
        expected = share * source + (1 - share) * np.roll(source, 1, axis=0)
        assert_close(result, expected.astype(dtype), rtol=1e-6 if dtype == np.float32 else 1e-15)
    assert np.array_equal(images, batch(dtype=dtype)[0])  # the input is left alone


def test_cutmix_takes_a_rectangle_from_the_image_before():
    images, labels = np.repeat(np.arange(4, dtype=np.float32), 3 * 8 * 10).reshape(4, 3, 8, 10), np.arange(4)
    areas = set()
    for seed in range(100):
        with drawing_from(np.random.default_rng(seed)):
            mixed, probabilities = CutMix(num_classes=4)(images, labels)
        other = mixed == np.roll(images, 1, axis=0)
        assert np.all(other | (mixed == images))
        assert (other == other[:1, :1]).all()  # the same place in all images and channels
        rows, columns = other[0, 0].any(axis=1), other[0, 0].any(axis=0)
        assert np.array_equal(other[0, 0], np.outer(rows, columns))
        for mask in (rows, columns):  # one piece
            assert np.count_nonzero(np.diff(np.r_[0, mask, 0])) in (0, 2)
        share = 1 - other[0, 0].mean()
        expected = share * np.eye(4) + (1 - share) * np.roll(np.eye(4), 1, axis=0)
        assert_close(probabilities, expected.astype(np.float32), rtol=1e-6)
        areas.add((int(rows.sum()), int(columns.sum())))
    assert len(areas) > 20


def test_cutmix_by_torchvisions_numbers():
    """Share 0.36: half-sides 0.4 of the image, cut off at its border."""

    class Fixed:
        def beta(self, a: float, b: float) -> float:
            return 0.36

        def integers(self, stop: int) -> int:
            return stop - 3  # (x, y) = (7, 5) in an image of 8 x 10

    images, labels = np.stack([np.zeros((1, 8, 10)), np.ones((1, 8, 10))]), np.arange(2)
    with drawing_from(Fixed()):  # type: ignore[arg-type]
        mixed, probabilities = CutMix(num_classes=2)(images, labels)
    expected = np.zeros((8, 10))
    expected[2:8, 3:10] = 1  # y 5 - 3 .. min(5 + 3, 8); x 7 - 4 .. min(7 + 4, 10)
    assert np.array_equal(mixed[0, 0], expected)
    assert_close(probabilities[0], np.array([1 - 42 / 80, 42 / 80]))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_those_of_the_beta_distribution(alpha):
    images, labels = np.zeros((2, 1, 1, 1), np.float64), np.arange(2)
    with drawing_from(np.random.default_rng(0)):
        shares = np.array([MixUp(alpha=alpha, num_classes=2)(images, labels)[1][0, 0] for _ in range(3000)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 0.25 / (2 * alpha + 1)) < 0.01


def test_a_loader_mixes_each_batch_in_its_own_way():
    images, labels = batch(40)
    choose = RandomChoice([MixUp(num_classes=3), CutMix(num_classes=3)])
    dataset = ArrayDataset(images, labels, ["a", "b", "c"])
    loader = DataLoader(dataset, 4, seed=0, batch_transform=choose)
    first, second = [[(x.numpy(), y.numpy()) for x, y in loader] for _ in range(2)]
    shares = [y[1].max() for _, y in first]
    assert len(set(shares)) > 7  # CutMix has few different areas in so small an image
    assert [y[1].max() for _, y in second] != shares
    assert {(x.dtype, x.shape, y.dtype, y.shape) for x, y in first} == {
        (np.dtype(np.float32), (4, 3, 8, 10), np.dtype(np.float32), (4, 3))
    }
    assert_close(np.concatenate([y.sum(axis=1) for _, y in first]), np.ones(40, np.float32), rtol=1e-6)
    assert repr(DataLoader(dataset, batch_transform=MixUp(num_classes=3), seed=0)).endswith(
        "num_workers=0, batch_transform=MixUp(alpha=1.0, num_classes=3))"
    )


def test_a_network_learns_from_mixed_images():
    manual_seed(0)
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).random((60, 1, 4, 4)).astype(np.float32)
    images[np.arange(60), 0, labels] += 2  # a bright row tells the class
    dataset = ArrayDataset(images, labels, ["a", "b", "c"])
    mix = MixUp(num_classes=3)
    # while the process reads, the threads of kernels run in this one
    loader = DataLoader(dataset, 12, True, 0, num_workers=1, workers="processes", batch_transform=mix)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.05), nn.CrossEntropyLoss(), progress=False)
    history = trainer.fit(loader, epochs=10)
    assert history[-1].train_loss < 0.8 * history[0].train_loss
    assert history[-1].train_accuracy > 0.75  # of the class that an image shows most of
    loader.close()
    assert trainer.evaluate(DataLoader(dataset, 60)).metrics.accuracy > 0.95


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: MixUp(alpha=0, num_classes=2), ArgumentError, "MixUp: alpha is not positive; seen alpha=0; rule: abo"),
        (lambda: CutMix(num_classes=0), ArgumentError, "CutMix: num_classes is too small; seen num_classes=0 (int)"),
        (
            lambda: MixUp(num_classes=3)(batch()[0][0], batch()[1]),
            ShapeError,
            "MixUp: not a batch of images; seen array float32 (3, 8, 10); rule: a float array (N, C, H, W); hint: it",
        ),
        (
            lambda: CutMix(num_classes=3)(batch()[0], batch()[1][:2]),
            ShapeError,
            "CutMix: labels do not fit the images; seen images (5, 3, 8, 10), labels int64 (2,); rule: integers (N,),",
        ),
        (
            lambda: MixUp(num_classes=2)(*batch()),
            DataError,
            "MixUp: a label without a class; seen labels 0 .. 2, num_classes=2; rule: 0 <= label < num_classes",
        ),
    ],
)
def test_what_is_refused(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()
