"""`/socket.io/` over a real socket: handshakes, refusals, the upgrade, and how it ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import trio
import trio.testing
from conftest import World
from serving import Served, close_code, heard, opened, serving
from trio_websocket import ConnectionRejected, WebSocketConnection

from exportd.web.feed import MAX_MESSAGE
from exportd.web.socketio import engine as engines
from exportd.web.socketio import session as sessions
from exportd.web.socketio.packets import MAX_PACKETS

POLLING, WEBSOCKET = "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket"
ORDER = {"options": {"includeOriginalImages": True, "annotationFormats": ["coco"]}}
# The clients' libraries leave some of their sockets and generators to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What they leave is collected here, and not in another test that would be blamed for it."""
    yield
    gc.collect()


async def handshake(client: httpx.AsyncClient) -> str:
    """The address of a new session that polls."""
    data = opened((await client.get(POLLING)).text)
    assert (data["upgrades"], data["maxPayload"]) == (["websocket"], MAX_MESSAGE)
    return f"{POLLING}&sid={data['sid']}"


async def connected(client: httpx.AsyncClient) -> str:
    """The address of a new session that is told events."""
    at = await handshake(client)
    assert (await client.post(at, content="40")).text == "ok"
    assert (await client.get(at)).text.startswith('40{"sid":')
    return at


def on_line(at: str) -> str:
    """The address of the session's upgrade."""
    return at.replace("polling", "websocket")


async def probed(ws: WebSocketConnection) -> None:
    await ws.send_message("2probe")
    assert await heard(ws) == "3probe"


async def until_ended(w: Served, client: httpx.AsyncClient, at: str) -> list[tuple[str, Any]]:
    """All events of an export, by polls."""
    seen: list[tuple[str, Any]] = []
    with trio.fail_after(20):
        while not seen or seen[-1][0] != "export:completed":
            texts = (await client.get(at)).text.split("\x1e")
            seen += [tuple(orjson.loads(text[2:])) for text in texts if text.startswith("42")]
    return seen


async def no_session_left(w: Served) -> None:
    with trio.fail_after(10):
        while len(w.engine):  # noqa: ASYNC110 - as an outsider has to
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [("GET", "/socket.io/", "EIO"), ("GET", "/socket.io/?transport=polling", "EIO"), ("GET", WEBSOCKET, "transport"),
     ("GET", "/socket.io/?EIO=3&transport=polling", "EIO"), ("GET", "/socket.io/?EIO=4", "transport"),
     ("GET", "/socket.io/?EIO=4&transport=x", "transport"), ("GET", f"{POLLING}&sid=x", "sid"),
     ("POST", POLLING, "sid"), ("POST", f"{POLLING}&sid=x", "sid")],
)  # fmt: skip
async def test_what_is_no_request_of_the_protocol_is_400(world: World, method: str, path: str, fault: str) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, fault)


async def test_other_methods_are_405_and_open_no_session(world: World) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        for method in ("HEAD", "PUT", "DELETE"):
            assert (await client.request(method, POLLING)).status_code == 405
        assert len(w.engine) == 0


async def test_a_poll_answers_in_plain_text_that_nobody_keeps(world: World) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        answer = await client.get(POLLING)
        assert answer.headers["content-type"].lower() == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"0", b"2", b"5", b"47", b"42[]", b"4251-[]", b"\xff", b"bAQID", b"40",
     b"\x1e".join([b"3"] * (MAX_PACKETS + 1))],
)  # fmt: skip
async def test_wrong_packets_end_the_session(world: World, body: bytes) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        at = await connected(client)
        posted = await client.post(at, content=body)
        if body != b"40":  # a second connect is read well, and understood as wrong
            assert (posted.status_code, posted.json()["code"]) == (400, "VALIDATION_ERROR")
        await no_session_left(w)
        assert (await client.get(at)).status_code == 400


async def test_a_body_that_is_too_large_ends_the_session(world: World) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        at = await connected(client)
        fits = await client.post(at, content='42["x","' + "x" * (MAX_MESSAGE - 10) + '"]')
        assert fits.text == "ok"
        answer = await client.post(at, content='42["x","' + "x" * (MAX_MESSAGE - 9) + '"]')
        assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
        await no_session_left(w)


