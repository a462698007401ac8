"""Everybody who may or may not: a served project, and callers of every kind with what they send to say who they are."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from conftest import World
from daemons import PATIENCE, Daemon, serving
from raw import head

from exportd.core.users import User
from exportd.store.embedded import EmbeddedCatalogue, ShareStatus
from exportd.tokens import load_secret, make_download_token, make_token

CALLERS = ("nobody", "bad token", "stranger", "pending", "revoked", "accepted", "job's user", "owner")
WITHOUT_ACCESS = ("stranger", "pending", "revoked")
UNKNOWN = "3f0c6a52-1d0f-4c57-9a53-5f4b1c6f0e11"
ANEW = httpx.Limits(max_keepalive_connections=0)
"""A connection for each call: who is refused before all of the body has come is hung up on, and httpx may not have noticed."""
QUICK = {"annotationFormats": ["coco"]}
SLOW = {
    "includeOriginalImages": True,
    "includeVisualizations": True,
    "annotationFormats": ["coco", "yolo", "json", "labels", "imagej"],
    "metricsFormats": ["excel", "csv"],
    "intensityMetrics": True,
}
"""Takes so long that a call finds it at work."""


@dataclass(frozen=True)
class Cast:
    """The callers at a daemon. The job's user is no owner, so that either right shows by itself."""

    daemon: Daemon
    world: World
    users: dict[str, User]
    http: httpx.Client
    """Says by itself nothing of who asks."""

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.daemon.url.removeprefix("http://").partition(":")
        return host, int(port)

    @property
    def secret(self) -> bytes:
        return load_secret(self.world.settings)

    def token(self, who: str) -> str | None:
        if who == "nobody":
            return None
        if who == "bad token":
            return make_token(b"another secret of more than 32 bytes", self.world.settings, self.users["owner"], 600)
        return make_token(self.secret, self.world.settings, self.users[who], 600)

    def headers(self, who: str) -> dict[str, str]:
        token = self.token(who)
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def ask(self, who: str, method: str, path: str, **given: Any) -> httpx.Response:
        """An answer; of an event stream its head."""
        headers = self.headers(who) | given.pop("headers", {})
        with self.http.stream(method, path, headers=headers, **given) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
        return answer

    def shake_hands(self, who: str, path: str, **given: str) -> int:
        """How a WebSocket's handshake is answered."""
        wanted = {
            "Host": self.address[0],
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        lines = [f"{name}: {value}" for name, value in (wanted | self.headers(who) | given).items()]
        with socket.create_connection(self.address, PATIENCE) as raw:
            raw.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
            return int(head(raw).split(b" ")[1])

    def started(self, who: str, options: dict[str, Any]) -> str:
        answer = self.ask(who, "POST", self.daemon.base, json={"options": options})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["jobId"])

    def finished(self, who: str) -> str:
        job = self.started(who, QUICK)
        assert self.daemon.wait_ended(job)["status"] == "completed"
        return job

    def cancelled(self, who: str) -> str:
        job = self.started(who, SLOW)
        self.tidy(job)
        return job

    def lost(self) -> str:
        """A job of the one who has lost access since."""
        revoked = self.users["revoked"].email
        self.world.share(revoked, ShareStatus.ACCEPTED)
        job = self.finished("revoked")
        self.world.share(revoked, ShareStatus.REVOKED)
        return job

    def tidy(self, job: str) -> None:
        """Ends the job, if it has not ended: everybody may have few at a time."""
        self.ask("owner", "POST", f"{self.daemon.base}/{job}/cancel")

    def link(self, who: str, job: str) -> str:
        """The token of a download link."""
        return make_download_token(self.secret, self.users[who], self.world.project_id, job)[0]


def invited(world: World) -> dict[str, User]:
    """Everybody by their names here. The one who will be revoked still has access."""
    with EmbeddedCatalogue(world.settings.data) as embedded:
        people = {name: embedded.add_user(f"{name}@example.org") for name in (*WITHOUT_ACCESS, "accepted")}
    for name, status in (
        ("pending", ShareStatus.PENDING),
        ("revoked", ShareStatus.ACCEPTED),
        ("accepted", ShareStatus.ACCEPTED),
    ):
        world.share(people[name].email, status)
    return {**people, "job's user": world.bob, "owner": world.alice}


@contextmanager
def performing(world: World, **settings: str) -> Iterator[Cast]:
    """The callers at a daemon."""
    users = invited(world)
    world.share(users["revoked"].email, ShareStatus.REVOKED)
    with (
        serving(world, **settings) as daemon,
        httpx.Client(base_url=daemon.url, trust_env=False, timeout=PATIENCE, limits=ANEW) as http,
    ):
        yield Cast(daemon, world, users, http)
