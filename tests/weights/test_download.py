"""Downloads from a server on this machine that also misbehaves: the right bytes, or a clear error and no half file."""

from __future__ import annotations

import hashlib
import http.server
import io
import re
import threading

import numpy as np
import pytest

from minicnn.errors import ArgumentError, WeightsError
from minicnn.weights import published
from minicnn.weights.download import download

pytest.importorskip("pooch")
CONTENT = np.random.default_rng(0).bytes(200_000)
HALF = len(CONTENT) // 2


class Handler(http.server.BaseHTTPRequestHandler):
    """Does what `server.mode` says with the file `server.content`; ranges are honoured if `server.ranges`."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range", "")
        server.asked.append(asked)
        mode = server.mode
        if mode == "missing":
            return self.send_error(404)
        if mode == "broken":
            return self.send_error(503)
        if mode == "elsewhere" and not self.path.startswith("/there/"):
            return self._redirect(f"/there{self.path}")
        if mode == "in circles":
            return self._redirect(self.path)
        if mode == "to a file":
            return self._redirect("file:///etc/passwd")
        content = server.content
        start = int(asked[6:-1]) if asked and server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            begin = start + (1 if mode == "another place" else 0)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        length = 10**12 if mode == "huge" else len(content) - start
        if mode != "endless":
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if mode == "cut once" and not start:
            return self.wfile.write(content[:HALF])
        if mode == "cut always":
            return self.wfile.write(content[:HALF])
        if mode == "stall":
            self.wfile.write(content[start:HALF] if start < HALF else b"")
            return server.over.wait(20)
        if mode == "drip":
            for i in range(start, len(content)):
                self.wfile.write(content[i : i + 1])
                if server.over.wait(0.02):
                    return None
        if mode == "endless":
            for _ in range(10_000):
                self.wfile.write(bytes(10_000))
        return self.wfile.write(content[start:])

    def _redirect(self, to):
        self.send_response(302)
        self.send_header("Location", to)
        self.end_headers()


@pytest.fixture
def server():
    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # a client that goes away
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    server.mode, server.ranges, server.content, server.asked = "", True, CONTENT, []
    server.over = threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def publish(monkeypatch, content=CONTENT, parameters=50_000, architecture="resnet18"):
    name = f"tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    item = published.Published(name, architecture, parameters, 0.5)
    monkeypatch.setitem(published.PUBLISHED, "tiny", item)
    return name


@pytest.fixture
def file(monkeypatch, tmp_path):
    return tmp_path / publish(monkeypatch)


@pytest.fixture
def get(server, file):
    def call(**options):
        options = {"folder": file.parent, "address": server.address, "timeout": 0.2, "show": False, **options}
        return download("tiny", **options)

    return call


def part_of(file):
    return file.with_name(f"{file.name}.part")


def left(file):
    return sorted(path.name for path in file.parent.iterdir())


def test_a_download_is_kept_and_not_fetched_again(get, file, server):
    assert get() == file
    assert file.read_bytes() == CONTENT
    assert left(file) == [file.name]
    assert get() == file
    assert server.asked == [""]


def test_a_file_that_changed_since_is_fetched_again(get, file):
    file.write_bytes(CONTENT[:-1] + b"x")
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("missing", "the server does not give the file; seen status 404"),
        ("broken", "the server does not give the file; seen status 503"),
        ("in circles", "the server sends us from place to place"),
        ("to a file", "the download failed"),
        ("huge", r"sends more than the published file; seen 1,000,000,000,000 bytes; rule: at most [\d,]+;"),
        ("endless", r"sends more than the published file; seen [\d,]+ bytes"),
    ],
)
def test_a_server_that_does_not_give_the_file(get, file, server, mode, text):
    server.mode = mode
    with pytest.raises(WeightsError, match=text) as caught:
        get()
    assert "\n" not in str(caught.value)
    assert left(file) == []


@pytest.mark.parametrize(
    ("mode", "ranges", "text"),
    [
        ("cut always", False, "the connection broke"),
        ("stall", True, "the server stopped sending .for 0.2 seconds."),
        ("drip", True, "the server hardly sends anything"),
    ],
)
def test_what_has_come_is_kept_and_the_next_time_goes_on_from_there(get, file, server, mode, ranges, text):
    server.mode, server.ranges = mode, ranges
    with pytest.raises(WeightsError, match=rf"{text}.*seen [\d,]+ bytes are kept in .*hint: run it again"):
        get()
    kept = part_of(file).stat().st_size
    assert left(file) == [f"{file.name}.part"]
    assert 0 < kept <= HALF
    server.mode, server.ranges, server.asked = "", True, []
    assert get().read_bytes() == CONTENT
    assert server.asked == [f"bytes={kept}-"]
    assert left(file) == [file.name]


def test_a_connection_that_breaks_once_is_taken_up_again_at_once(get, server):
    server.mode = "cut once"
    assert get().read_bytes() == CONTENT
    assert server.asked == ["", f"bytes={HALF}-"]


def test_a_redirect_is_followed(get, server):
    server.mode = "elsewhere"
    assert get().read_bytes() == CONTENT


def test_other_bytes_are_thrown_away(get, file, server):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(WeightsError, match=r"other bytes than the published ones.*rule: SHA-256 [0-9a-f]{8}\.\.\."):
        get()
    assert left(file) == []


def test_a_beginning_of_other_bytes_is_thrown_away_too(get, file):
    part_of(file).write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match="other bytes than the published ones"):
        get()
    assert left(file) == []
    assert get().read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(get, file, server):
    part_of(file).write_bytes(b"x" * 1000)
    server.ranges = False
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_a_server_that_continues_elsewhere(get, file, server):
    part_of(file).write_bytes(CONTENT[:1000])
    server.mode = "another place"
    with pytest.raises(WeightsError, match="continues at another place than it was asked to; seen bytes 1001-"):
        get()


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"more"])
def test_a_part_that_is_whole_already_or_too_long(get, file, server, content):
    part_of(file).write_bytes(content)
    assert get().read_bytes() == CONTENT
    assert server.asked[0] == f"bytes={len(content)}-"


def test_offline(get, file, server):
    with pytest.raises(
        WeightsError, match=r"the server cannot be reached \(no network\?\); seen .*hint: check"
    ) as caught:
        get(address="http://127.0.0.1:9/")
    assert "\n" not in str(caught.value)
    assert left(file) == []


def test_an_unknown_name(get):
    with pytest.raises(ArgumentError, match="no published weights of that name; seen 'resnet19'; rule: resnet18,"):
        download("resnet19")


def test_names_of_files_hold_their_checksum():
    for name, item in published.PUBLISHED.items():
        assert re.fullmatch(r"[0-9a-f]{8}", item.sha256), name
        assert item.info_fields()["accuracy"] == item.accuracy


def test_weights_are_downloaded_imported_and_found_the_next_time(monkeypatch, tmp_path, server):
    from minicnn import weights
    from minicnn.models import resnet18
    from minicnn.models.downloading import download_weights

    model = resnet18(width=2, num_classes=3)
    buffer = io.BytesIO()
    np.savez(buffer, **model.state_dict())
    server.content = buffer.getvalue()
    publish(monkeypatch, server.content, parameters=len(server.content))
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    path, report = download_weights("tiny", address=server.address, show=False)
    assert report is not None
    assert len(report.loaded) == len(model.state_dict())
    state, info = weights.read(path)
    for name, array in model.state_dict().items():
        assert np.array_equal(state[name], array)
    assert (info.architecture, info.accuracy, info.resize) == ("resnet18", 0.5, 256)
    asked = len(server.asked)
    assert download_weights("tiny", address=server.address) == (path, None)
    assert len(server.asked) == asked
