"""Clients that take their time, and those that never read: what they keep, what they do not hold, whom they do not disturb."""

from __future__ import annotations

import gc
import hashlib
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import pytest
import trio
import trio.testing
from raw import content
from served import ORDER, World, connect, finished, world
from trio_websocket import WebSocketConnection

from exportd.core import events
from exportd.core.events import MAX_OUTBOX, TERMINAL
from exportd.core.job import Job
from exportd.core.options import ExportOptions
from exportd.web import server
from exportd.web.bodies import THREADS

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
]

WATCHERS, NEVER_READING = 60, 3


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What clients' libraries leave is collected here, and not in another test that would be blamed for it."""
    yield
    gc.collect()


# --- downloads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["delete", "expiry"])
async def test_a_download_outlives_its_archive_and_nothing_new_can_be_opened(tmp_path: Path, ending: str) -> None:
    async with world(tmp_path, large=True) as w, w.client(w.owner) as client:
        job = await finished(w, client)
        name = str(job["id"])
        token = (await client.post(w.at(name, "download-token"))).json()["token"]
        with await trio.to_thread.run_sync(w.asked, w.at(name, "download")) as raw:
            first = await trio.to_thread.run_sync(raw.recv, 1, socket.MSG_PEEK)
            assert first == b"H", "it has begun"
            if ending == "delete":
                assert (await client.delete(w.at(name))).status_code == 204
            else:
                await w.service._retention.expire(name)
            assert not list((w.settings.data / "archives").iterdir())
            status, code = (404, "NOT_FOUND") if ending == "delete" else (410, "EXPORT_EXPIRED")
            async with w.client() as anyone:
                refused = [
                    await client.get(w.at(name, "download")),
                    await client.get(w.at(name, "download"), headers={"Range": "bytes=5-"}),
                    await client.post(w.at(name, "download-token")),
                    await anyone.get(w.at(name, "download"), params={"token": token}),
                ]
            assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(status, code)}
            assert all(("expiredAt" in answer.json()) == (ending == "expiry") for answer in refused)
            assert (await client.head(w.at(name, "download"))).status_code == status
            with trio.fail_after(20):
                whole = await trio.to_thread.run_sync(content, raw)
            assert hashlib.sha256(whole).hexdigest() == job["sha256"]


async def test_readers_that_stall_hold_no_worker(tmp_path: Path) -> None:
    async with world(tmp_path, large=True) as w, w.client(w.owner) as client:
        job = await finished(w, client)
        path = w.at(str(job["id"]), "download")
        with ExitStack() as stack:
            for _ in range(THREADS + 3):
                stack.enter_context(await trio.to_thread.run_sync(w.asked, path))
            await trio.testing.wait_all_tasks_blocked(0.1)
            with trio.fail_after(20):
                whole = await client.get(path)
                assert hashlib.sha256(whole.content).hexdigest() == job["sha256"]
                assert (await finished(w, client))["status"] == "completed"


async def test_a_reader_that_stalls_is_dropped_and_what_it_had_open_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernel, with nobody to cut it; one that reads, however slowly, is not."""
    monkeypatch.setattr(server, "USER_TIMEOUT", 2000)
    async with world(tmp_path, large=True) as w, w.client(w.owner) as client:
        job = await finished(w, client)
        path = w.at(str(job["id"]), "download")
        before = _open_archives()
        with (
            await trio.to_thread.run_sync(w.asked, path) as slow,
            await trio.to_thread.run_sync(w.asked, path) as stalled,
        ):
            with trio.fail_after(60):
                while _open_archives() < before + 2:
                    assert await trio.to_thread.run_sync(slow.recv, 2048)
                    await trio.sleep(0.01)
                while _open_archives() > before + 1:
                    assert await trio.to_thread.run_sync(slow.recv, 2048)
                    await trio.sleep(0.01)
            with pytest.raises(ConnectionError):
                await trio.to_thread.run_sync(content, stalled)


def _open_archives() -> int:
    return sum("archives" in str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


# --- watchers ----------------------------------------------------------------------------------------------------------


async def test_watchers_all_get_every_end_whoever_never_reads(tmp_path: Path) -> None:
    """The sockets of those are full: they cost a bounded number of frames, and nobody else anything."""
    async with world(tmp_path) as w, w.client(w.owner) as client, AsyncExitStack() as stack:
        for _ in range(NEVER_READING):
            stack.enter_context(await trio.to_thread.run_sync(w.silent_watcher))
        watchers = [await stack.enter_async_context(connect(w)) for _ in range(WATCHERS)]
        ends: list[Counter[tuple[str, str]]] = [Counter() for _ in watchers]
        async with trio.open_nursery() as nursery:
            for watcher, seen in zip(watchers, ends, strict=True):
                await nursery.start(_collect, watcher, w.project, seen)
            await _tell(w, 200, "x" * 60_000)
            waiting = _waiting(w)
            assert not any(waiting[:WATCHERS])
            assert all(0 < frames <= MAX_OUTBOX for frames in waiting[WATCHERS:])
            expected = [await _exported(w, client, cancelled=n % 2 == 0) for n in range(6)]
            await _tell(w, 2 * MAX_OUTBOX, "")
            assert not any(_waiting(w)), "too slow for the events: nothing waits any more"
            expected += [await _exported(w, client, cancelled=n % 2 == 0) for n in range(2)]
            with trio.fail_after(20):
                while any(seen.keys() != set(expected) for seen in ends):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert all(set(seen.values()) == {1} for seen in ends)


async def _collect(
    socket: WebSocketConnection,
    project: str,
    ends: Counter[tuple[str, str]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Counts the ends of this project's exports."""
    for command in ({"action": "subscribe", "projectId": project}, {"action": "ping"}):
        await socket.send_message(orjson.dumps(command).decode())
    await socket.get_message()  # the pong
    task_status.started()
    while True:
        frame = orjson.loads(await socket.get_message())
        if frame["event"] in TERMINAL:
            ends[frame["data"]["jobId"], frame["event"]] += 1


async def _tell(w: World, times: int, text: str) -> None:
    """Events of an export in another project of the user, which only those get who are not narrowed."""
    options = ExportOptions(include_documentation=True)
    job = Job(str(uuid.uuid4()), str(uuid.uuid4()), "P", w.owner, options, datetime.now(UTC))
    for _ in range(times):
        w.service._hub.publish(events.Message(events.PHASE_CHANGED, {"jobId": job.id, "message": text}), job)
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked(0.01)


def _waiting(w: World) -> list[int]:
    """Frames that wait for each watcher, in ascending order."""
    return sorted(len(feed._outbox) for feed in w.service._hub._feeds[w.owner.id])


async def _exported(w: World, client: httpx.AsyncClient, *, cancelled: bool) -> tuple[str, str]:
    """Job and terminal event of an export that was cancelled, or was left alone."""
    if not cancelled:
        return str((await finished(w, client))["id"]), events.COMPLETED
    job = (await client.post(w.at(), json=ORDER)).json()["jobId"]
    answer = await client.post(w.at(job, "cancel"))
    return job, events.CANCELLED if answer.status_code == 200 else events.COMPLETED
