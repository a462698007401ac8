"""The whole over a real socket: service, app and server, as the daemon puts them together."""

from __future__ import annotations

import gc
import hashlib
import io
import re
import socket
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import trio
from served import ORDER, World, closed, connect, finished, world
from trio_websocket import ConnectionRejected

from exportd.web import server, wire
from exportd.web.routes import ROUTES

# The clients' libraries leave some of their sockets and generators to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
]

UNKNOWN = "3f0c6a52-1d0f-4c57-9a53-5f4b1c6f0e11"


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What they leave is collected here, and not in another test that would be blamed for it."""
    yield
    gc.collect()


async def test_export_from_start_to_delete(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        job = await finished(w, client)
        url = w.at(str(job["id"]), "download")
        whole = await client.get(url)
        assert (job["status"], whole.status_code) == ("completed", 200)
        assert hashlib.sha256(whole.content).hexdigest() == job["sha256"]
        assert zipfile.ZipFile(io.BytesIO(whole.content)).testzip() is None
        part = await client.get(url, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        refused = await client.get(url, headers={"Range": "bytes=99999999-"})
        assert (refused.status_code, refused.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
        head = await client.head(url)
        plain = [{k: v for k, v in r.headers.items() if k != "date"} for r in (whole, head)]
        assert plain[0] == plain[1]
        assert not head.content
        unchanged = await client.get(url, headers={"If-None-Match": whole.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        token = (await client.post(w.at(str(job["id"]), "download-token"))).json()["token"]
        async with w.client() as anyone:
            assert (await anyone.get(url, params={"token": token})).content == whole.content
            assert (await anyone.get(url, params={"token": token[:-1]})).json()["code"] == "INVALID_TOKEN"
            assert (await anyone.get(url)).status_code == 401
            assert (await anyone.get(url, params={"token": ""})).json()["code"] == "UNAUTHORIZED"
        assert (await client.get(url, params={"token": ""})).content == whole.content
        gone = await client.delete(w.at(str(job["id"])))
        assert (gone.status_code, gone.content, "content-length" in gone.headers) == (204, b"", False)
        assert (await client.get(url)).status_code == 404


async def test_download_leaves_no_descriptor_open(tmp_path: Path) -> None:
    def archives() -> int:
        return sum(
            "archives" in str(p.resolve()) or ".zip" in str(p.resolve()) for p in Path("/proc/self/fd").iterdir()
        )

    async with world(tmp_path, 24) as w, w.client(w.owner) as client:
        job = await finished(w, client)
        url = w.at(str(job["id"]), "download")
        before = archives()
        for headers in ({}, {"Range": "bytes=0-4"}, {"Range": "bytes=999999999-"}, {"If-None-Match": "*"}):
            await client.get(url, headers=headers)
            await client.head(url, headers=headers)
        # A client that asks and goes, and one that asks and does not read.
        for read in (0, 1000):
            with socket.create_connection(w.address) as raw:
                raw.sendall(
                    f"GET {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {w.token(w.owner)}\r\n\r\n".encode()
                )
                if read:
                    await trio.to_thread.run_sync(raw.recv, read)
                else:
                    await trio.sleep(0.05)
        with trio.fail_after(5):
            while archives() > before:  # noqa: ASYNC110
                await trio.sleep(0.02)


async def test_bad_requests(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        for path in ("nope", UNKNOWN.replace("-", ""), f"{{{UNKNOWN[1:-1]}}}"):
            answer = await client.get(f"/api/projects/{path}/export/{UNKNOWN}/status")
            assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, "projectId")
        for limit in ("0", "101", "x", "-1", "9" * 30):
            answer = await client.get(w.at("history"), params={"limit": limit})
            assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, "limit")
        for key in ("", "x" * 201, "é"):
            answer = await client.post(w.at(), json=ORDER, headers={b"Idempotency-Key": key.encode()})
            assert answer.status_code == 400
        # httpx leaves the rest of a body that was refused as a generator: this one is small and announced as large.
        large = {"Authorization": f"Bearer {w.token(w.owner)}", "Content-Length": str(1 << 21)}
        assert (await _raw(w, "POST", w.at(), large)).startswith(b"HTTP/1.1 413")
        assert (await client.put(w.at())).json()["code"] == "METHOD_NOT_ALLOWED"
        assert (await _raw(w, "GET", "//evil.example/", {})).startswith(b"HTTP/1.1 404")


async def _raw(w: World, method: str, path: str, headers: dict[str, str]) -> bytes:
    stream = await trio.open_tcp_stream(*w.address)
    async with stream:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        return bytes(await stream.receive_some(65536))


async def test_start_answers(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        answer = await client.post(w.at(), json=ORDER, headers={"Prefer": "wait=5, respond-async"})
        job = answer.json()["jobId"]
        assert (answer.status_code, answer.headers["location"]) == (202, w.at(job, "status"))
        cancelled = await client.post(w.at(job, "cancel"))
        if cancelled.status_code == 200:  # else it was done already
            wire.Cancelled.model_validate(cancelled.json())


async def test_cookie_is_for_own_pages(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as client:
        link = f"/login?ticket={w.tickets.issue()}"
        assert (await client.head(link)).status_code == 200
        answer = await client.get(link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
        assert (await client.get(link)).status_code == 401
        assert (await client.get("/api/projects")).status_code == 200
        for origin, status in ((w.url, 200), ("https://evil.example", 403), ("null", 403)):
            assert (await client.post(w.at("estimate"), json=ORDER, headers={"Origin": origin})).status_code == status
        assert (await client.get("/api/projects", headers={"Authorization": "Basic x"})).status_code == 401
        page = await client.get("/")
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
            assert (await client.get(path)).status_code == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]


async def test_answers_are_as_described(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        job = str((await finished(w, client))["id"])
        assert set((await client.get("/openapi.json")).json()["paths"]) == {route.path for route in ROUTES}
        for route in ROUTES:
            model = route.answers.get(200)
            if not isinstance(model, type) or route.operation in {"start_export", "cancel_export"}:
                continue
            path = route.path.format(projectId=w.project, jobId=job)
            answer = await client.request(route.method, path, json=ORDER if route.body else None)
            values = answer.json() if route.many else [answer.json()]
            assert values
            for value in values:
                made = model.model_validate_json(orjson.dumps(value))
                assert set(value) == set(made.model_dump(by_alias=True))
        for path in ("/healthz", "/docs"):
            assert (await client.get(path)).status_code == 200
        ready = (await client.get("/readyz")).json()
        assert ready == {"status": "ready", "checks": {"catalogue": "ok", "journal": "ok", "space": "ok"}}
        metrics = await client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert 'exportd_jobs{status="completed"} 1.0' in metrics.text
        await w.service.drain(1)
        assert (await client.get("/readyz")).status_code == 503


async def test_socket_refusals(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for headers, status in (({"Authorization": ""}, 401), ({"Origin": "https://evil.example"}, 403)):
            with pytest.raises(ConnectionRejected) as caught:
                async with connect(w, **headers):
                    pass
            assert caught.value.status_code == status


@pytest.mark.parametrize(
    ("sent", "code"),
    [("{nope", 1007), ("[]", 1007), ('{"action": "x"}', 1007), ('{"action": "subscribe", "jobId": 7}', 1007),
     ('{"action": "subscribe", "since": true}', 1007), (b"", 1007), ("x" * 65537, 1009), ("x" * 300_000, 1009)],
)  # fmt: skip
async def test_socket_faults(tmp_path: Path, sent: str | bytes, code: int) -> None:
    async with world(tmp_path) as w, connect(w) as faulty, connect(w) as other:
        await faulty.send_message(sent)
        assert await closed(faulty) == code
        await other.send_message('{"action": "ping"}')
        assert orjson.loads(await other.get_message()) == {"event": "pong"}


async def _sse(w: World, until: trio.Event | None = None, query: str = "", **headers: str) -> list[tuple[str, object]]:
    """(id, frame) of the event stream up to the end of an export. httpx would leave its generators behind."""
    stream = await trio.open_tcp_stream(*w.address)
    given = {"Host": "x", "Authorization": f"Bearer {w.token(w.owner)}", **headers}
    lines = [
        f"GET /api/exports/events{query} HTTP/1.1",
        *(f"{name.replace('_', '-')}: {v}" for name, v in given.items()),
    ]
    seen = b""
    with trio.fail_after(10):
        async with stream:
            await stream.send_all("\r\n".join([*lines, "", ""]).encode())
            while not re.search(rb"event: export:completed\ndata: .*\n\n", seen):
                seen += await stream.receive_some(65536)
                if until is not None:
                    until.set()
    assert b"content-type: text/event-stream" in seen
    return [(i.decode(), orjson.loads(data)) for i, data in re.findall(rb"id: (.*)\nevent: .*\ndata: (.*)\n\n", seen)]


async def test_streams_tell_the_same(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client, connect(w, Origin=w.url) as ws:
        by_socket: list[dict[str, object]] = []
        by_sse: list[tuple[str, object]] = []
        listening = trio.Event()

        async def listen() -> None:
            by_sse.extend(await _sse(w, listening))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await listening.wait()
            job = str((await finished(w, client))["id"])
        with trio.fail_after(10):
            while not by_socket or by_socket[-1]["event"] != "export:completed":
                by_socket.append(orjson.loads(await ws.get_message()))
        assert by_sse == [(f"{job}:{frame['seq']}", frame) for frame in by_socket]
        assert await _sse(w, Last_Event_ID=f"{job}:1") == by_sse[1:]
        last = by_socket[-1]
        await ws.send_message(orjson.dumps({"action": "subscribe", "jobId": job, "since": by_socket[-2]["seq"]}))
        assert orjson.loads(await ws.get_message()) == last


async def test_a_head_of_the_event_stream_ends_and_watches_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        stream = await trio.open_tcp_stream(*w.address)
        seen = b""
        async with stream:
            for method, path in (("HEAD", "/api/exports/events"), ("GET", "/healthz")):
                lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {w.token(w.owner)}", "", ""]
                await stream.send_all("\r\n".join(lines).encode())
            with trio.fail_after(5):
                while not seen.endswith(b'{"status":"ok"}'):
                    seen += await stream.receive_some(65536)
        assert b"content-type: text/event-stream" in seen
        assert (await w.service.statistics()).watchers == 0


async def test_drain_closes_sockets_with_1012(tmp_path: Path) -> None:
    async with world(tmp_path) as w, connect(w) as ws:
        await w.service.drain(1)
        assert await closed(ws) == 1012


async def _idle(w: World) -> socket.socket:
    """A connection that has had its answer and is kept alive."""
    raw = await trio.to_thread.run_sync(socket.create_connection, w.address)
    raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        answer += await trio.to_thread.run_sync(raw.recv, 4096)
    return raw


async def test_idle_connections_do_not_hold_the_end(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        raw = await _idle(w)
        w.stopping.set()
        with trio.fail_after(2):
            await w.served.wait()
        assert await trio.to_thread.run_sync(raw.recv, 1) == b""
        raw.close()


async def test_stalled_client_is_cut(tmp_path: Path) -> None:
    """A client that takes nothing is in a send that hypercorn shields."""
    async with world(tmp_path, large=True) as w, w.client(w.owner) as client:
        job = await finished(w, client)
        raw = await trio.to_thread.run_sync(w.asked, w.at(str(job["id"]), "download"))
        await trio.sleep(0.3)
        w.stopping.set()
        with trio.move_on_after(0.3) as waited:
            await w.served.wait()
        assert waited.cancelled_caught, "a download in flight goes on"
        w.cut.set()
        with trio.fail_after(2):
            await w.served.wait()
        raw.close()


@pytest.mark.parametrize("polite", [True, False])
async def test_sockets_do_not_hold_the_end(tmp_path: Path, polite: bool) -> None:
    """Not even for the ping that would be due next, nor for a client that never agrees to the close."""
    async with world(tmp_path) as w, connect(w) as ws, trio.open_nursery() as nursery:
        if polite:
            nursery.start_soon(closed, ws)
        else:
            raw = await trio.to_thread.run_sync(w.silent_watcher)
        await ws.ping()
        await w.service.drain(1)
        w.stopping.set()
        with trio.fail_after(3):
            await w.served.wait()
        if not polite:
            raw.close()
        nursery.cancel_scope.cancel()


async def test_the_kernel_gives_up_who_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody to cut it: a stalled download ends, and what it had open is closed."""
    monkeypatch.setattr(server, "USER_TIMEOUT", 500)
    async with world(tmp_path, large=True) as w, w.client(w.owner) as client:
        job = await finished(w, client)
        raw = await trio.to_thread.run_sync(w.asked, w.at(str(job["id"]), "download"))
        await trio.sleep(0.2)
        w.stopping.set()
        with trio.fail_after(10):
            await w.served.wait()
        raw.close()