@pytest.mark.parametrize(
    ("sent", "code"),
    [("x", 1007), ("", 1007), (b"\x04", 1007), ("2", 1007), ("2probe", 1007), ("42[]", 1007), ("1", 1000),
     ("4" + "x" * MAX_MESSAGE, 1009), ("x" * 300_000, 1009)],
)  # fmt: skip
async def test_wrong_packets_close_the_line(world: World, sent: str | bytes, code: int) -> None:
    async with serving(world) as w:
        async with w.socket(WEBSOCKET, w.world.alice) as ws:
            assert opened(await heard(ws))["upgrades"] == []
            await ws.send_message("40")
            assert (await heard(ws)).startswith("40")
            await ws.send_message(sent)
            assert await close_code(ws) == code
        await no_session_left(w)


async def test_a_session_of_somebody_else_is_unknown(world: World) -> None:
    async with (
        serving(world) as w,
        w.client(w.world.alice) as alice,
        w.client(w.world.bob) as bob,
        w.client(None) as nobody,
    ):
        at = await connected(alice)
        for thief in (bob, nobody):
            assert (await thief.get(at)).status_code == 400
            assert (await thief.post(at, content="1")).status_code == 400
        with pytest.raises(ConnectionRejected) as caught:
            async with w.socket(on_line(at), w.world.bob):
                pass
        assert caught.value.status_code == 400
        assert (await alice.post(at, content="3")).text == "ok", "it goes on for its owner"


@pytest.mark.parametrize("user", ["alice", None])
async def test_a_page_of_another_origin_is_refused_and_an_allowed_one_may_read(world: World, user: str | None) -> None:
    allowed = {"Origin": "https://pages.example.org"}
    async with serving(world, allowed_origins=(allowed["Origin"],)) as w:
        who = None if user is None else w.world.alice
        async with w.client(who) as client:
            assert (await client.get(POLLING, headers={"Origin": "https://evil.example"})).json()[
                "code"
            ] == "ORIGIN_REFUSED"
            assert (await client.get(POLLING, headers={"Origin": w.url})).status_code == 200
            answer = await client.get(POLLING, headers=allowed)
            assert answer.headers["access-control-allow-origin"] == allowed["Origin"]
            assert answer.headers["access-control-allow-credentials"] == "true"
        with pytest.raises(ConnectionRejected) as caught:
            async with w.socket(WEBSOCKET, who, Origin="https://evil.example"):
                pass
        assert caught.value.status_code == 403
        async with w.socket(WEBSOCKET, who, **allowed) as ws:
            opened(await heard(ws))


async def test_without_a_login_the_connect_is_refused_in_the_packet(world: World) -> None:
    async with serving(world) as w, w.client(None) as client, w.socket(WEBSOCKET) as ws:
        at = await handshake(client)
        await client.post(at, content="40")
        assert (await client.get(at)).text.startswith('44{"message":"Authentication')
        await heard(ws)
        await ws.send_message("40")
        assert (await heard(ws)).startswith('44{"message":"Authentication')


async def test_an_export_is_told_to_polls_and_lines(world: World) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client, w.socket(WEBSOCKET, w.world.alice) as ws:
        await heard(ws)
        await ws.send_message("40")
        await heard(ws)
        at = await connected(client)
        job = (await client.post(f"/api/projects/{world.project_id}/export", json=ORDER)).json()["jobId"]
        polled = await until_ended(w, client, at)
        lined: list[tuple[str, Any]] = []
        with trio.fail_after(10):
            while not lined or lined[-1][0] != "export:completed":
                lined.append(tuple(orjson.loads((await heard(ws))[2:])))
        for seen in (polled, lined):
            assert seen[0][0] == "export:started"
            assert {data["jobId"] for _, data in seen} == {job}
            assert [name for name, _ in seen if name == "export:completed"] == ["export:completed"]
            progress = [data["progress"] for name, data in seen if name == "export:progress"]
            assert progress == sorted(progress)
        assert (polled[0], polled[-1]) == (lined[0], lined[-1])


async def test_polls_go_over_to_a_line(world: World) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        at = await connected(client)
        async with trio.open_nursery() as nursery, w.socket(on_line(at), w.world.alice) as ws:
            answers: list[str] = []

            async def poll() -> None:
                answers.append((await client.get(at)).text)
                await ws.send_message("5")

            nursery.start_soon(poll)
            await probed(ws)
            await client.post(f"/api/projects/{world.project_id}/export", json=ORDER)
            assert (await heard(ws)).startswith('42["export:started"')
            assert answers == ["6"], "the poll was ended for the change"
            for method in ("GET", "POST"):
                assert (await client.request(method, at, content="3")).status_code == 400
            with pytest.raises(ConnectionRejected):
                async with w.socket(on_line(at), w.world.alice):
                    pass
            await ws.send_message('420["ping"]')
            with trio.fail_after(10):
                while not (await heard(ws)).startswith("430"):
                    pass
        await no_session_left(w)


