"""S12: data preparation. Two sources of images are looked at, cleaned, fused into one training set, and normalised.

    python tutorials/documents/preparation.py

The text asks for cleaning, normalisation and fusion, and has no listing. What it leaves open, and what is done here:

- What is dirty? Files that cannot be read, images too small to show anything, the same image twice, and worst: the same
  image under two labels, or in what is learned from and in what is tested on. All of it is planted here, and found.
- Two sources name their classes differently and have other sizes and modes. Labels go by name, through a mapping;
  numbers would mix them up without a word.
- Mean and standard deviation are those of the training images, after cleaning. From all images, the tested ones would
  have a say in what is learned.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from minicnn.data import Concat, DataLoader, ImageFolder, Subset, digits, transforms
from minicnn.data.contact_sheet import contact_sheet
from minicnn.data.inspection import inspect

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SOURCE = digits()


def write(path, number, size, mode="L"):
    """A digit as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(SOURCE.images[number]).resize((size, size), Image.Resampling.BICUBIC)
    image.convert(mode).save(path)


def write_sources(folder):
    """scans/train/7/, scans/test/7/: grey, 48 x 48; photos/seven/: colour, 64 x 64; with seven faults."""
    for i in range(300):
        label = SOURCE.targets[i]
        if i < 100:
            write(folder / "scans" / "train" / str(label) / f"{i}.png", i, 48)
        elif i < 200:
            write(folder / "photos" / WORDS[label] / f"{i}.png", i, 64, "RGB")
        else:
            write(folder / "scans" / "test" / str(label) / f"{i}.png", i, 48)
    write(folder / "photos" / "three" / "small.png", 13, 8)  # too small
    whole = next((folder / "photos" / "five").iterdir()).read_bytes()
    (folder / "photos" / "five" / "cut.png").write_bytes(whole[:200])  # a download that broke off
    (folder / "photos" / "five" / "empty.png").write_bytes(b"")
    write(folder / "photos" / "eight" / "again.png", 105, 64, "RGB")  # twice, under two labels
    write(folder / "scans" / "train" / "0" / "again.png", 0, 48)  # twice, under one
    write(folder / "scans" / "train" / str(SOURCE.targets[201]) / "seen.png", 201, 48)  # learned from and tested on
    write(folder / "photos" / WORDS[SOURCE.targets[202]] / "seen.png", 202, 64, "RGB")  # the same, larger


with tempfile.TemporaryDirectory() as temporary:
    root = Path(temporary)
    write_sources(root)
    scans = ImageFolder(root / "scans" / "train")
    photos = ImageFolder(root / "photos", skip_bad=True)
    test = ImageFolder(root / "scans" / "test")
    print(f"{len(photos.skipped)} files cannot be read, for example: {photos.skipped[0][1]}")

    # Fusion: the words become numbers; classes of the same name are one.
    mapping = [{}, {word: str(i) for i, word in enumerate(WORDS)}]
    fused = Concat([scans, photos], mapping)
    found = inspect({"train": fused, "test": test}, progress=False)
    print(found)

    # Cleaning: out goes what is too small, what is in the test too, what has two labels, and of twins the second.
    leaks = {name for pair in found.leaks for name in pair}
    twins = {name for group in found.duplicates for name in group[1:]}
    conflicts = {name for pair in found.conflicts for name in pair}
    bad = {Path(name).name for name in {*found.tiny, *leaks, *twins, *conflicts}}
    names = [Path(fused.datasets[s].samples[i][0]).name for s, i in zip(fused.source, fused.index, strict=True)]
    kept = [i for i, name in enumerate(names) if name not in bad]
    clean = Subset(fused, kept)
    again = inspect({"train": clean, "test": test}, progress=False)
    print(f"{len(fused)} images to learn from, {len(clean)} after cleaning; {len(photos.skipped)} could not be read")

    # Normalisation: each pixel minus the mean of the training images, over their standard deviation.
    steps = [transforms.Grayscale(3), transforms.Resize((32, 32)), transforms.ToTensor()]
    normalize = transforms.Normalize(again.mean, again.std)
    ready = Subset(Concat([scans, photos], mapping, transforms.Compose([*steps, normalize])), kept)
    images, labels = next(iter(DataLoader(ready, batch_size=len(ready))))
    mean, std = images.numpy().mean(axis=(0, 2, 3)), images.numpy().std(axis=(0, 2, 3))
    print(f"mean {again.mean[0]:.3f}, std {again.std[0]:.3f}; normalised: mean {mean[0]:+.3f}, std {std[0]:.3f}")
    contact_sheet(clean, images=8, size=64).save("preparation.png")

assert len(photos.skipped) == 2
assert len(found.tiny) == 1
assert len(found.leaks) == 2
assert len(found.conflicts) == 1
assert not again.tiny
assert not again.duplicates
assert not again.leaks
assert not again.conflicts
assert fused.classes == scans.classes == test.classes
true = [SOURCE.targets[int(Path(names[i]).stem)] for i in kept]
assert labels.numpy().tolist() == true
assert np.abs(mean).max() < 0.1
assert np.abs(std - 1).max() < 0.15
