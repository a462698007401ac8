"""Events of an export go to its user and to nobody else, whatever carries them; and access that is lost on the way."""

from __future__ import annotations

import gc
import hashlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest
import trio
import trio.testing
from cast import QUICK, invited
from conftest import World
from raw import ask, enlarge, head
from serving import Served, heard, opened, serving
from trio_websocket import ConnectionClosed

from exportd.core.users import User
from exportd.store.embedded import ShareStatus
from exportd.tokens import load_secret, make_token

POLLING, WEBSOCKET = "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket"
DRAWN = {"includeVisualizations": True}
"""Takes long enough that its access is gone before it has ended."""
LISTENERS = ("stranger", "pending", "revoked", "accepted", "job's user", "owner")
# The clients' libraries leave some of their sockets and generators to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
]

Say = Callable[[str], Awaitable[None]]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What they leave is collected here, and not in another test that would be blamed for it."""
    yield
    gc.collect()


class Ear:
    """All that one listener is told by one kind of stream, to its end."""

    def __init__(self, w: Served, user: User, wanted: list[str]) -> None:
        self.w, self.user = w, user
        self.wanted = wanted
        """Ids of jobs that it asks for, as soon as they are known: whose they are is for the daemon to know."""
        self.asked = trio.Event()
        self.listening = trio.Event()
        self.text = ""

    async def socket(self) -> None:
        """`/ws`, everything subscribed to."""
        async with self.w.socket("/ws", self.user) as ws, trio.open_nursery() as nursery:
            self.listening.set()

            async def subscribe() -> None:
                await self.asked.wait()
                await ws.send_message(_json({"action": "subscribe", "projectId": self.w.world.project_id}))
                for job in self.wanted:
                    await ws.send_message(_json({"action": "subscribe", "jobId": job, "since": 0}))

            nursery.start_soon(subscribe)
            try:
                while True:
                    self.text += str(await ws.get_message())
            except ConnectionClosed:
                nursery.cancel_scope.cancel()

    async def stream(self) -> None:
        """Server-Sent Events."""
        await self._sse("/api/exports/events")

    async def resumed_stream(self) -> None:
        """The same, and from the first event of a job on."""
        self.listening.set()
        await self.asked.wait()
        for job in self.wanted:
            await self._sse(f"/api/exports/events?jobId={job}", **{"Last-Event-ID": f"{job}:0"})

    async def _sse(self, path: str, **headers: str) -> None:
        async with (
            self.w.client(self.user) as client,
            client.stream("GET", path, headers=headers, timeout=60) as answer,
        ):
            async for text in answer.aiter_text():
                self.text += text
                self.listening.set()

    async def line(self) -> None:
        """Socket.IO over a WebSocket, in the project's room."""
        async with self.w.socket(WEBSOCKET, self.user) as ws:
            opened(await heard(ws))
            for text in ("40", f'42["join-project","{self.w.world.project_id}"]'):
                await ws.send_message(text)
            try:
                while True:
                    self.text += str(await ws.get_message())
                    self.listening.set()
            except ConnectionClosed:
                return

    async def polls(self) -> None:
        """Socket.IO by polls."""
        async with self.w.client(self.user) as client:
            at = f"{POLLING}&sid={opened((await client.get(POLLING)).text)['sid']}"
            await client.post(at, content=f'40\x1e42["join-project","{self.w.world.project_id}"]')
            texts = [""]
            while "1" not in texts and (answer := await client.get(at, timeout=60)).status_code == 200:
                texts = answer.text.split("\x1e")
                self.text += answer.text
                self.listening.set()


KINDS: dict[str, Callable[[Ear], Awaitable[None]]] = {
    "/ws, subscribed": Ear.socket,
    "SSE": Ear.stream,
    "SSE, resumed": Ear.resumed_stream,
    "Socket.IO, WebSocket": Ear.line,
    "Socket.IO, polling": Ear.polls,
}


async def started(w: Served, user: User, options: dict[str, Any] = QUICK) -> str:
    async with w.client(user) as client:
        answer = await client.post(f"/api/projects/{w.world.project_id}/export", json={"options": options})
        return str(answer.json()["jobId"])


async def ended(w: Served, job: str) -> dict[str, Any]:
    """As the owner sees it."""
    async with w.client(w.world.alice) as client:
        with trio.fail_after(60):
            while True:
                seen = (await client.get(f"/api/projects/{w.world.project_id}/export/{job}/status")).json()
                if seen["status"] not in {"pending", "processing"}:
                    return dict(seen)
                await trio.sleep(0.02)


