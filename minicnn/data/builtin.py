"""Real images without a folder of one's own: scikit-learn's digits, and Fashion-MNIST.

`digits` is always there. `fashion_mnist` is read from the Debian package `dataset-fashion-mnist` where that is
installed, otherwise downloaded once and checked against the SHA-256 of the official files.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.arrays import ArrayDataset
from minicnn.errors import DataError, MissingPackageError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts its files
BASE_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
# SHA-256 of the official files. The package's files differ: they are compressed again, around the same bytes.
SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def digits(transform: Callable[[Any], Any] | None = None) -> ArrayDataset:
    """The 1,797 handwritten digits of scikit-learn: 8x8 grey images, ten classes.

    Returns
    -------
    ArrayDataset
        images (1797, 8, 8) uint8, scaled from the original 0..16 to 0..255; classes "0" .. "9".
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return ArrayDataset(images, bunch.target.astype(np.int64), [str(digit) for digit in range(10)], transform)


def fashion_mnist(train: bool = True, transform: Callable[[Any], Any] | None = None) -> ArrayDataset:
    """Fashion-MNIST: 28x28 grey pictures of clothes, ten classes, 60,000 to train on and 10,000 to test.

    Parameters
    ----------
    train : bool
        The part to train on, or the test part.
    transform : callable, optional
        From one image, a (28, 28) uint8 array, to what the network wants.

    Returns
    -------
    ArrayDataset
        images (60000, 28, 28) or (10000, 28, 28), uint8.
    """
    part, count = ("train", 60_000) if train else ("t10k", 10_000)
    images = read_idx(_fashion_file(f"{part}-images-idx3-ubyte.gz"), (count, 28, 28))
    labels = read_idx(_fashion_file(f"{part}-labels-idx1-ubyte.gz"), (count,))
    return ArrayDataset(images, labels, FASHION_CLASSES, transform)


def read_idx(path: str | os.PathLike[str], shape: tuple[int, ...]) -> np.ndarray:
    """Read a gzipped idx file of bytes, MNIST's format.

    The file is: two zero bytes, 8 (the code of uint8), the number of axes, the length of each axis as four bytes (the
    most significant first), then the values. All of it is compared with `shape` before any value is read, so that a
    false header cannot make us allocate.

    Parameters
    ----------
    path : path
        The `.gz` file.
    shape : tuple of int
        The shape that the file must have.

    Returns
    -------
    array
        uint8, `shape`.
    """
    header = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
    size = math.prod(shape)
    try:
        with gzip.open(path) as file:
            seen = file.read(len(header))
            values = file.read(size + 1) if seen == header else b""  # one more: nothing may follow
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            "a broken idx file",
            called=str(path),
            seen=f"{type(error).__name__}: {error}",
            rule="a whole gzip file",
            hint="remove the file and get it again",
        ) from None
    if seen != header or len(values) != size:
        problem = "another header" if seen != header else "another number of values"
        found = (
            f"header {seen.hex(' ')}" if seen != header else f"{'more' if len(values) > size else len(values)} bytes"
        )
        raise DataError(
            f"{problem} than Fashion-MNIST has",
            called=str(path),
            seen=found,
            rule=f"header {header.hex(' ')}, then {size} bytes of shape {shape}",
            hint="remove the file and get it again",
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


def _fashion_file(name: str) -> Path:
    """Path of one of the four files, downloaded if need be."""
    local = DEBIAN_FOLDER / name
    if local.is_file():
        return local
    try:
        import pooch
    except ImportError:
        raise MissingPackageError(
            "Fashion-MNIST is not on this machine, and pooch, which would download it, is not installed",
            called="fashion_mnist",
            seen=f"no {local}",
            hint="pip install pooch, or apt install dataset-fashion-mnist",
        ) from None
    folder = Path(os.environ.get("MINICNN_CACHE") or pooch.os_cache("minicnn")) / "fashion-mnist"
    try:
        return Path(
            pooch.retrieve(
                BASE_URL + name,
                known_hash=f"sha256:{SHA256[name]}",
                fname=name,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=30),
            )
        )
    except (OSError, ValueError) as error:  # no network, a wrong answer, no space; or a wrong hash
        raise DataError(
            "Fashion-MNIST is not on this machine and cannot be downloaded",
            called="fashion_mnist",
            seen=f"no {local}; {BASE_URL + name}: {' '.join(str(error).split())}",
            hint="connect to the network, or apt install dataset-fashion-mnist",
        ) from None
