"""The client against a transport in memory, and for events against a WebSocket server on the loopback."""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from trio_websocket import WebSocketRequest, serve_websocket

from exportd import client as client_module
from exportd.cli.backends import Order, Remote
from exportd.cli.images import choose
from exportd.client import Client
from exportd.errors import ChecksumMismatch, ServerRefused, SettingsError, Unreachable

PROJECT = "11111111-1111-4111-8111-111111111111"
JOB = "22222222-2222-4222-8222-222222222222"
ARCHIVE = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets and threads need the real clock; the waits are made short instead."""
    monkeypatch.setattr(client_module, "PAUSES", (0.001, 0.001))
    monkeypatch.setattr(client_module, "POLL", 0.005)
    monkeypatch.setattr(client_module, "PATIENCE", 0.05)
    monkeypatch.setattr(client_module, "SILENCE", 0.05)


def client_of(handler: Handler, url: str = "http://daemon.test") -> Client:
    return Client(url, "secret", transport=httpx.MockTransport(handler))


def job(status: str = "completed", **values: object) -> dict[str, object]:
    done = {"sha256": SHA256, "fileSize": len(ARCHIVE), "fileName": "a.zip"} if status == "completed" else {}
    return {"id": JOB, "projectId": PROJECT, "status": status, "progress": 0, "warnings": [], **done, **values}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# --- calls ---------------------------------------------------------------------------------------------------------


async def test_a_start_whose_answer_is_lost_is_sent_again_under_the_same_key() -> None:
    keys = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) < 3:
            raise httpx.ReadError("the connection broke", request=request)
        assert json.loads(request.content) == {"options": {"annotationFormats": ["coco"]}, "projectName": "Nuclei"}
        return httpx.Response(200, json={"success": True, "jobId": JOB})

    async with client_of(handler) as client:
        assert await client.start(PROJECT, {"annotationFormats": ["coco"]}, "Nuclei") == JOB
        assert len(keys) == 3
        assert len(set(keys)) == 1
        await client.start(PROJECT, {"annotationFormats": ["coco"]}, "Nuclei")
    assert len(set(keys)) == 2, "another start is another job"


async def test_a_delete_is_not_repeated() -> None:
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        raise httpx.ReadError("the connection broke", request=request)

    async with client_of(handler) as client:
        with pytest.raises(Unreachable):
            await client.delete(PROJECT, JOB)
    assert asked == ["DELETE"]


async def test_nobody_there_is_unreachable_and_names_the_address() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with Client(f"http://127.0.0.1:{port}", None) as client:
        assert not await client.is_alive()
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
            await client.exports()


async def test_a_refusal_carries_status_code_and_sentence() -> None:
    body = {"success": False, "error": "The export is completed already.", "code": "EXPORT_COMPLETED"}
    async with client_of(lambda _: httpx.Response(409, json=body)) as client:
        with pytest.raises(ServerRefused, match="completed already") as caught:
            await client.cancel(PROJECT, JOB)
    assert caught.value.status == 409
    assert caught.value.body["code"] == "EXPORT_COMPLETED"


async def test_a_refusal_that_is_no_json_is_a_refusal_still() -> None:
    async with client_of(lambda _: httpx.Response(502, text="<html>Bad gateway</html>")) as client:
        with pytest.raises(ServerRefused, match="502"):
            await client.status(PROJECT, JOB)


async def test_something_else_at_the_address_is_unreachable() -> None:
    async with client_of(lambda _: httpx.Response(200, text="<html>Hello</html>")) as client:
        with pytest.raises(Unreachable, match="no exportd"):
            await client.projects()


async def test_images_are_named_a_page_at_a_time() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        assert request.url.path == f"/api/projects/{PROJECT}/images"
        rows = [{"id": f"i{number}", "name": f"{number}.png"} for number in range(offset, min(offset + 100, 250))]
        return httpx.Response(200, json={"total": 250, "images": rows})

    async with client_of(handler) as client:
        remote = Remote(client, Order(PROJECT, {"selectedImageIds": ["7.png", "24?.png", "i3"]}))
        await choose(remote)
    assert remote.order.options["selectedImageIds"] == ["i7", *(f"i{number}" for number in range(240, 250)), "i3"]


async def test_the_token_goes_along() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return httpx.Response(200, json=[])

    async with client_of(handler) as client:
        assert await client.history(PROJECT, 5) == []


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://host", "http://", "nonsense"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(SettingsError, match="no address"):
        Client(url, None)


@pytest.mark.parametrize(
    ("url", "trusted"), [("http://127.0.0.1:1", False), ("http://[::1]:1", False), ("https://exports.test", True)]
)
def test_only_what_is_elsewhere_is_asked_through_a_proxy(url: str, trusted: bool) -> None:
    assert Client(url, None)._http.trust_env is trusted


# --- downloads -----------------------------------------------------------------------------------------------------


class Broken(httpx.AsyncByteStream):
    """A body that ends in the middle."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data
        raise httpx.ReadError("the connection broke")


