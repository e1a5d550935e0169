"""The server: this machine only, the random word in the path, the Host header, and no path that is a file."""

import http.client
import json
import socket

import numpy as np
import pytest

from minicnn.errors import ArgumentError
from minicnn.study.page import Server, serve


@pytest.fixture(scope="module")
def server(numbers):
    with Server(numbers) as running:
        yield running


def ask(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.port}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_it_serves_the_page_and_blocks(server, numbers):
    answer, body = ask(server, f"/{server.token}/")
    assert answer.status == 200
    assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"minicnn-data" in body
    data = json.loads(body.partition(b'id="minicnn-data">')[2].partition(b"</script>")[0])
    assert set(data) == {"description"}  # arrays come when they are asked for
    answer, body = ask(server, f"/{server.token}/block?key=t0&at=0:1,0:2,0:10,0:9")
    assert answer.headers["X-Type"] == "float32"
    np.testing.assert_array_equal(np.frombuffer(body, "<f4"), numbers.recording.images.array[0].ravel())
    answer, body = ask(server, f"/{server.token}/", method="HEAD")
    assert (answer.status, body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/block?key=t0", 404),
        ("/{token}x/", 404),
        ("/{token}", 404),
        ("/{token}/../../etc/passwd", 404),
        ("/{token}/%2e%2e/pyproject.toml", 404),
        ("/{token}/page.html", 404),
        ("/%C3%A9/", 404),
        ("/{token}/block", 400),
        ("/{token}/block?key=t0", 400),
        ("/{token}/block?key=t0&at=0:1,0:2,0:10,0:99", 400),
        ("/{token}/block?key=t0&at=a:b", 400),
        ("/{token}/block?key=t0&at=0:1&at=0:1&at=0:1", 400),
        ("/{token}/block?key=../t0&at=0:1", 400),
        ("/{token}/block?key=e0:y&at=0:1", 400),
        ("/{token}/block?key=e&at=a", 400),
        ("/" + "a" * 5000, 404),
    ],
)
def test_no_other_path_says_anything(server, path, status):
    answer, body = ask(server, path.format(token=server.token))
    assert answer.status == status
    assert len(body) < 400 or status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_another_host_name_gets_nothing(server, host):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("GET", f"/{server.token}/", skip_host=True)
    connection.putheader("Host", host.format(port=server.port))
    connection.endheaders()
    assert connection.getresponse().status == 421
    connection.close()
    assert ask(server, f"/{server.token}/", host=f"localhost:{server.port}")[0].status == 200


def test_other_methods_are_refused(server):
    assert ask(server, f"/{server.token}/", method="POST")[0].status == 501


def test_it_listens_on_the_loopback_only(server):
    assert server._server.server_address[0] == "127.0.0.1"
    try:
        other = socket.gethostbyname(socket.gethostname())
    except OSError:
        other = "127.0.0.1"
    if other.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((other, server.port), timeout=1)


def test_tokens_differ_and_ports_in_use_are_said(numbers, server):
    second = serve(numbers)
    try:
        assert second.token != server.token
        assert len(second.token) >= 32
        with pytest.raises(ArgumentError, match="cannot listen on this port"):
            Server(numbers, server.port)
    finally:
        second.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", second.port), timeout=1)
