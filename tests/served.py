"""The whole over a real socket, as the daemon puts it together, and the clients that tests need beside httpx."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio
from pydantic import SecretStr
from raw import ask, ask_events, enlarge
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from exportd.core.users import User
from exportd.jobs.service import Service, open_service
from exportd.settings import Reserve, Settings
from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.importers import sample_project
from exportd.tokens import Tickets, make_token
from exportd.web.app import create_app
from exportd.web.server import serve

SECRET = b"test-" + b"0123456789abcdef" * 3
ORDER = {"options": {"includeOriginalImages": True, "includeDocumentation": True, "annotationFormats": ["coco"]}}


@dataclass
class World:
    """A served sample project."""

    settings: Settings
    service: Service
    url: str
    owner: User
    project: str
    tickets: Tickets
    stopping: trio.Event
    cut: trio.Event
    served: trio.Event

    def token(self, user: User) -> str:
        return make_token(SECRET, self.settings, user, 60)

    def client(self, user: User | None = None) -> httpx.AsyncClient:
        headers = {} if user is None else {"Authorization": f"Bearer {self.token(user)}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10)

    def at(self, *parts: str) -> str:
        return "/".join((f"/api/projects/{self.project}/export", *parts))

    def asked(self, path: str) -> socket.socket:
        """The owner's request for this, of whose answer nothing is read yet. Blocking."""
        return ask(self.address, self.token(self.owner), path)

    def silent_watcher(self) -> socket.socket:
        """The owner's WebSocket, of which nothing is read. Blocking."""
        return ask_events(self.address, self.token(self.owner))

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)


@asynccontextmanager
async def world(folder: Path, images: int = 3, *, large: bool = False, **changes: Any) -> AsyncIterator[World]:
    """The whole, with so many images of the sample project; `large`: an archive is more than sockets take in. `changes` are
    settings."""
    given = {"jwt_secret": SecretStr(SECRET.decode()), "disk_reserve": Reserve(0, None), "max_body": 1 << 20, **changes}
    settings = Settings(data=folder / "data", **given)
    settings.data.mkdir()
    with EmbeddedCatalogue(settings.data) as writable:
        owner = writable.add_user("owner@example.org")
        project = sample_project(writable, settings.uploads_directory, owner.email, images).project_id
    if large:
        enlarge(settings.uploads_directory)

    async def login() -> User | None:
        return owner

    stopping, cut, served = trio.Event(), trio.Event(), trio.Event()
    async with open_service(settings) as service, trio.open_nursery() as nursery:
        tickets = Tickets()
        app = create_app(service, settings, SECRET, tickets, login)

        async def run(task_status: trio.TaskStatus[str]) -> None:
            await serve(app, host="127.0.0.1", port=0, stopping=stopping, cut=cut, task_status=task_status)
            served.set()

        url = await nursery.start(run)
        yield World(settings, service, url, owner, project, tickets, stopping, cut, served)
        stopping.set()
        cut.set()


async def finished(w: World, client: httpx.AsyncClient) -> dict[str, object]:
    """A job that has come to its end."""
    job = (await client.post(w.at(), json=ORDER)).json()["jobId"]
    with trio.fail_after(20):
        while (seen := (await client.get(w.at(job, "status"))).json())["status"] in {"pending", "processing"}:  # noqa: ASYNC110
            await trio.sleep(0.02)
    return dict(seen)


@asynccontextmanager
async def connect(w: World, **headers: str) -> AsyncIterator[WebSocketConnection]:
    given = {"Authorization": f"Bearer {w.token(w.owner)}", **headers}
    extra = [(name.encode(), value.encode()) for name, value in given.items() if value]
    async with open_websocket_url(f"ws{w.url.removeprefix('http')}/ws", extra_headers=extra) as ws:
        try:
            yield ws
        finally:
            await ws._stream.aclose()  # trio-websocket leaves it open when the server has closed


async def closed(socket: WebSocketConnection) -> int:
    """The code of the close that comes, whatever comes before it."""
    with trio.fail_after(5):
        while True:
            try:
                await socket.get_message()
            except ConnectionClosed as end:
                return int(end.reason.code) if end.reason else 0
