"""Frames that go straight to the connection are whole, in order, and between those of wsproto, whoever reads late."""

from __future__ import annotations

import gc
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
import trio
import trio.testing
from raw import PATIENCE, ask, head
from served import World, world
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from exportd.core import events
from exportd.core.job import Job
from exportd.core.options import ExportOptions
from exportd.web.direct import DirectConnection, text_frame

HEADERS = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
MANY, LONG = 200, "x" * 60_000


class Client:
    """A client of which the test decides when it reads. Blocking."""

    def __init__(self, w: World, *headers: str) -> None:
        self.raw = ask(w.address, w.token(w.owner), "/ws", *HEADERS, *headers)
        self.raw.settimeout(PATIENCE)
        self.answered = head(self.raw)
        deflate = PerMessageDeflate()
        if b"permessage-deflate" in self.answered:
            deflate.finalize("permessage-deflate")
        self._line = Connection(ConnectionType.CLIENT, [deflate])

    def say(self, event: TextMessage | Ping | CloseConnection) -> None:
        self.raw.sendall(self._line.send(event))

    def told(self) -> Iterator[str | Pong | CloseConnection]:
        """What comes, to the end."""
        text = ""
        while data := self.raw.recv(1 << 16):
            self._line.receive_data(data)  # raises what no client would take
            for event in self._line.events():
                match event:
                    case TextMessage():
                        text += event.data
                        if event.message_finished:
                            yield text
                            text = ""
                    case Pong() | CloseConnection():
                        yield event

    def all(self) -> list[str | Pong | CloseConnection]:
        return list(self.told())


def tell(w: World, times: int, text: str = "") -> None:
    options = ExportOptions(include_documentation=True)
    job = Job(str(uuid.uuid4()), str(uuid.uuid4()), "P", w.owner, options, datetime.now(UTC))
    for number in range(times):
        message = events.Message(events.PHASE_CHANGED, {"jobId": job.id, "number": number, "message": text})
        w.service._hub.publish(message, job)


def numbers(client: Client, count: int) -> tuple[list[int], int]:
    """The numbers of so many events, and how many pongs came between them."""
    found, pongs = list[int](), 0
    for told in client.told():
        match told:
            case str():
                found.append(orjson.loads(told)["data"]["number"])
            case Pong():
                pongs += 1
        if len(found) == count:
            break
    return found, pongs


def frames(raw: socket.socket) -> list[int]:
    """The first bytes of all frames up to the end. Clients ignore what follows a close; this one does not."""
    data = b"".join(iter(lambda: raw.recv(1 << 16), b""))
    found = []
    while data:
        length, head = data[1], 2
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(data[2:head])
        found.append(data[0])
        data = data[head + length :]
    return found


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_a_frame_of_any_length_is_one_text(length: int) -> None:
    line = Connection(ConnectionType.CLIENT)
    line.receive_data(text_frame("ä" * (length // 2) + "x" * (length % 2)))
    (event,) = line.events()
    assert isinstance(event, TextMessage)
    assert (len(event.data.encode()), event.message_finished) == (length, True)


async def test_who_reads_late_gets_whole_frames_in_order_and_pongs_between_them(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        client = await trio.to_thread.run_sync(Client, w)
        with client.raw:
            tell(w, MANY, LONG)
            await trio.testing.wait_all_tasks_blocked(0.1)
            (feed,) = w.service._hub._feeds[w.owner.id]
            assert len(feed._outbox), "the connection is full"
            for _ in range(3):  # their answers wait behind the frame that is half sent
                await trio.to_thread.run_sync(client.say, Ping(b"still there?"))
            await trio.testing.wait_all_tasks_blocked(0.1)
            found, pongs = await trio.to_thread.run_sync(numbers, client, MANY)
            assert found == list(range(MANY))
            assert pongs == 3


async def test_a_client_that_offers_compression_takes_frames_without_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        offered = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
        client = await trio.to_thread.run_sync(Client, w, offered)
        with client.raw:
            assert b"permessage-deflate" not in client.answered
            tell(w, 3)
            client.say(Ping())
            found, _ = await trio.to_thread.run_sync(numbers, client, 3)
            assert found == [0, 1, 2]
            client.say(TextMessage('{"action": "ping"}'))
            assert await trio.to_thread.run_sync(next, client.told()) == '{"event":"pong"}'


async def test_nothing_follows_the_close(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for _ in range(5):
            client = await trio.to_thread.run_sync(Client, w)
            with client.raw:
                for number in range(300):  # in every round: also between the close and the end of the connection
                    if number == 100:
                        client.say(CloseConnection(1000))
                    tell(w, 1)
                    await trio.lowlevel.checkpoint()
                kinds = await trio.to_thread.run_sync(frames, client.raw)
                assert kinds[-1] == 0x88
                assert set(kinds[:-1]) <= {0x81, 0x89}  # texts, and a ping


async def test_a_session_that_ends_in_the_middle_of_a_frame_finishes_it_first(tmp_path: Path) -> None:
    """What follows a torn frame would be taken for the rest of it."""
    async with world(tmp_path) as w:
        client = await trio.to_thread.run_sync(Client, w)
        with client.raw:
            tell(w, MANY, LONG)
            await trio.testing.wait_all_tasks_blocked(0.1)
            await trio.to_thread.run_sync(client.say, TextMessage("no JSON"))  # ends it; the writer is cancelled
            await trio.testing.wait_all_tasks_blocked(0.1)
            told = await trio.to_thread.run_sync(client.all)
            assert isinstance(told[-1], CloseConnection)
            assert told[-1].code == 1007
            sent = [orjson.loads(text)["data"]["number"] for text in told[:-1] if isinstance(text, str)]
            assert sent == list(range(len(sent)))
            assert 0 < len(sent) < MANY


async def test_a_cancel_that_is_decided_already_tears_no_frame(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        client = await trio.to_thread.run_sync(Client, w)
        known = [thing for thing in gc.get_objects() if issubclass(type(thing), DirectConnection)]
        (connection,) = (one for one in known if one.stream.socket.fileno() >= 0)
        await trio.testing.wait_all_tasks_blocked(0.1)  # the first ping is sent
        told = list[object]()

        def read() -> None:
            for text in client.told():
                told.append(text)
                if text == "end":
                    return

        with client.raw:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, read)
                with trio.CancelScope() as scope:
                    scope.cancel()
                    for _ in range(MANY):
                        await connection.send_frame(text_frame(LONG))
                await connection.send_frame(text_frame("end"))
        assert set(told) == {LONG, "end"}