async def test_nobody_is_told_the_events_of_somebody_elses_export(
    slow_world: World, record_property: Callable[[str, object], None]
) -> None:
    """Six people listen in five ways each, one of whom loses access while an export of theirs is at work."""
    users = invited(slow_world)
    async with serving(slow_world) as w:
        wanted: list[str] = []
        ears = {(kind, who): Ear(w, users[who], wanted) for kind in KINDS for who in LISTENERS}
        async with trio.open_nursery() as nursery:
            for (kind, _), ear in ears.items():
                nursery.start_soon(KINDS[kind], ear)
            with trio.fail_after(30):
                for ear in ears.values():
                    await ear.listening.wait()
            theirs = await started(w, users["revoked"], DRAWN)
            slow_world.share(users["revoked"].email, ShareStatus.REVOKED)
            job = await started(w, users["job's user"])
            wanted.extend((job, theirs))
            for ear in ears.values():
                ear.asked.set()
            assert (await ended(w, job))["status"] == "completed"
            lost = await ended(w, theirs)
            assert (lost["status"], lost["cancelledBy"]) == ("cancelled", "system")
            await trio.testing.wait_all_tasks_blocked(0.1)  # who asks to be told again has been
            await w.service.drain(1)  # ends every stream once all is told
            w.engine.drain()
    came = {
        at: {name for name, id_ in (("it", job), ("theirs", theirs)) if id_ in ear.text} for at, ear in ears.items()
    }
    title = "who is told of an export of the job's user (it), and of one of who is revoked now (theirs)"
    record_property(title, f"{'stream':24}" + "".join(f"{who:>12}" for who in LISTENERS))
    for kind in KINDS:
        cells = (" ".join(sorted(came[kind, who])) or "-" for who in LISTENERS)
        record_property(title, f"{kind:24}" + "".join(f"{cell:>12}" for cell in cells))
    assert came == {(kind, who): {"job's user": {"it"}, "revoked": {"theirs"}}.get(who, set()) for kind, who in ears}
    for (kind, who), ear in ears.items():
        assert ("export:completed" in ear.text) == (who == "job's user"), kind
        assert ("export:cancelled" in ear.text) == (who == "revoked"), kind


async def test_access_that_is_lost_while_an_export_works_ends_it_at_the_commit(slow_world: World) -> None:
    """SPEC §3: cancelled by the system, for a reason that the audit names. Its user sees nothing of it any more."""
    async with serving(slow_world) as w, w.client(w.world.bob) as bob, w.client(w.world.alice) as owner:
        job = await started(w, w.world.bob, DRAWN)
        at = f"/api/projects/{slow_world.project_id}/export/{job}"
        slow_world.share(w.world.bob.email, ShareStatus.REVOKED)
        for method, path in (("GET", "/status"), ("POST", "/cancel"), ("GET", "/audit"), ("DELETE", "")):
            assert (await bob.request(method, at + path)).status_code == 404
        assert (await bob.get("/api/exports")).json() == []
        assert (await ended(w, job))["cancelledBy"] == "system"
        assert (await owner.get(f"{at}/download")).status_code == 410
        last = (await owner.get(f"{at}/audit")).json()[-1]
        assert (last["to"], last["reason"], last["actor"]) == ("cancelled", "access_revoked", "system")
        assert slow_world.files() == []


async def test_access_that_is_lost_in_a_download_lets_it_end_and_no_other_begin(world: World) -> None:
    """SPEC §2: a download streams from what it has opened; §3: access is checked at every download, a resumed one too."""
    enlarge(world.settings.uploads_directory)
    async with serving(world) as w, w.client(w.world.bob) as bob:
        job = await started(w, w.world.bob, {"includeOriginalImages": True})
        archive = await ended(w, job)
        at = f"/api/projects/{world.project_id}/export/{job}/download"
        link = (await bob.post(f"{at}-token")).json()["token"]
        token = make_token(load_secret(world.settings), world.settings, w.world.bob, 60)
        host, _, port = w.url.removeprefix("http://").partition(":")
        raw = await trio.to_thread.run_sync(ask, (host, int(port)), token, at)
        assert b" 200 " in await trio.to_thread.run_sync(head, raw)
        world.share(w.world.bob.email, ShareStatus.REVOKED)
        for again in ({"headers": {"Range": "bytes=1000-"}}, {"params": {"token": link}}):
            assert (await bob.get(at, **again)).status_code == 404
        with raw:
            assert await trio.to_thread.run_sync(_sha256, raw, archive["fileSize"]) == archive["sha256"]


def _sha256(raw: socket.socket, size: int) -> str:
    """Of what is left of an answer."""
    seen = hashlib.sha256()
    while size > 0 and (part := raw.recv(1 << 20)):
        seen.update(part)
        size -= len(part)
    return seen.hexdigest()


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
