"""DataLoader: batches, order, the same bits for (seed, epoch, sample) whatever the workers; what it refuses."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pytest

from minicnn.autograd import Tensor
from minicnn.backends.random import manual_seed
from minicnn.data import ArrayDataset, DataLoader, Subset, drawing_from, sample_generator
from minicnn.data.transforms import Compose, RandomCrop, RandomHorizontalFlip, Resize, ToTensor
from minicnn.errors import ArgumentError, DataError

CLASSES = ["a", "b", "c"]
AUGMENT = Compose([RandomCrop(6, padding=2), RandomHorizontalFlip(), ToTensor()])


def dataset(count: int = 10, transform=AUGMENT) -> ArrayDataset:
    """Different images, labels 0, 1, 2, 0, ..."""
    images = np.random.default_rng(5).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return ArrayDataset(images, np.arange(count) % 3, CLASSES, transform)


def epoch_of(loader: DataLoader) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(images.numpy(), labels.numpy()) for images, labels in loader]


def equal(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x, u) and np.array_equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


class Numbered:
    """A data set of one's own: image i holds i; the label is i."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((1, 2, 2), index, np.float32), index


# ---- batches --------------------------------------------------------------------------------------------------------


def test_batches_are_tensors():
    for images, labels in DataLoader(dataset(), batch_size=5):
        assert isinstance(images, Tensor)
        assert isinstance(labels, Tensor)
        assert (images.shape, images.dtype) == ((5, 1, 6, 6), np.float32)
        assert (labels.shape, labels.dtype) == ((5,), np.int64)
        assert not images.requires_grad


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(
    ("count", "batch_size", "drop_last", "sizes"),
    [
        (10, 4, False, [4, 4, 2]),
        (10, 4, True, [4, 4]),
        (10, 5, True, [5, 5]),
        (10, 1, False, [1] * 10),
        (3, 8, False, [3]),
        (8, 8, True, [8]),
    ],
)
def test_sizes_and_order(count, batch_size, drop_last, sizes, workers):
    loader = DataLoader(Numbered(count), batch_size, drop_last=drop_last, num_workers=workers)
    batches = epoch_of(loader)
    assert len(loader) == len(sizes)
    assert [len(labels) for _, labels in batches] == sizes
    seen = np.concatenate([labels for _, labels in batches])
    assert seen.tolist() == list(range(sum(sizes)))
    assert [image.mean() for images, _ in batches for image in images] == list(range(sum(sizes)))


