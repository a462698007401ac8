"""`watching.py URL TOKEN COUNT`: so many WebSockets of one user in one process, as cheap as they can be: frames are cut and
looked at, not parsed. Prints `ready` when all are open, and when each has seen an export's end, or the first of them long
ago, what came as JSON."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from datetime import datetime
from urllib.parse import urlsplit

PATIENCE = 300.0
"""Seconds without any frame after which it is given up."""
GRACE = 10.0
"""Seconds that an end may take to the last watcher, from the first."""
LOOKED_AT = 10
"""One in so many watchers tells the delay of progress; all tell that of the end."""
TEXT, CLOSE, PING = 1, 8, 9
PONG = b"\x8a\x80\x00\x00\x00\x00"
"""Masked with nothing, as a client must mask."""
_STAMP, _END = b'"timestamp":"', b'"export:completed"'


class Tally:
    """What all watchers have seen. Delays are seconds from the time stamp, which has milliseconds and is cut, not rounded."""

    def __init__(self) -> None:
        self.messages = 0
        self.progress: list[float] = []
        self.ends: list[float] = []
        self.closed = 0
        self.first_end: float | None = None


class Watcher:
    """One of them."""

    def __init__(self, url: str, token: str, tally: Tally, *, told: bool) -> None:
        at = urlsplit(url)
        self._tally, self._told, self._buffer = tally, told, b""
        self.socket = socket.create_connection((at.hostname or "", at.port or 80), PATIENCE)
        lines = ["GET /ws HTTP/1.1", f"Host: {at.netloc}", "Connection: Upgrade", "Upgrade: websocket"]
        lines += [
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: YmVuY2ggYmVuY2ggYmVuYw==",
            f"Authorization: Bearer {token}",
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer:
            piece = self.socket.recv(4096)
            if not piece:
                raise SystemExit("a watcher was cut off")
            self._buffer += piece
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise SystemExit(f"a watcher was refused: {head[:200]!r}")

    def read(self) -> bool:
        """Takes what has come; whether there can be more."""
        piece = self.socket.recv(1 << 16)
        now = time.time()
        buffer, at = self._buffer + piece, 0
        while (size := _frame(buffer, at)) is not None:
            head, whole = size
            self._take(buffer[at] & 15, buffer[at + head : at + whole], now)
            at += whole
        self._buffer = buffer[at:]
        if not piece:
            self._tally.closed += 1
        return bool(piece)

    def _take(self, kind: int, payload: bytes, now: float) -> None:
        if kind == PING:
            self.socket.sendall(PONG)
        elif kind == TEXT:
            self._tally.messages += 1
            if _END in payload:
                self._tally.ends.append(now - _stamp(payload))
                self._tally.first_end = self._tally.first_end or time.monotonic()
            elif self._told and b'"export:progress"' in payload:
                self._tally.progress.append(now - _stamp(payload))


def _frame(buffer: bytes, at: int) -> tuple[int, int] | None:
    """Length of the header, and of all of it, of the frame that begins there; None until it is whole."""
    if len(buffer) < at + 4:
        return (2, 2) if len(buffer) == at + 2 and not buffer[at + 1] else None
    length, head = buffer[at + 1] & 127, 2
    if length == 126:
        length, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
    elif length == 127:
        length, head = int.from_bytes(buffer[at + 2 : at + 10], "big"), 10
    return (head, head + length) if len(buffer) >= at + head + length else None


def _stamp(payload: bytes) -> float:
    at = payload.index(_STAMP) + len(_STAMP)
    return datetime.fromisoformat(payload[at : payload.index(b'"', at)].decode()).timestamp()


def main(url: str, token: str, count: int) -> None:
    tally, selector = Tally(), selectors.DefaultSelector()
    for number in range(count):
        watcher = Watcher(url, token, tally, told=number % LOOKED_AT == 0)
        selector.register(watcher.socket, selectors.EVENT_READ, watcher)
    print("ready", flush=True)
    began = time.process_time()
    while len(tally.ends) < count and tally.closed < count:
        ready = selector.select(PATIENCE if tally.first_end is None else GRACE)
        for key, _ in ready:
            if not key.data.read():
                selector.unregister(key.fileobj)
        if not ready or (tally.first_end is not None and time.monotonic() > tally.first_end + GRACE):
            break
    told = {"messages": tally.messages, "progress": tally.progress, "ends": tally.ends}
    print(json.dumps(told | {"cpu": time.process_time() - began}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
