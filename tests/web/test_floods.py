"""Clients that send too much, too slowly or without end: refused or bounded, and others are served as before."""

from __future__ import annotations

import resource
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from conftest import open_files
from served import World, closed, connect, finished, world

from exportd.web import app, server
from exportd.web.feed import MAX_SUBSCRIPTIONS, TOO_MANY

PATIENCE = 10
TEXT, PING = 1, 9


def frame(kind: int, data: bytes, *, compressed: bool = False, claims: int | None = None) -> bytes:
    """A client's frame, masked with zeros; `claims` is the length that its head tells."""
    length = len(data) if claims is None else claims
    head = bytes([0x80 | (0x40 if compressed else 0) | kind])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 1 << 16:
        head += struct.pack(">BH", 0x80 | 126, length)
    else:
        head += struct.pack(">BQ", 0x80 | 127, length)
    return head + bytes(4) + data


@contextmanager
def dialled(w: World, text: str = "") -> Iterator[socket.socket]:
    """A connection on which this was sent, unless it was refused at once."""
    with socket.create_connection(w.address, PATIENCE) as raw:
        with suppress(ConnectionError):
            raw.sendall(text.encode())
        yield raw


@contextmanager
def watching(w: World, *headers: str) -> Iterator[tuple[socket.socket, bytes]]:
    """The owner's WebSocket, and what the handshake was answered."""
    lines = ["GET /ws HTTP/1.1", "Host: x", f"Authorization: Bearer {w.token(w.owner)}", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    with dialled(w, "\r\n".join([*lines, *headers, "", ""])) as raw:
        yield raw, until_blank(raw)


def until_blank(raw: socket.socket) -> bytes:
    seen = b""
    while not seen.endswith(b"\r\n\r\n") and (more := raw.recv(1)):
        seen += more
    return seen


def drained(raw: socket.socket) -> bytes:
    """All that comes until the server closes."""
    seen = b""
    try:
        while more := raw.recv(1 << 16):
            seen += more
    except ConnectionResetError:
        pass
    return seen


def sockets() -> int:
    return sum(name.startswith("socket:") for name in open_files())


async def back_to(few: int) -> None:
    """Until no more sockets than these are open."""
    with trio.fail_after(PATIENCE):
        while sockets() > few:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.01)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# --- requests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    ["A: " + "a" * 60_000, "A: b\r\n" * 10_000, "A: b\r\n " + "c\r\n " * 20_000, ("A" * 40_000) + ": b"],
    ids=["long", "many", "folded", "name"],
)
async def test_giant_headers_are_refused(tmp_path: Path, headers: str) -> None:
    async with world(tmp_path) as w:

        def ask() -> bytes:
            with dialled(w, f"GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n") as raw:
                return until_blank(raw)

        assert (await trio.to_thread.run_sync(ask)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "said",
    ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: x\r\nA: ", "\r\n\r\n"],
    ids=["silence", "half a line", "half a head", "blank lines"],
)
async def test_who_does_not_get_as_far_as_a_request_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE", 0.2)
    async with world(tmp_path) as w:
        few = sockets()

        def trickle(gone: trio.Event) -> None:
            """A byte now and then, as slowly as may be."""
            with dialled(w, said) as raw:
                raw.settimeout(0.02)
                while not gone.is_set():
                    try:
                        if not raw.recv(1):
                            return
                    except TimeoutError:
                        raw.sendall(b"a" if said else b"")
                    except ConnectionResetError:
                        return

        gone = trio.Event()
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(trickle, gone)
        await back_to(few)


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    monkeypatch.setattr(app, "BODY_SECONDS", 0.2)
    async with world(tmp_path) as w:

        def ask() -> bytes:
            head = f"POST {w.at()} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {w.token(w.owner)}\r\n{length}\r\n\r\n"
            with dialled(w, head) as raw:
                return drained(raw)

        answer = await trio.to_thread.run_sync(ask)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"REQUEST_TIMEOUT"' in answer