class ArchiveServer:
    """Serves `ARCHIVE` with ranges; the connection breaks after `breaks[i]` bytes of the i-th answer."""

    def __init__(self, *breaks: int, content: bytes = ARCHIVE) -> None:
        self._breaks, self._content = list(breaks), content
        self.ranges: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        first, status = 0, 200
        if asked is not None and request.headers["If-Range"] == f'"{hashlib.sha256(self._content).hexdigest()}"':
            match = re.fullmatch(r"bytes=(\d+)-", asked)
            assert match is not None
            first, status = int(match[1]), 206
        body = self._content[first:]
        if self._breaks:
            return httpx.Response(status, stream=Broken(body[: self._breaks.pop(0)]))
        return httpx.Response(status, stream=httpx.ByteStream(body))


async def test_a_download_appears_whole_and_verified(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    async with client_of(ArchiveServer()) as client:
        await client.download(job(), tmp_path / "a.zip", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "a.zip").read_bytes() == ARCHIVE
    assert names(tmp_path) == ["a.zip"]
    assert seen[-1] == (len(ARCHIVE), len(ARCHIVE))


async def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    server = ArchiveServer(1000, 500_000, 0)
    async with client_of(server) as client:
        await client.download(job(), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == ARCHIVE
    assert server.ranges == [None, "bytes=1000-", "bytes=501000-", "bytes=501000-"]


async def test_a_download_that_was_given_up_is_resumed_by_the_next(tmp_path: Path) -> None:
    server = ArchiveServer(1000, *[0] * 10_000)
    async with client_of(server) as client:
        with pytest.raises(Unreachable):
            await client.download(job(), tmp_path / "a.zip")
    assert names(tmp_path) == [f"a.zip.{SHA256[:8]}.part"]
    server = ArchiveServer()
    async with client_of(server) as client:
        await client.download(job(), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == ARCHIVE
    assert server.ranges == ["bytes=1000-"]


async def test_an_answer_without_a_range_begins_anew(tmp_path: Path) -> None:
    (tmp_path / f"a.zip.{SHA256[:8]}.part").write_bytes(b"what a server that knows no ranges makes useless")

    async with client_of(lambda _: httpx.Response(200, stream=httpx.ByteStream(ARCHIVE))) as client:
        await client.download(job(), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == ARCHIVE


async def test_a_wrong_archive_is_removed_and_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"from before")
    wrong = ARCHIVE[:-1] + b"!"
    async with client_of(ArchiveServer(content=wrong)) as client:
        with pytest.raises(ChecksumMismatch, match=SHA256[:12]):
            await client.download(job(), tmp_path / "a.zip")
    assert names(tmp_path) == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == b"from before"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_a_refused_download_leaves_no_file(tmp_path: Path, status: str) -> None:
    body = {"success": False, "error": "The archive is gone.", "code": "EXPORT_EXPIRED"}
    async with client_of(lambda _: httpx.Response(410, json=body)) as client:
        with pytest.raises(ServerRefused, match="gone"):
            await client.download(job(status), tmp_path / "a.zip")
    assert names(tmp_path) == []


# --- watching ------------------------------------------------------------------------------------------------------


def frame(seq: int, event: str = "progress", job_id: str = JOB, **data: object) -> str:
    return json.dumps({"event": f"export:{event}", "seq": seq, "data": {"jobId": job_id, "projectId": PROJECT, **data}})


class EventServer:
    """A WebSocket server whose i-th connection sends the i-th list of frames and closes, or stays open for None."""

    def __init__(self, *connections: list[str | None]) -> None:
        self._connections = list(connections)
        self.subscriptions: list[dict[str, object]] = []

    async def __call__(self, request: WebSocketRequest) -> None:
        if not self._connections:
            await request.reject(404)
            return
        socket = await request.accept()
        self.subscriptions.append(json.loads(await socket.get_message()))
        for message in self._connections.pop(0):
            if message is None:
                await trio.sleep_forever()
            await socket.send_message(message)
        await socket.aclose()


@asynccontextmanager
async def watched(server: EventServer, *states: dict[str, object]) -> AsyncIterator[Client]:
    """A client of that server; the i-th look at the status gives the i-th state, and the last from then on."""
    left = list(states)

    def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])

    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket, server, "127.0.0.1", 0, ssl_context=None, handler_nursery=nursery)
        running = await nursery.start(serve)
        async with client_of(handler, f"http://127.0.0.1:{running.port}") as client:
            yield client
        nursery.cancel_scope.cancel()


