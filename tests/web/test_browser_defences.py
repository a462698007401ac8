"""What browsers are told, and what they are not let do: cookies, origins, and the headers of every answer."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from served import ORDER, World, connect, finished, world
from trio_websocket import ConnectionRejected

from exportd.web.docs import page
from exportd.web.routes import ROUTES

UNKNOWN = "3f0c6a52-1d0f-4c57-9a53-5f4b1c6f0e11"
POLLING, WEBSOCKET = "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket"
SITE = "https://exports.example.org"
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


# --- the cookie ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "headers", "secure"),
    [
        ((), {}, False),
        ((), {"X-Forwarded-Proto": "https"}, False),  # anybody may have written it
        ((), {"Forwarded": "proto=https;host=exports.example.org"}, False),
        ((SITE,), {"Host": "exports.example.org"}, True),
        ((SITE,), {"Host": "Exports.Example.org:8443"}, True),
        ((f"{SITE}:8443",), {"Host": "exports.example.org"}, True),  # a proxy may leave the port out
        ((SITE,), {"Host": "exports.example.org", "X-Forwarded-Proto": "http"}, True),
        ((SITE,), {}, False),  # straight to loopback
        ((SITE,), {"Host": "exports.example.org.evil.example"}, False),
        ((SITE,), {"Host": "[::1"}, False),
        (("http://exports.example.org",), {"Host": "exports.example.org"}, False),
        (("https://[::1]:8443",), {"Host": "[::1]:8765"}, True),
    ],
)
async def test_the_cookie_is_for_our_pages_alone_and_for_tls_where_there_is_tls(
    tmp_path: Path, allowed: tuple[str, ...], headers: dict[str, str], secure: bool
) -> None:
    async with world(tmp_path, allowed_origins=allowed) as w, w.client() as client:
        answer = await client.get("/login", params={"ticket": w.tickets.issue()}, headers=headers)
        name, *attributes = answer.headers["set-cookie"].split("; ")
        assert name.startswith("access_token=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
        assert ("Secure" in attributes) == secure
        assert not any(attribute.startswith("Domain") for attribute in attributes)
        assert (answer.headers["location"], answer.headers["cache-control"]) == ("/", "no-store")


# --- origins -------------------------------------------------------------------------------------------------------------


def foreign(url: str) -> list[str]:
    """Origins that are none of ours, some of which look like it."""
    host, _, port = url.removeprefix("http://").partition(":")
    return [
        "https://evil.example",
        "null",
        "",
        f"https://{host}:{port}",
        f"http://{host}",
        f"http://{host}:{int(port) - 1}",
        f"{url}.evil.example",
        f"{url}/",
        f"http://evil.example@{host}:{port}",
        f"http://evil.example/{url}",
        f"{SITE}.evil.example",
        SITE.replace("https", "http"),
        "file://",
    ]


async def test_no_page_of_another_origin_changes_anything_by_the_cookie(tmp_path: Path) -> None:
    async with world(tmp_path, allowed_origins=(SITE,)) as w, w.client(w.owner) as owner, w.client() as client:
        job = str((await finished(w, owner))["id"])
        before = (await owner.get(w.at("history"))).json()
        cookie = {"Cookie": f"access_token={w.token(w.owner)}"}
        for route in ROUTES:
            path = route.path.format(projectId=w.project, jobId=job, imageId="x")
            for origin in foreign(w.url):
                body = ORDER if route.body else None
                answer = await _head(client, route.method, path, cookie | {"Origin": origin}, body)
                assert "access-control-allow-origin" not in answer.headers, "nor can it read an answer"
                if route.method not in {"GET", "HEAD"}:
                    assert (answer.status_code, answer.json()["code"]) == (403, "ORIGIN_REFUSED"), (route, origin)
        assert (await owner.get(w.at("history"))).json() == before
        for origin in (w.url, SITE):
            answer = await client.post(w.at("estimate"), json=ORDER, headers=cookie | {"Origin": origin})
            assert answer.status_code == 200
        # A page cannot know another's token: who sends one in the header is no page that abuses a cookie.
        assert (await owner.post(w.at("estimate"), json=ORDER, headers={"Origin": "null"})).status_code == 200


async def _head(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], body: Any
) -> httpx.Response:
    async with client.stream(method, path, headers=headers, json=body) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
    return answer


async def test_a_preflight_of_another_origin_is_allowed_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as client:
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for path in (w.at(), w.at(UNKNOWN, "cancel"), "/api/projects", "/socket.io/"):
            answer = await client.options(path, headers=asked | {"Access-Control-Request-Headers": "authorization"})
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_no_page_of_another_origin_shakes_hands(tmp_path: Path) -> None:
    async with world(tmp_path, allowed_origins=(SITE,)) as w:
        for origin in filter(None, foreign(w.url)):
            for identity in ({}, {"Authorization": "", "Cookie": f"access_token={w.token(w.owner)}"}):
                with pytest.raises(ConnectionRejected) as caught:
                    async with connect(w, Origin=origin, **identity):
                        pass
                assert caught.value.status_code == 403
        for origin in (w.url, SITE):
            async with connect(w, Origin=origin):
                pass


async def test_where_people_come_by_tls_a_page_without_it_is_another_origin(tmp_path: Path) -> None:
    """Somebody on the way may have written it, under our own name."""
    async with world(tmp_path, allowed_origins=(SITE,)) as w, w.client() as client:
        cookie = {"Cookie": f"access_token={w.token(w.owner)}", "Host": SITE.removeprefix("https://")}
        for origin, status in ((SITE, 200), (SITE.replace("https", "http"), 403)):
            answer = await client.post(w.at("estimate"), json=ORDER, headers=cookie | {"Origin": origin})
            assert answer.status_code == status


# --- headers of every answer ---------------------------------------------------------------------------------------------

DEFENCES = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


async def _raw(w: World, request: str) -> str:
    """The head of an answer."""
    async with await trio.open_tcp_stream(*w.address) as stream:
        await stream.send_all(request.encode())
        seen = b""
        with trio.fail_after(10):
            while b"\r\n\r\n" not in seen and (part := await stream.receive_some(65536)):
                seen += part
    return seen.partition(b"\r\n\r\n")[0].decode()


async def test_every_answer_defends_its_reader_whoever_gives_it(tmp_path: Path) -> None:
    """Of the pages, of the calls, of the framework, of the server below, and of handshakes."""
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
    key = upgrade.replace("Key: x", "Key: AAAAAAAAAAAAAAAAAAAAAA==")
    async with world(tmp_path) as w, w.client(w.owner) as owner:
        job = str((await finished(w, owner))["id"])
        bearer = f"Host: x\r\nAuthorization: Bearer {w.token(w.owner)}\r\n"
        download = w.at(job, "download")
        requests = {
            "GET / HTTP/1.1\r\nHost: x\r\n": 200,
            "GET /docs HTTP/1.1\r\nHost: x\r\n": 200,
            "GET /static/app.js HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n": 304,
            "HEAD /metrics HTTP/1.1\r\nHost: x\r\n": 200,
            f"GET /login?ticket={w.tickets.issue()} HTTP/1.1\r\nHost: x\r\n": 303,
            "GET /nowhere HTTP/1.1\r\nHost: x\r\n": 404,
            "PUT /healthz HTTP/1.1\r\nHost: x\r\n": 405,
            "OPTIONS /api/projects HTTP/1.1\r\nHost: x\r\n": 200,
            "GET /api/projects HTTP/1.1\r\nHost: x\r\n": 401,
            f"GET /api/projects HTTP/1.1\r\n{bearer}": 200,
            f"GET /api/exports/events HTTP/1.1\r\n{bearer}": 200,
            f"GET /api/projects/x/images HTTP/1.1\r\n{bearer}": 400,
            f"POST {w.at()} HTTP/1.1\r\n{bearer}Content-Length: 9999999\r\n": 413,
            f"GET {download} HTTP/1.1\r\n{bearer}": 200,
            f"GET {download} HTTP/1.1\r\n{bearer}Range: bytes=0-1\r\n": 206,
            f"GET {download} HTTP/1.1\r\n{bearer}Range: bytes=99999999-\r\n": 416,
            f"GET {POLLING} HTTP/1.1\r\n{bearer}": 404,  # this world has none
            "GET / HTTP/1.1\r\n": 400,  # the server's own
            "NONSENSE\r\n": 400,
            f"GET / HTTP/1.1\r\nX: {'x' * 100_000}\r\n": 431,
            f"GET /ws HTTP/1.1\r\n{bearer}{key}": 101,
            f"GET /ws HTTP/1.1\r\nHost: x\r\n{key}": 401,
            f"GET /ws HTTP/1.1\r\n{bearer}{key}Origin: null\r\n": 403,
            f"GET /nowhere HTTP/1.1\r\n{bearer}{key}": 404,
            f"GET /ws HTTP/1.1\r\n{bearer}{upgrade.replace('13', '12')}": 400,
        }
        for request, status in requests.items():
            first, *lines = (await _raw(w, f"{request}\r\n")).split("\r\n")
            headers = [line.lower().partition(": ")[::2] for line in lines]
            found = dict(headers)
            assert first.split(" ")[1] == str(status), request
            assert {name: found.get(name) for name in DEFENCES} == {n: v.lower() for n, v in DEFENCES.items()}, request
            policy = found["content-security-policy"]
            assert "unsafe" not in policy
            assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy.split("; "))
            assert sum(name == "content-security-policy" for name, _ in headers) == 1
            assert "server" not in found


async def test_no_cache_keeps_what_somebody_was_told(tmp_path: Path) -> None:
    """Nor one that several people share, nor a browser that somebody else uses next; small pictures are asked about."""
    async with world(tmp_path) as w, w.client(w.owner) as owner, w.client() as nobody:
        known = {"projectId": w.project, "jobId": str((await finished(w, owner))["id"])}
        known["imageId"] = (await owner.get(f"/api/projects/{w.project}/images")).json()["images"][0]["id"]
        for route in ROUTES:
            if route.open or route.method == "DELETE":
                continue
            for client in (owner, nobody):
                answer = await _head(
                    client, route.method, route.path.format(**known), {}, ORDER if route.body else None
                )
                kept = "private, no-cache" if route.operation == "image_thumbnail" and client is owner else "no-store"
                assert answer.headers["cache-control"] == kept, route.operation


def test_the_documentation_runs_nothing_that_stands_in_it() -> None:
    assert re.findall(r"<script[^>]*>", page()) == ['<script src="/static/theme.js">']
    assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:", page())