async def test_a_body_that_nobody_asked_for_is_not_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        few, held = sockets(), resident()

        def send(path: str) -> None:
            with dialled(w, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n") as raw:
                try:
                    for _ in range(64):
                        raw.sendall(bytes(1 << 20))
                except OSError:
                    pass  # it does not listen any longer

        for path in ("/healthz", "/nowhere", w.at(), "/api/projects"):
            await trio.to_thread.run_sync(send, path)
        assert resident() - held < 32 << 20
        await back_to(few)


async def test_another_protocol_is_not_changed_to(tmp_path: Path) -> None:
    async with world(tmp_path) as w:

        def ask(text: str) -> bytes:
            with dialled(w, text) as raw:
                return until_blank(raw)

        upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
        plain = await trio.to_thread.run_sync(ask, f"GET /healthz HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n")
        assert plain.startswith(b"HTTP/1.1 200 ")
        preface = await trio.to_thread.run_sync(ask, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert preface.startswith(b"HTTP/1.1 505 ")


# --- many connections ---------------------------------------------------------------------------------------------------


async def test_a_thousand_idle_connections_hold_nobody_up(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        with ExitStack() as open_ones:
            for _ in range(1000):
                await trio.to_thread.run_sync(open_ones.enter_context, dialled(w))
            assert (await finished(w, client))["status"] == "completed"


async def test_when_all_places_are_taken_who_waits_longest_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    async with world(tmp_path) as w:
        asks = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

        def come_and_go() -> None:
            with watching(w) as (busy, _), dialled(w, asks) as first:
                assert until_blank(first).startswith(b"HTTP/1.1 200 ")
                with dialled(w, asks) as second:
                    assert until_blank(second).startswith(b"HTTP/1.1 200 ")
                    third_comes(busy, first, second)

        def third_comes(busy: socket.socket, first: socket.socket, second: socket.socket) -> None:
            with dialled(w, asks) as third:
                assert until_blank(third).startswith(b"HTTP/1.1 200 ")
                assert b"HTTP" not in drained(first)
                second.sendall(asks.encode())
                assert b"HTTP/1.1 200 " in until_blank(second)
                busy.sendall(frame(TEXT, b'{"action":"ping"}'))
                assert busy.recv(100)

        await trio.to_thread.run_sync(come_and_go)


async def test_whoever_has_a_request_keeps_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with world(tmp_path) as w:

        def watch_and_ask() -> None:
            with watching(w) as (one, _), watching(w) as (two, _):
                asks = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
                # It may be refused so soon that not even the connect has come back.
                with suppress(ConnectionResetError), dialled(w, asks) as late:
                    assert drained(late) == b""
                for raw in (one, two):
                    raw.sendall(frame(TEXT, b'{"action":"ping"}'))
                    assert raw.recv(100)

        await trio.to_thread.run_sync(watch_and_ask)


@pytest.mark.parametrize("allowed", [64, 256, 1024, 20_000, resource.RLIM_INFINITY])
def test_connections_leave_descriptors_for_the_work(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, allowed))
    assert 1 <= server.room() <= server.MAX_CONNECTIONS
    assert allowed < 256 or 2 * server.room() + server.RESERVED <= allowed


# --- WebSockets ---------------------------------------------------------------------------------------------------------


async def test_a_message_without_end_is_not_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        few, held = sockets(), resident()

        def send() -> bytes:
            with watching(w) as (raw, _):
                raw.recv(100)  # a ping
                try:
                    raw.sendall(frame(TEXT, b"", claims=1 << 40))
                    for _ in range(100):
                        raw.sendall(bytes([65]) * (1 << 20))
                except OSError:
                    pass
                return drained(raw)

        answer = await trio.to_thread.run_sync(send)
        assert answer in {b"\x88\x02\x03\xf1", b""}, "a close with 1009, unless it came too late to be taken"
        assert resident() - held < 32 << 20
        await back_to(few)


@pytest.mark.parametrize("offer", ["permessage-deflate", "permessage-deflate; client_max_window_bits=x", "x, ;,", '"'])
async def test_messages_are_not_compressed_whatever_is_offered(tmp_path: Path, offer: str) -> None:
    async with world(tmp_path) as w:

        def handshake() -> tuple[bytes, bytes]:
            with watching(w, f"Sec-WebSocket-Extensions: {offer}") as (raw, head):
                squeezed = zlib.compress(b"a" * (8 << 20), 9)[2:]
                raw.sendall(frame(TEXT, squeezed, compressed=True))
                return head, drained(raw)

        head, said = await trio.to_thread.run_sync(handshake)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in head.lower()
        assert said in {b"", b"\x89\x00"}, "it is closed: nothing was agreed that such a frame could mean"


@pytest.mark.parametrize("kind", [TEXT, PING])
async def test_who_floods_and_goes_leaves_nothing(tmp_path: Path, kind: int) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        await client.get("/healthz")
        few = sockets()

        def flood() -> None:
            with ExitStack() as stack:
                for raw, _ in [stack.enter_context(watching(w)) for _ in range(10)]:
                    raw.settimeout(0.05)
                    try:
                        for _ in range(20):
                            raw.sendall(frame(kind, b'{"action":"ping"}') * 200)
                    except TimeoutError:
                        pass  # what is not read comes to stand still

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, flood)
            assert (await finished(w, client))["status"] == "completed"
        await back_to(few)


async def test_subscriptions_are_limited(tmp_path: Path) -> None:
    async with world(tmp_path) as w, connect(w) as ws:
        for number in range(MAX_SUBSCRIPTIONS + 1):
            await ws.send_message(f'{{"action":"subscribe","projectId":"00000000-0000-0000-0000-{number:012}"}}')
        assert await closed(ws) == TOO_MANY


# --- logins -------------------------------------------------------------------------------------------------------------


async def test_a_thousand_bad_logins_hold_nobody_up(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as stranger, w.client(w.owner) as client:
        ticket = w.tickets.issue()

        async def guess(path: str, header: dict[str, str]) -> None:
            for number in range(100):
                answer = await stranger.get(path.format(number), headers=header)
                assert answer.status_code == 401

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(guess, "/login?ticket=guess-{}", {})
                nursery.start_soon(partial(guess, "/api/projects", {"Authorization": "Bearer a.b.c"}))
            assert (await finished(w, client))["status"] == "completed"
        assert (await stranger.get(f"/login?ticket={ticket}")).status_code == 303
