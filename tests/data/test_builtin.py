"""digits and Fashion-MNIST: known content; broken files, no network, no package."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import re
import sys
import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits

from minicnn.data import builtin, datasets, digits, fashion_mnist
from minicnn.data.transforms import ToTensor
from minicnn.errors import DataError, MissingPackageError

needs_fashion = pytest.mark.skipif(
    not builtin.DEBIAN_FOLDER.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed"
)


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file, gzipped."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes(), compresslevel=1)


# ---- digits ---------------------------------------------------------------------------------------------------------


def test_digits():
    dataset = digits()
    assert (len(dataset), dataset.images.shape, dataset.images.dtype) == (1797, (1797, 8, 8), np.uint8)
    assert dataset.classes == [str(d) for d in range(10)]
    assert np.bincount(dataset.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    original = load_digits().images
    assert (dataset.images[original == 16] == 255).all()
    assert (dataset.images[original == 0] == 0).all()
    assert np.abs(dataset.images - original * 255 / 16).max() <= 0.5
    assert [label for _, label in (dataset[i] for i in range(10))] == list(range(10))


def test_digits_with_a_transform():
    image, label = datasets.digits(ToTensor())[0]
    assert (image.shape, image.dtype, label) == ((1, 8, 8), np.float32, 0)
    assert image.max() <= 1


# ---- Fashion-MNIST --------------------------------------------------------------------------------------------------


@needs_fashion
def test_fashion_mnist():
    test = fashion_mnist(train=False, transform=ToTensor())
    assert test.images.shape == (10_000, 28, 28)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.classes[9] == "Ankle boot"
    assert test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    assert hashlib.sha256(test.images.tobytes()).hexdigest() == TEST_IMAGES
    assert test[0][0].shape == (1, 28, 28)
    train = fashion_mnist()
    assert train.images.shape == (60_000, 28, 28)
    assert train.labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert round(train.images.mean() / 255, 4) == 0.2860  # the mean that everybody normalises with
    assert round(train.images.std() / 255, 4) == 0.3530


TEST_IMAGES = "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a"  # SHA-256 of the pixels


@pytest.fixture
def no_package(tmp_path, monkeypatch):
    """A machine without the Debian package; the cache is empty."""
    monkeypatch.setattr(builtin, "DEBIAN_FOLDER", tmp_path / "nowhere")
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_no_package_and_no_pooch(no_package, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingPackageError) as caught:
        fashion_mnist()
    assert "pooch, which would download it, is not installed" in str(caught.value)
    assert "hint: pip install pooch, or apt install dataset-fashion-mnist" in str(caught.value)


def test_no_package_and_no_network(no_package, monkeypatch):
    pytest.importorskip("pooch")
    monkeypatch.setattr(builtin, "BASE_URL", "http://127.0.0.1:9/")  # nobody listens there
    with pytest.raises(DataError) as caught:
        fashion_mnist()
    assert "Fashion-MNIST is not on this machine and cannot be downloaded" in str(caught.value)
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def server(no_package, monkeypatch):
    """A local server with small files of the right shape; `files` is what it gives."""
    pytest.importorskip("pooch")
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    files = {
        "t10k-images-idx3-ubyte.gz": idx(np.full((10_000, 28, 28), 3, np.uint8)),
        "t10k-labels-idx1-ubyte.gz": idx(labels),
    }
    for name, content in files.items():
        monkeypatch.setitem(builtin.SHA256, name, hashlib.sha256(content).hexdigest())
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            content = files.get(self.path[1:])
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        monkeypatch.setattr(builtin, "BASE_URL", f"http://127.0.0.1:{web.server_port}/")
        yield files, requests
        web.shutdown()
        thread.join()


def test_download_once(server, no_package):
    _, requests = server
    dataset = fashion_mnist(train=False)
    assert dataset.images.shape == (10_000, 28, 28)
    assert (dataset.images == 3).all()
    assert dataset.labels[:12].tolist() == [*range(10), 0, 1]
    assert len(requests) == 2
    fashion_mnist(train=False)
    assert len(requests) == 2  # from the cache
    assert (no_package / "cache" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").is_file()


def test_download_of_other_bytes(server, no_package):
    files, _ = server
    files["t10k-images-idx3-ubyte.gz"] = idx(np.full((10_000, 28, 28), 4, np.uint8))
    with pytest.raises(DataError, match=r"cannot be downloaded; seen .*SHA256 hash"):
        fashion_mnist(train=False)
    assert not (no_package / "cache" / "fashion-mnist" / "t10k-images-idx3-ubyte.gz").exists()


def test_download_not_found(server):
    files, _ = server
    files.clear()
    with pytest.raises(DataError, match=r"cannot be downloaded; seen .*404"):
        fashion_mnist(train=False)


# ---- idx files ------------------------------------------------------------------------------------------------------


def test_read_idx(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a.gz").write_bytes(idx(array))
    assert np.array_equal(builtin.read_idx(tmp_path / "a.gz", (2, 3, 4)), array)


HEADER = bytes([0, 0, 8, 1, 0, 0, 0, 4])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (gzip.compress(HEADER + b"abc"), "another number of values than Fashion-MNIST has; seen 3 bytes; rule: header"),
        (gzip.compress(HEADER + b"abcde"), "another number of values than Fashion-MNIST has; seen more bytes"),
        (
            gzip.compress(b"\x00\x00\x08\x01\xff\xff\xff\xff" + b"abcd"),
            "another header than Fashion-MNIST has; seen header",
        ),
        (
            gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x04" + b"abcd"),
            "seen header 00 00 0d 01 00 00 00 04; rule: header",
        ),
        (
            gzip.compress(b""),
            "another header than Fashion-MNIST has; seen header ; rule: header 00 00 08 01 00 00 00 04",
        ),
        (gzip.compress(HEADER + b"abcd")[:-9], "a broken idx file; seen EOFError"),
        (gzip.compress(HEADER + b"abcd")[:-5] + b"12345", "a broken idx file; seen BadGzipFile"),
        (b"<html>404</html>", "a broken idx file; seen BadGzipFile: Not a gzipped file"),
        (b"", "another header"),
    ],
)
def test_broken_idx(tmp_path, content, text):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(text)) as caught:
        builtin.read_idx(path, (4,))
    assert str(caught.value).startswith(str(path))


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    import tracemalloc

    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(HEADER + bytes(50_000_000), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="seen more bytes"):
            builtin.read_idx(path, (4,))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="a broken idx file; seen FileNotFoundError"):
        builtin.read_idx(tmp_path / "a.gz", (4,))