def test_shuffling_shows_every_sample_once_in_a_new_order():
    loader = DataLoader(Numbered(50), 7, shuffle=True, seed=1)
    first, second = (np.concatenate([labels for _, labels in epoch_of(loader)]).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != list(range(50))
    assert first != second


def test_default_is_one_image_in_order():
    assert [labels.numpy().tolist() for _, labels in DataLoader(Numbered(3))] == [[0], [1], [2]]


def test_tensors_and_lists_as_samples():
    batches = epoch_of(DataLoader([[Tensor(np.ones((1, 1, 1), np.float32)), np.int16(2)]] * 3, 2))
    assert [labels.tolist() for _, labels in batches] == [[2, 2], [2]]
    assert batches[0][0].shape == (2, 1, 1, 1)


# ---- determinism ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, False])
def test_workers_do_not_change_a_bit(shuffle):
    loaders = [DataLoader(dataset(23), 4, shuffle, seed=9, num_workers=workers) for workers in (0, 1, 2, 5)]
    for _ in range(3):
        expected, *others = [epoch_of(loader) for loader in loaders]
        assert all(equal(expected, other) for other in others)


def test_the_seed_decides_and_epochs_differ():
    loader, same, other = (DataLoader(dataset(), 10, shuffle=True, seed=seed) for seed in (0, 0, 1))
    first, second = epoch_of(loader), epoch_of(loader)
    assert equal(first, epoch_of(same))
    assert equal(second, epoch_of(same))
    assert not equal(first, second)
    assert not equal(first, epoch_of(other))


def test_set_epoch():
    loader = DataLoader(dataset(), 4, shuffle=True, seed=0)
    epochs = [epoch_of(loader) for _ in range(3)]
    assert loader.epoch == 3
    loader.set_epoch(1)
    assert equal(epochs[1], epoch_of(loader))
    assert equal(epochs[2], epoch_of(loader))
    resumed = DataLoader(dataset(), 4, shuffle=True, seed=0, num_workers=2)
    resumed.set_epoch(2)
    assert equal(epochs[2], epoch_of(resumed))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_from_its_middle(workers):
    loader = DataLoader(dataset(), 3, shuffle=True, seed=0, num_workers=workers)
    loader.set_epoch(5)
    whole, after = epoch_of(loader), epoch_of(loader)
    for start in range(5):
        resumed = DataLoader(dataset(), 3, shuffle=True, seed=0, num_workers=workers)
        resumed.set_epoch(5, start=start)
        assert len(resumed) == 4
        assert equal(epoch_of(resumed), whole[start:])
        assert equal(epoch_of(resumed), after)


def test_batches_before_the_start_are_not_read():
    read: list[int] = []

    class Listening(Numbered):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            read.append(index)
            return super().__getitem__(index)

    loader = DataLoader(Listening(10), 2)
    loader.set_epoch(0, start=3)
    assert len(list(loader)) == 2
    assert read == [6, 7, 8, 9]


def test_a_loop_that_is_left_early_counts_as_an_epoch():
    loader = DataLoader(dataset(), 2, seed=0)
    next(iter(loader))
    assert loader.epoch == 1


def test_augmentation_belongs_to_the_sample_not_to_its_place():
    alone = dict(
        zip(
            range(10),
            (image for images, _ in epoch_of(DataLoader(dataset(), 1, seed=4)) for image in images),
            strict=True,
        )
    )
    shuffled = DataLoader(dataset(), 3, shuffle=True, seed=4)
    order = shuffled.order(0)
    images = np.concatenate([images for images, _ in epoch_of(shuffled)])
    assert order.tolist() != list(range(10))
    for place, sample in enumerate(order):
        assert np.array_equal(images[place], alone[sample])


def test_augmentation_changes_from_epoch_to_epoch_and_from_sample_to_sample():
    same_image = ArrayDataset(np.repeat(dataset(1).images, 40, axis=0), [0] * 40, CLASSES, AUGMENT)
    loader = DataLoader(same_image, 40, seed=0)
    (first, _), (second, _) = epoch_of(loader) + epoch_of(loader)
    assert len({image.tobytes() for image in first}) > 15
    assert sum(np.array_equal(a, b) for a, b in zip(first, second, strict=True)) < 15


def test_the_order_is_pinned():
    """A change here breaks the promise that a resumed run repeats an old one."""
    loader = DataLoader(Numbered(8), shuffle=True, seed=0)
    assert [loader.order(epoch).tolist() for epoch in (0, 1)] == PINNED_ORDER
    samples = [(np.zeros(1, np.float32), 0)] * 2
    drawn = DataLoader(Drawing(samples), 2, seed=0)
    assert [labels.tolist() for _, labels in epoch_of(drawn)] == PINNED_DRAWS


class Drawing:
    """A data set of one's own whose labels are random numbers."""

    def __init__(self, samples: list) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.samples[index][0], int(sample_generator().integers(1000))


PINNED_ORDER = [[7, 0, 1, 6, 5, 2, 3, 4], [3, 2, 1, 0, 6, 4, 7, 5]]
PINNED_DRAWS = [[971, 266]]


def test_a_data_set_of_ones_own_draws_from_the_sample_too():
    samples = [(np.zeros(1, np.float32), 0)] * 30
    draws = [epoch_of(DataLoader(Drawing(samples), 7, seed=2, num_workers=workers)) for workers in (0, 3)]
    assert equal(*draws)
    assert len(set(np.concatenate([labels for _, labels in draws[0]]))) > 20


def test_without_a_seed_the_global_generator_decides():
    def two_loaders() -> list[int]:
        return [DataLoader(Numbered(2), shuffle=True).seed for _ in range(2)]

    manual_seed(11)
    first = two_loaders()
    assert first[0] != first[1]
    manual_seed(11)
    assert two_loaders() == first
    manual_seed(12)
    assert two_loaders() != first


def test_reading_with_a_seed_leaves_the_global_generator_alone():
    before = manual_seed(3).bit_generator.state
    epoch_of(DataLoader(dataset(), 3, shuffle=True, seed=0))
    assert manual_seed(3).bit_generator.state == before
    generator = manual_seed(3)
    epoch_of(DataLoader(dataset(), 3, shuffle=True, seed=0))
    assert generator.bit_generator.state == before


def test_outside_of_a_loader_the_global_generator_is_used():
    image = dataset().images[0]
    flip = RandomHorizontalFlip()

    def flips() -> list[bool]:
        return [np.array_equal(np.asarray(flip(image)), image) for _ in range(40)]

    manual_seed(5)
    first = flips()
    manual_seed(5)
    assert flips() == first
    assert len(set(first)) == 2
    with drawing_from(np.random.default_rng(0)):
        inside = sample_generator()
        assert inside is sample_generator()
    assert sample_generator() is not inside


# ---- workers --------------------------------------------------------------------------------------------------------


def test_workers_read_at_the_same_time():
    together = threading.Barrier(2, timeout=30)

    class Waiting(Numbered):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            together.wait()  # only two workers at once get past this
            return super().__getitem__(index)

    assert len(epoch_of(DataLoader(Waiting(4), 1, num_workers=2))) == 4


def test_workers_read_only_so_far_ahead():
    read: list[int] = []

    class Listening(Numbered):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            read.append(index)
            return super().__getitem__(index)

    batches = iter(DataLoader(Listening(100), 1, num_workers=2))
    next(batches)
    deadline = time.monotonic() + 30
    while len(read) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # time enough to read everything, if nothing held the workers back
    assert len(read) == 5  # two for each worker, and one in place of the batch given out
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("minicnn-data")]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_in_its_turn(workers):
    class Broken(Numbered):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            if index == 5:
                raise DataError("a broken image", called="photo5.jpg")
            return super().__getitem__(index)

    seen = []
    batches = (labels.numpy().tolist() for _, labels in DataLoader(Broken(10), 2, num_workers=workers))
    with pytest.raises(DataError, match=r"photo5\.jpg: a broken image"):
        seen.extend(batches)
    assert seen == [[0, 1], [2, 3]]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("minicnn-data")]


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"batch_size": 0},
            "DataLoader: batch_size is too small; seen batch_size=0 (int); rule: an integer, 1 or more",
        ),
        ({"batch_size": 2.0}, "DataLoader: batch_size is not an integer; seen batch_size=2.0 (float)"),
        ({"num_workers": -1}, "DataLoader: num_workers is too small; seen num_workers=-1 (int)"),
        ({"seed": -3}, "DataLoader: seed is too small; seen seed=-3 (int)"),
        ({"seed": "x"}, "DataLoader: seed is not an integer; seen seed='x' (str)"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        DataLoader(dataset(), **options)


def test_wrong_epoch():
    with pytest.raises(ArgumentError, match=r"DataLoader\.set_epoch: epoch is too small; seen epoch=-1"):
        DataLoader(dataset()).set_epoch(-1)
    with pytest.raises(ArgumentError, match="start is behind the end of the epoch; seen start=5, 4 batches an epoch;"):
        DataLoader(dataset(), 3).set_epoch(0, start=5)


def test_no_data_set_and_an_empty_one():
    with pytest.raises(ArgumentError, match="DataLoader: not a data set; seen int"):
        DataLoader(3)
    with pytest.raises(DataError, match="DataLoader: an empty data set"):
        DataLoader([])
    with pytest.raises(DataError, match="drop_last leaves no batch; seen 10 images, batch_size=11"):
        DataLoader(dataset(), 11, drop_last=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_different_shapes(workers):
    images = [(np.zeros((3, 4, 4), np.float32), 0), (np.zeros((3, 4, 5), np.float32), 1)]
    with pytest.raises(DataError) as caught:
        epoch_of(DataLoader(images, 2, num_workers=workers))
    assert str(caught.value) == (
        "DataLoader: images of different shapes in a batch; seen sample 0 (3, 4, 4), sample 1 (3, 4, 5); "
        "rule: one shape (C, H, W) for all images of a batch; "
        "hint: add Resize((height, width)), or Resize(size) and CenterCrop(size), to the transform"
    )


def test_images_of_different_dtypes():
    samples = [(np.zeros((1, 1, 1), dtype), 0) for dtype in (np.float32, np.float64)]
    with pytest.raises(
        DataError, match="different dtypes in a batch; seen sample 0 float32, sample 1 float64; rule: one"
    ):
        epoch_of(DataLoader(samples, 2))


@pytest.mark.parametrize(
    ("samples", "error", "text"),
    [
        ([np.zeros(3, np.float32)], DataError, "DataLoader: sample 0: not a pair; seen ndarray"),
        ([(1, 2, 3)], DataError, "DataLoader: sample 0: not a pair; seen tuple; rule: dataset[i] gives (image, label)"),
        ([(np.zeros(3, np.uint8), 0)], DataError, "the image is not a float array; seen array uint8"),
        ([("a.jpg", 0)], DataError, "the image is not a float array; seen str"),
        ([(np.zeros(3, np.float32), 0.5)], ArgumentError, "sample 0: label is not an integer; seen label=0.5 (float)"),
        ([(np.zeros(3, np.float32), "a")], ArgumentError, "sample 0: label is not an integer; seen label='a' (str)"),
    ],
)
def test_wrong_samples(samples, error, text):
    with pytest.raises(error, match=re.escape(text)):
        epoch_of(DataLoader(samples))


def test_a_forgotten_to_tensor():
    with pytest.raises(
        DataError, match=re.escape("seen Image; rule: a float32 array (C, H, W); hint: end the transform")
    ):
        epoch_of(DataLoader(dataset(transform=Resize(4))))


def test_a_subset():
    part = Subset(dataset(), [7, 1, 4])
    (images, labels), *rest = epoch_of(DataLoader(part, 4, seed=0))
    assert labels.tolist() == [1, 1, 1]
    assert images.shape == (3, 1, 6, 6)
    assert not rest


def test_repr():
    assert repr(DataLoader(dataset(), 2, True, 7)) == (
        "DataLoader(ArrayDataset(10 images (6, 6) uint8, 3 classes), batch_size=2, shuffle=True, seed=7, "
        "drop_last=False, num_workers=0)"
    )