async def follow(client: Client) -> tuple[dict[str, object], list[tuple[str, int | None]]]:
    seen: list[tuple[str, int | None]] = []
    with trio.fail_after(20):
        ended = await client.follow(PROJECT, JOB, lambda f: seen.append((f["event"].removeprefix("export:"), f["seq"])))
    return ended, seen


async def test_a_watch_gives_the_events_in_order_and_the_job_at_the_end() -> None:
    server = EventServer([frame(1, "started"), frame(2), frame(3, "completed"), None])
    async with watched(server, job()) as client:
        ended, seen = await follow(client)
    assert seen == [("started", 1), ("progress", 2), ("completed", 3)]
    assert ended["status"] == "completed"
    assert server.subscriptions == [{"action": "subscribe", "jobId": JOB, "since": 0}]


async def test_a_lost_connection_is_taken_up_after_the_last_event() -> None:
    server = EventServer(
        [frame(1, "started"), frame(2)],
        [frame(2), frame(3), frame(9, job_id=PROJECT), '{"event": "pong"}', frame(4, "cancelled"), None],
    )
    async with watched(server, job("processing"), job("cancelled")) as client:
        ended, seen = await follow(client)
    assert seen == [("started", 1), ("progress", 2), ("progress", 3), ("cancelled", 4)]
    assert ended["status"] == "cancelled"
    assert [subscription["since"] for subscription in server.subscriptions] == [0, 2]


async def test_without_websockets_the_status_is_asked_for() -> None:
    states = [job("pending", queuePosition=2), job("processing", progress=40), job("processing", progress=70), job()]
    async with watched(EventServer(), *states) as client:
        ended, seen = await follow(client)
    assert seen == [("progress", None)] * 3 + [("completed", None)]
    assert ended["status"] == "completed"


async def test_an_end_that_was_missed_is_found_by_asking() -> None:
    async with watched(EventServer([frame(1, "started"), None]), job("failed")) as client:
        ended, seen = await follow(client)
    assert seen == [("started", 1), ("failed", None)]
    assert ended["status"] == "failed"


async def test_a_watch_survives_a_restart_of_the_daemon_but_not_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE", 1.0)
    answers = iter([job("processing"), None, None, None, None, job("failed")])

    def handler(request: httpx.Request) -> httpx.Response:
        state = next(answers, None)
        if state is None:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, json=state)

    async with client_of(handler, "http://127.0.0.1:9") as client:
        ended, _ = await follow(client)
        assert ended["status"] == "failed"
        with pytest.raises(Unreachable):
            await follow(client)


async def test_a_job_that_may_not_be_seen_ends_the_watch() -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"success": False, "error": "There is no such export.", "code": "NOT_FOUND"})

    async with client_of(handler, "http://127.0.0.1:9") as client:
        with pytest.raises(ServerRefused, match="no such export"):
            await follow(client)
