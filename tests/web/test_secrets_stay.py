"""Secrets, tokens, cookies and tickets stay with whom they are for: no log has them at any level, nor any answer."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from cast import CALLERS, QUICK, Cast, performing
from conftest import make_world
from daemons import PATIENCE

from exportd.store.engines import FILE_NAME
from exportd.web.routes import ROUTES

POLLING, WEBSOCKET = "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket"
SECRET = "canary-of-the-secret-that-signs-0123456789"
CANARIES = ("canary-of-a-header-0123", "canary-of-a-cookie-0123", "canary-of-a-link-0123", "canary-of-a-ticket-0123",
            "canary-of-a-packet-0123", "canary-of-a-session-0123", SECRET)  # fmt: skip
HEADER, COOKIE, LINK, TICKET, PACKET, SID, _ = CANARIES


@dataclass
class Heard:
    """Calls that were made, with everything that was secret in them, and all that came of them."""

    secrets: set[str] = field(default_factory=lambda: set(CANARIES))
    said: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def note(self, answer: httpx.Response) -> httpx.Response:
        self.statuses[answer.status_code] += 1
        text = answer.text if answer.is_stream_consumed else ""  # of an event stream only the head was read
        self.said.append(f"{sorted(answer.headers.items())} {text}")
        return answer

    def told(self, text: str) -> list[str]:
        return sorted(secret for secret in self.secrets if secret in text)


def parts(token: str) -> set[str]:
    """What must not be told of a token: its claims and its signature; its head is that of all tokens."""
    return set(token.split(".")[1:])


def call_everything(cast: Cast, heard: Heard) -> None:
    """Every call by everybody, with good and with bad secrets in every place that takes one, and with what breaks off."""
    done = cast.finished("job's user")
    ids = {"projectId": cast.world.project_id, "jobId": done, "imageId": "x"}
    link = cast.link("owner", done)
    heard.secrets |= parts(link)
    ways: list[dict[str, Any]] = [
        {"headers": {"Authorization": f"Bearer {HEADER}"}},
        {"headers": {"Authorization": f"Basic {HEADER}"}},
        {"headers": {"Authorization": f"Bearer {HEADER}, {HEADER}", "Origin": "https://evil.example"}},
        {"headers": {"Cookie": f"access_token={COOKIE}"}},
        {"params": {"token": LINK, "ticket": TICKET, "jobId": "x", "limit": "x"}},
        {"params": {"token": link}, "headers": {"Cookie": f"access_token={COOKIE}", "Range": "bytes=x"}},
    ]
    for who in CALLERS:
        if (token := cast.token(who)) is not None:
            heard.secrets |= parts(token)
            ways += [
                {"headers": {"Authorization": f"Bearer {token}"}},
                {"headers": {"Cookie": f"access_token={token}"}},
            ]
    paths = [(route.method, route.path.format(**ids)) for route in ROUTES if route.operation != "delete_export"]
    paths += [("GET", f"/login?ticket={TICKET}"), ("GET", "/"), ("GET", f"/nowhere?token={LINK}"), ("PUT", "/healthz")]
    for way in ways:
        for method, path in paths:
            body = {"options": QUICK | {"token": 1}} if method == "POST" else None
            answer = cast.ask("nobody", method, path, json=body, **way)
            if not path.endswith("download-token"):  # it may be the very one that was made in this second
                heard.note(answer)
        for path in ("/ws", f"/ws?token={LINK}", WEBSOCKET, f"{WEBSOCKET}&sid={SID}"):
            heard.statuses[cast.shake_hands("nobody", path, **way.get("headers", {}))] += 1
        talk(cast, heard, way.get("headers", {}))
    for raw in (
        f"GET /x?token={LINK} HTTP/1.1\r\nCookie: access_token={COOKIE}\r\n\r\n",  # no Host
        f"BREW /x?token={LINK} HTTP/9.9\r\nHost: x\r\nAuthorization: Bearer {HEADER}\r\n\r\n",
        f"Authorization: Bearer {HEADER}\r\n\r\n",
        f"POST {cast.daemon.base} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {HEADER}\r\nContent-Length: 9\r\n\r\nx",
        f"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {HEADER}{'x' * 100_000}\r\n\r\n",
    ):
        with socket.create_connection(cast.address, PATIENCE) as line:
            line.sendall(raw.encode())
            if "Content-Length" not in raw:
                heard.said.append(line.recv(65536).decode())


def talk(cast: Cast, heard: Heard, headers: dict[str, str]) -> None:
    """Socket.IO, with a token in a packet."""
    opening = heard.note(cast.ask("nobody", "GET", POLLING, headers=headers))
    if opening.status_code == 200:
        at = f"{POLLING}&sid={json.loads(opening.text[1:])['sid']}"
        heard.note(cast.ask("nobody", "POST", at, headers=headers, content=f'40{{"token":"{PACKET}"}}'))
        heard.note(cast.ask("nobody", "GET", at, headers=headers))
        heard.note(cast.ask("nobody", "POST", at, headers=headers, content=f"4{{{PACKET}"))
    heard.note(cast.ask("nobody", "GET", f"{POLLING}&sid={SID}", headers=headers))


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Heard, str]]:
    """What was asked and answered, and the log of the daemon at its most talkative."""
    world = make_world(tmp_path_factory.mktemp("secrets") / "data")
    (world.settings.data / "secret").write_text(SECRET)
    heard = Heard()
    with performing(world, log_level="debug", log_format="json") as cast:
        assert cast.secret == SECRET.encode()
        call_everything(cast, heard)
        assert heard.statuses[500] == 0
        call_what_fails(cast, heard)
        cast.daemon.stop(signal.SIGTERM)
        yield heard, cast.daemon.log.read_text()


def call_what_fails(cast: Cast, heard: Heard) -> None:
    """An archive is gone, then a table of the projects' database: what fails is logged with all that led to it."""
    done, data = cast.finished("job's user"), cast.world.settings.data
    for archive in (data / "archives").iterdir():
        archive.unlink()
    at, link = f"{cast.daemon.base}/{done}/download", cast.link("owner", done)
    heard.secrets |= parts(link)
    cookie = {"Cookie": f"access_token={cast.token('owner')}"}
    for who, given in (("owner", {}), ("nobody", {"headers": cookie}), ("nobody", {"params": {"token": link}})):
        assert heard.note(cast.ask(who, "GET", at, **given)).status_code == 500
    with closing(sqlite3.connect(data / FILE_NAME)) as catalogue:
        catalogue.execute("DROP TABLE project_shares")
    for who in CALLERS[2:]:
        assert heard.note(cast.ask(who, "GET", f"{cast.daemon.base}/history")).status_code == 503


def test_no_log_has_them(heard: tuple[Heard, str]) -> None:
    came, log = heard
    # The daemon prints a login link on standard output: that is what it is for. Tests have both in one file.
    lines = [line for line in log.splitlines() if not line.startswith("log in: ")]
    assert sum("Traceback" in line for line in lines) == 3, "it logs what goes wrong, at length"
    assert sum("catalogue_unavailable" in line for line in lines) == len(CALLERS[2:])
    assert came.told("\n".join(lines)) == []


def test_no_answer_has_them(heard: tuple[Heard, str]) -> None:
    """But for the token of a link, which whoever asks for it is to get: it is a new one."""
    came, _ = heard
    assert {200, 400, 401, 403, 404, 405, 500, 503} <= set(came.statuses), "they came from everywhere"
    assert came.told("\n".join(came.said)) == []
