"""read_image: every kind of image becomes RGB; broken and hostile files are one clear error each."""

from __future__ import annotations

import os
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn.data import decode_image, read_image
from minicnn.data.images import check_image
from minicnn.errors import DataError


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert "hint: " in text
    return text


@pytest.fixture
def photo(tmp_path):
    """A JPEG of noise, so that its data is long."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)).save(path, quality=95)
    return path


# ---- kinds of images ------------------------------------------------------------------------------------------------


def pixels(image: Image.Image, path: Path, **options: object) -> list:
    image.save(path, **options)
    read = read_image(path)
    assert read.mode == "RGB"
    return np.asarray(read).tolist()


def test_grey(tmp_path):
    assert pixels(Image.fromarray(np.array([[0, 7]], np.uint8)), tmp_path / "a.png") == [[[0] * 3, [7] * 3]]


def test_bits(tmp_path):
    assert pixels(Image.fromarray(np.array([[True, False]])), tmp_path / "a.png") == [[[255] * 3, [0] * 3]]


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 2, 1]], np.uint8))
    image.putpalette([10, 11, 12, 20, 21, 22, 30, 31, 32])
    expected = [[[10, 11, 12], [30, 31, 32], [20, 21, 22]]]
    assert pixels(image, tmp_path / "a.png") == expected
    assert pixels(image, tmp_path / "b.png", transparency=1) == expected
    assert pixels(image, tmp_path / "c.png", transparency=b"\x00\x80\xff") == expected  # Pillow alone warns here


def test_alpha_is_dropped(tmp_path):
    image = Image.fromarray(np.array([[[1, 2, 3, 0], [4, 5, 6, 255]]], np.uint8))
    assert pixels(image, tmp_path / "a.png") == [[[1, 2, 3], [4, 5, 6]]]
    grey = Image.fromarray(np.array([[[9, 0], [8, 255]]], np.uint8))
    assert pixels(grey, tmp_path / "b.png") == [[[9, 9, 9], [8, 8, 8]]]


def test_cmyk(tmp_path):
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    image.save(tmp_path / "a.jpg", quality=100)
    read = read_image(tmp_path / "a.jpg")
    assert read.mode == "RGB"
    assert np.abs(np.asarray(read).astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_not_clipped(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    if suffix == "pgm":
        path.write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    assert np.asarray(read_image(path))[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_32_bits_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    for values in (np.array([[0.5, 3e5]], np.float32), np.array([[1, 70_000]], np.int32)):
        Image.fromarray(values).save(path)
        assert "an image of numbers without a range; seen mode" in refusal(path)


def test_content_decides_not_the_name(tmp_path):
    path = tmp_path / "really_png.jpg"
    Image.new("RGB", (3, 2), (1, 2, 3)).save(path, format="PNG")
    assert read_image(path).getpixel((2, 1)) == (1, 2, 3)


def test_the_first_picture_of_an_animation(tmp_path):
    path = tmp_path / "a.webp"
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert read_image(path).getpixel((0, 0)) == (255, 255, 255)


def test_the_file_is_closed(photo):
    image = read_image(photo)  # an open file would be a ResourceWarning too, which is an error in our tests
    os.remove(photo)
    assert image.getpixel((0, 0)) is not None  # decoded: nothing is read any more
    folder = Path("/proc/self/fd")
    links = [os.readlink(link) for link in folder.iterdir() if link.is_symlink()] if folder.exists() else []
    assert not [link for link in links if link.startswith(str(photo))]


# ---- broken files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_truncated_jpeg(photo, keep):
    photo.write_bytes(photo.read_bytes()[: int(photo.stat().st_size * keep)])
    assert re.search(
        r"a broken image; seen OSError: .*truncated.*; rule: the whole file can be decoded", refusal(photo)
    )


def test_truncated_png(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    assert "a broken image" in refusal(path)


def test_corrupt_png(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    assert "a broken image" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"not an image at all",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    ],
    ids=["empty", "one byte", "text", "git-lfs pointer"],
)
def test_no_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert f"not an image that can be read; seen {len(content)} bytes that begin with {content[:12]!r}" in refusal(path)


def test_postscript_is_never_run(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\nshowpage\n%%EOF\n")
    assert "not an image that can be read" in refusal(path)


def test_other_things_than_files(tmp_path):
    assert refusal(tmp_path / "gone.png").split(": ", 1)[1].startswith("no such file")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    assert "no such file" in refusal(tmp_path / "dangling.png")
    (tmp_path / "folder.png").mkdir()
    assert "not a file; rule: a regular file" in refusal(tmp_path / "folder.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a file" in refusal(tmp_path / "pipe.png")  # opening it would wait forever


def test_a_name_with_a_line_break(tmp_path):
    path = tmp_path / "two\nlines.jpg"
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert r"two\nlines.jpg" in str(caught.value)


# ---- bombs ----------------------------------------------------------------------------------------------------------


def test_a_huge_image_in_a_small_file(tmp_path):
    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert "an image too large to be decoded safely" in refusal(path)


@pytest.mark.parametrize("side", [40, 60])  # above Pillow's limit, and above twice the limit
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_pillows_limit_is_an_error(tmp_path, monkeypatch, side, action):
    path = tmp_path / "a.png"
    Image.new("L", (side, side)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        assert "rule: at most 1500 pixels" in refusal(path)


def test_the_limit_can_be_lifted(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("L", (40, 40)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1600)
    assert read_image(path).size == (40, 40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).size == (40, 40)


def test_many_pixels_from_few_bytes(tmp_path):
    path = tmp_path / "white.png"
    Image.new("L", (5000, 4000), 255).save(path)
    assert "20000000" not in refusal(path)
    assert "5000 x 4000 pixels in" in refusal(path)
    assert "rule: at most 200 pixels a byte" in refusal(path)
    Image.new("L", (2800, 2800), 255).save(path)
    assert read_image(path).size == (2800, 2800)


# ---- EXIF orientation -----------------------------------------------------------------------------------------------

# A camera that was turned: what the tag says, and how the stored pixels must be turned (as EXIF 2.3 defines it).
TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
    9: lambda x: x,  # not in the standard: no turn
}


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tif"])
def test_photographs_are_turned_upright(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    stored = np.kron(np.random.default_rng(0).integers(0, 256, (2, 3, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {"lossless": True}))
        upright = np.asarray(read_image(path))
        assert upright.shape == turn(stored).shape
        assert np.abs(upright.astype(int) - turn(stored)).mean() < (6 if suffix == "jpg" else 1e-9)
        if suffix != "tif":  # Pillow itself turns those
            as_stored = np.asarray(read_image(path, exif=False))
            assert np.abs(as_stored.astype(int) - stored).mean() < (6 if suffix == "jpg" else 1e-9)


def test_turned_16_bit_and_palette(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(path, exif=exif)
    assert np.asarray(read_image(path)).tolist() == [[[0] * 3], [[255] * 3]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.save(path, exif=exif, transparency=0)
    assert np.asarray(read_image(path)).tolist() == [[[1, 2, 3]], [[4, 5, 6]]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says it, and goes on
@pytest.mark.parametrize(
    "data", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"nonsense"]
)
def test_torn_exif_data_cost_nothing(tmp_path, data):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 4), (9, 9, 9)).save(path, exif=data)
    assert read_image(path).size == (8, 4)
    decoded = decode_image(path.read_bytes())
    assert np.array_equal(np.asarray(decoded), np.asarray(read_image(path)))


def test_bytes_are_refused_by_the_name_they_are_given():
    with pytest.raises(DataError, match="sample 7: not an image that can be read; seen 3 bytes"):
        decode_image(b"abc", "sample 7")
    with pytest.raises(DataError, match="sample 7: not an image that can be read; seen 3 bytes"):
        check_image(b"abc", "sample 7")


def test_checking_finds_what_reading_finds(photo, tmp_path):
    check_image(photo)
    whole = photo.read_bytes()
    for content in (whole[:2000], whole[:-200], b"", b"%!PS"):
        photo.write_bytes(content)
        with pytest.raises(DataError) as caught:
            check_image(photo)
        assert str(caught.value) == refusal(photo)
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="an image of numbers without a range"):
        check_image(tmp_path / "a.tif")
