"""HTTP/1.1 by hand over a connection that is kept: a client that takes next to no time of its own."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

PATIENCE = 120.0
"""Seconds without a byte after which the peer is taken to hang."""
LINES = 8
"""Connections that ask at once: enough that the server never waits for the client."""
MOST = 900
"""Requests over one connection: hypercorn closes it after 1,000."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


class Refused(Exception):
    """Another answer than was hoped for."""


class Line:
    """A connection, opened anew before the server would close it."""

    def __init__(self, url: str, token: str) -> None:
        self._at = urlsplit(url)
        self._common = f"Host: {self._at.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        self._sent = 0
        found = socket.create_connection((self._at.hostname or "", self._at.port or 80), PATIENCE)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found

    def request(self, path: str, method: str = "GET") -> bytes:
        """What `send` takes; made once when it is sent often."""
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        return f"{method} {path} HTTP/1.1\r\n{self._common}{length}\r\n".encode()

    def send(self, request: bytes) -> None:
        """When nothing is under way."""
        if self._sent == MOST:
            self.socket.close()
            self.socket = self._connect()
        self._sent += 1
        self.socket.sendall(request)

    def head(self) -> tuple[int, int, bytes]:
        """Status, length of the body, and as much of the body as came along. Raises `Refused` when the peer has gone."""
        found = b""
        while _END not in found:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise Refused("the connection was closed")
            found += piece
        head, _, rest = found.partition(_END)
        length = _LENGTH.search(head)
        return int(head[9:12]), int(length[1]) if length else 0, rest

    def any_answer(self) -> tuple[int, bytes]:
        """Status and whole body. Raises `Refused` when the peer has gone."""
        status, length, body = self.head()
        while len(body) < length:
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise Refused("the connection was closed")
            body += piece
        return status, body

    def answer(self) -> bytes:
        """A whole body. Raises `Refused` unless it is that of a 200."""
        status, body = self.any_answer()
        if status != 200:
            raise Refused(f"{status} {body[:200]!r}")
        return body

    def ask(self, request: bytes) -> bytes:
        self.send(request)
        return self.answer()


@contextmanager
def line(url: str, token: str) -> Iterator[Line]:
    found = Line(url, token)
    try:
        yield found
    finally:
        found.socket.close()


def rate(url: str, token: str, path: str, seconds: float) -> float:
    """Answers a second over `LINES` new connections while each of them has a request under way."""
    with ExitStack() as stack:
        lines = [stack.enter_context(line(url, token)) for _ in range(LINES)]
        request = lines[0].request(path)
        began, asked = time.perf_counter(), 0
        while not asked or time.perf_counter() - began < seconds:
            for each in lines:
                each.send(request)
            for each in lines:
                each.answer()
            asked += 1
        return asked * LINES / (time.perf_counter() - began)
