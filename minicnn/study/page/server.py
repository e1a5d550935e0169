"""The page on this machine: a small server that only this machine can reach, and only who knows the address.

It listens on 127.0.0.1. A web page elsewhere that sends a browser here must name another host (DNS rebinding), or
cannot know the random word in the path; both get an error. No path is a file: there are two addresses, the page and a
block of an array.
"""

from __future__ import annotations

import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from minicnn.errors import ArgumentError
from minicnn.study.page.html import page_of, policy
from minicnn.study.page.notebook import answer
from minicnn.study.page.numbers import Numbers

HOST = "127.0.0.1"
LONGEST_PATH = 1_000
SECONDS = 30  # a connection that says nothing for so long is closed


class Server:
    """A server of one page; `with Server(numbers) as server:` closes it at the end.

    Parameters
    ----------
    numbers : Numbers
    port : int
        0: any that is free.

    Attributes
    ----------
    url : str
        The page's address, with its random word.
    port : int
    """

    def __init__(self, numbers: Numbers, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        try:
            self._server = _Server((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ArgumentError(
                "cannot listen on this port",
                called="explore",
                seen=f"port {port}: {getattr(error, 'strerror', None) or error}",
                hint="another --port, or 0 for any that is free",
            ) from None
        self.port = int(self._server.server_address[1])
        self.url = f"http://{HOST}:{self.port}/{self.token}/"
        self._server.numbers, self._server.token, self._server.computing = numbers, self.token, threading.Lock()
        self._server.page = page_of(numbers.title, {"description": numbers.description}, "'self'").encode()

    def run(self) -> None:
        """Answer until `close` is called from another thread, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def start(self) -> Server:
        """Answer in a thread of its own."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        """Stop, and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(numbers: Numbers, port: int = 0) -> Server:
    """Serve the page in the background; `.url` is its address, `.close()` ends it."""
    return Server(numbers, port).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    numbers: Numbers
    token: str
    page: bytes
    computing: threading.Lock

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SECONDS
    server_version, sys_version = "minicnn", ""

    def do_GET(self) -> None:
        """The page, or a block of an array; anything else is an error."""
        if self.headers.get("Host", "") not in self._hosts():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"another host's name", "text/plain")
            return
        parts = urlsplit(self.path) if len(self.path) <= LONGEST_PATH else urlsplit("/")
        token, slash, rest = parts.path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
        elif rest == "":
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif rest == "block":
            self._block(parts.query)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

    do_HEAD = do_GET  # noqa: N815

    def _hosts(self) -> tuple[str, str]:
        port = self.server.server_address[1]
        return f"{HOST}:{port}", f"localhost:{port}"

    def _block(self, query: str) -> None:
        key, ranges = "", [[-1]]  # fits no array
        try:
            words = parse_qs(query, max_num_fields=2)
            key, text = words.get("key", [""])[0], words.get("at", [""])[0]
            ranges = [[int(v) for v in pair.split(":")] for pair in text.split(",")] if text else []
        except ValueError:
            pass
        with self.server.computing:  # the engine's threads are one team
            reply, data = answer(self.server.numbers, {"key": key, "ranges": ranges})
        if "error" in reply:
            self._send(HTTPStatus.BAD_REQUEST, str(reply["error"]).encode(), "text/plain; charset=utf-8")
        else:
            self._send(HTTPStatus.OK, data, "application/octet-stream", {"X-Type": reply["type"]})

    def _send(self, status: HTTPStatus, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy("'self'") + "; frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            **(more or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""
