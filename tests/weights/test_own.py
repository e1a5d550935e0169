"""Weights of ours that are not in the wheel: found where they are, fetched and compared where an address is given."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from minicnn import weights
from minicnn.errors import WeightsError
from minicnn.training.pretrained import DEFAULT, PHOTOGRAPHS, default_weights
from minicnn.weights import embedded, own

pytest.importorskip("pooch")
WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
CONTENT = b"as if it were weights" * 100


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A server with one file of ours; a cache that is empty, and no source tree."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "some.h5").write_bytes(CONTENT)
    item = own.Own("some.h5", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    monkeypatch.setattr(own, "OWN", own.OWN)
    monkeypatch.setitem(own.OWN, "some", item)
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetched_once_and_then_found(published, monkeypatch):
    address, folder = published
    with pytest.raises(WeightsError, match=r"some: these weights are not on this machine; .* set MINICNN_WEIGHTS_URL"):
        weights.find("some")
    monkeypatch.setenv(own.VARIABLE, address)
    path = weights.find("some")
    assert path.read_bytes() == CONTENT
    (folder / "some.h5").unlink()
    assert weights.find("some") == path
    monkeypatch.delenv(own.VARIABLE)
    assert weights.find("some") == path
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match="not on this machine"):
        weights.find("some")


def test_other_bytes_are_thrown_away(published, monkeypatch, tmp_path):
    address, folder = published
    (folder / "some.h5").write_bytes(CONTENT[::-1])
    monkeypatch.setenv(own.VARIABLE, address)
    with pytest.raises(WeightsError, match="other bytes than the published ones"):
        weights.find("some")
    assert not list((tmp_path / "cache").rglob("some*"))


def test_a_path_goes_before_a_name(published, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").write_bytes(b"")
    assert weights.find("some").name == "some"


def test_without_the_weights_for_photographs_the_small_ones_are_taken_and_that_is_said(published, monkeypatch):
    monkeypatch.delenv(own.VARIABLE, raising=False)
    monkeypatch.setattr(embedded, "available", dict)
    lines: list[str] = []
    assert default_weights(False, lines.append) == DEFAULT
    assert not lines
    assert default_weights(True, lines.append) == DEFAULT
    assert len(lines) == 1
    assert lines[0].startswith("the weights for photographs are not here, small ones for grey pictures are taken")
    monkeypatch.setattr(embedded, "available", lambda: {PHOTOGRAPHS: None})
    assert default_weights(True, lines.append) == PHOTOGRAPHS


@pytest.mark.parametrize("name", own.OWN)
def test_what_can_be_fetched_is_what_lies_in_the_source_tree(name):
    content = (WEIGHTS / own.OWN[name].file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == own.OWN[name].sha256
    assert len(content) == own.OWN[name].most_bytes
