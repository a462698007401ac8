"""A client that reads only when it is told to: what it has not taken stays with the server. Blocking."""

from __future__ import annotations

import os
import socket
from pathlib import Path

PATIENCE = 30
"""Seconds after which nothing more is taken to come."""


LARGE = 16 << 20
"""Bytes; more than the sockets of both sides take in."""


def enlarge(uploads: Path) -> None:
    """Makes an image of these so large that no answer with it fits into sockets."""
    os.truncate(min(uploads.rglob("*.png")), LARGE)


def ask(address: tuple[str, int], token: str, path: str, *headers: str) -> socket.socket:
    """Asks for this, and has room for little of the answer."""
    raw = socket.socket()
    raw.settimeout(PATIENCE)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(address)
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *headers]
    raw.sendall("\r\n".join([*lines, "", ""]).encode())
    return raw


def ask_events(address: tuple[str, int], token: str) -> socket.socket:
    """A WebSocket that is open, and of which nothing was read since."""
    headers = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    raw = ask(address, token, "/ws", *headers, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    assert b" 101 " in head(raw)
    return raw


def head(raw: socket.socket) -> bytes:
    """The head of an answer, byte by byte: nothing of what follows is taken."""
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        seen += _more(raw, 1)
    return seen


def content(raw: socket.socket) -> bytes:
    """The body of an answer, read to its end."""
    lengths = [line for line in head(raw).lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0].split(b":")[1])
    parts: list[bytes] = []
    while left > 0:
        parts.append(_more(raw, 1 << 20))
        left -= len(parts[-1])
    return b"".join(parts)


def _more(raw: socket.socket, most: int) -> bytes:
    part = raw.recv(most)
    if not part:
        raise ConnectionError("the answer was broken off")
    return part