async def test_ids_are_read_in_either_case(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        job = str((await finished(w, client))["id"])
        answers = [await client.get(at) for at in (w.at(job, "status"), w.at(job, "status").replace(job, job.upper()))]
        assert answers[0].content == answers[1].content
        token = (await client.post(w.at(job.upper(), "download-token"))).json()["token"]
        async with w.client() as anyone:
            assert (await anyone.get(w.at(job.upper(), "download"), params={"token": token})).status_code == 200


async def test_narrowed_streams(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(w.owner) as client:
        answer = await client.get("/api/exports/events", params={"jobId": "nope"})
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, "jobId")
        job = str((await finished(w, client))["id"])
        for query in (f"?jobId={job.upper()}", f"?projectId={w.project}"):
            assert await _sse(w, query=query, Last_Event_ID=f"{job}:1")


async def test_draining_tells_when_to_come_back(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as client:
        await w.service.drain(600)
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert 500 < int(answer.headers["retry-after"]) <= 600, (
            "when the drain is over, whatever the machine does meanwhile"
        )


async def test_what_cannot_work_is_not_ready_and_says_what_fails(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as client:
        with closing(sqlite3.connect(w.settings.data / "catalogue.db")) as other:
            other.execute("ALTER TABLE projects RENAME TO gone")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert answer.json() | {"error": ""} == {
            "success": False,
            "error": "",
            "code": "NOT_READY",
            "checks": {"catalogue": "failing", "journal": "ok", "space": "ok"},
        }
        assert (await client.get("/metrics")).status_code == 200, "counts are told even so"