@pytest.mark.parametrize("said", [[], ["2probe"], ["x"], ["5"], ["2probe", "x"], ["2probe", "40"]])
async def test_an_upgrade_that_breaks_off_leaves_the_polls(world: World, said: list[str]) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        at = await connected(client)
        async with w.socket(on_line(at), w.world.alice) as ws:
            for text in said:
                await ws.send_message(text)
                if text == "2probe":
                    assert await heard(ws) == "3probe"
            if said not in ([], ["2probe"]):
                assert await close_code(ws) == 1007
        await client.post(f"/api/projects/{world.project_id}/export", json=ORDER)
        assert (await until_ended(w, client, at))[0][0] == "export:started"


async def test_who_goes_in_a_poll_leaves_nothing(world: World) -> None:
    async with serving(world) as w, w.client(w.world.alice) as client:
        at = await connected(client)
        stream = await trio.open_tcp_stream("127.0.0.1", int(w.url.rsplit(":", 1)[1]))
        lines = [f"GET {at} HTTP/1.1", "Host: x", f"Cookie: {w.cookie(w.world.alice)['Cookie']}", "", ""]
        await stream.send_all("\r\n".join(lines).encode())
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(w.engine) == 1
        await stream.aclose()
        await no_session_left(w)
        assert (await w.service.statistics()).watchers == 0


async def test_who_goes_from_a_line_leaves_nothing(world: World) -> None:
    async with serving(world) as w:
        async with w.socket(WEBSOCKET, w.world.alice) as ws:
            await heard(ws)
            await ws.send_message("40")
            await heard(ws)
            assert (await w.service.statistics()).watchers == 1
        await no_session_left(w)
        assert (await w.service.statistics()).watchers == 0


async def test_pings_are_sent_by_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(sessions, "PING_TIMEOUT", 0.05)
    async with serving(world) as w, w.client(w.world.alice) as client, w.socket(WEBSOCKET, w.world.alice) as ws:
        opening = opened(await heard(ws))
        assert (opening["pingInterval"], opening["pingTimeout"]) == (50, 50)
        for _ in range(3):
            assert await heard(ws) == "2"
            await ws.send_message("3")
        assert await close_code(ws) == 1000
        at = await handshake(client)
        assert (await client.get(at)).text == "2"
        await no_session_left(w)


async def test_there_is_an_end_to_the_places(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "MAX_PER_OWNER", 1)
    async with serving(world) as w, w.client(w.world.alice) as client:
        await handshake(client)
        answer = await client.get(POLLING)
        assert (answer.status_code, answer.json()["code"]) == (503, "TOO_MANY_SESSIONS")
        assert "retry-after" in answer.headers
        with pytest.raises(ConnectionRejected) as caught:
            async with w.socket(WEBSOCKET, w.world.alice):
                pass
        assert caught.value.status_code == 503


async def test_draining_ends_polls_and_lines_and_holds_nothing_up(world: World) -> None:
    """Lines with 1012, polls with a close packet; nor does who never connected, or tries a line, hold the end."""
    async with serving(world) as w, w.client(w.world.alice) as client, w.client(w.world.alice) as second:
        at, idle, trying = await connected(client), await handshake(second), await connected(second)
        answers: list[str] = []

        async def poll(who: httpx.AsyncClient, where: str) -> None:
            answers.append((await who.get(where)).text)

        async with (
            w.socket(WEBSOCKET, w.world.alice) as ws,
            w.socket(on_line(trying), w.world.alice) as half,
            trio.open_nursery() as nursery,
        ):
            await heard(ws)
            await ws.send_message("40")
            await heard(ws)
            await probed(half)
            nursery.start_soon(poll, client, at)
            nursery.start_soon(poll, second, idle)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(3):
                await w.service.drain(1)
                w.engine.drain()
                w.stopping.set()
                nursery.start_soon(close_code, half)
                assert await close_code(ws) == 1012
                await w.served.wait()
        assert answers == ["1", "1"]
