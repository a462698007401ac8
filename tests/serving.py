"""Service, sessions, app and server, as the daemon puts them together, within a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import trio
from conftest import World
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from exportd.core.users import User
from exportd.jobs.service import Service, open_service
from exportd.tokens import Tickets, load_secret, make_token
from exportd.web.app import create_app
from exportd.web.auth import Auth
from exportd.web.server import serve
from exportd.web.socketio.engine import Engine, open_engine


@dataclass(frozen=True)
class Served:
    """A world at an address."""

    world: World
    service: Service
    engine: Engine
    url: str
    stopping: trio.Event
    served: trio.Event

    def cookie(self, user: User) -> dict[str, str]:
        token = make_token(load_secret(self.world.settings), self.world.settings, user, 60)
        return {"Cookie": f"access_token={token}"}

    def client(self, user: User | None) -> httpx.AsyncClient:
        headers = {} if user is None else self.cookie(user)
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10, trust_env=False)

    @asynccontextmanager
    async def socket(self, path: str, user: User | None = None, **headers: str) -> AsyncIterator[WebSocketConnection]:
        given = headers if user is None else self.cookie(user) | headers
        extra = [(name.encode(), value.encode()) for name, value in given.items()]
        async with open_websocket_url(f"ws{self.url.removeprefix('http')}{path}", extra_headers=extra) as ws:
            try:
                yield ws
            finally:
                await ws._stream.aclose()  # trio-websocket leaves it open when the server has closed


@asynccontextmanager
async def serving(world: World, **changes: Any) -> AsyncIterator[Served]:
    settings = world.settings.model_copy(update=changes)
    stopping, cut, served = trio.Event(), trio.Event(), trio.Event()

    async def nobody() -> User | None:
        return None

    async with (
        open_service(settings) as service,
        open_engine(service, Auth(load_secret(settings), settings)) as engine,
        trio.open_nursery() as nursery,
    ):
        app = create_app(service, settings, load_secret(settings), Tickets(), nobody, engine)

        async def run(task_status: trio.TaskStatus[str]) -> None:
            await serve(app, host="127.0.0.1", port=0, stopping=stopping, cut=cut, task_status=task_status)
            served.set()

        url = await nursery.start(run)
        yield Served(world, service, engine, url, stopping, served)
        stopping.set()
        cut.set()


async def heard(ws: WebSocketConnection) -> str:
    """The next text of the server."""
    with trio.fail_after(10):
        text = await ws.get_message()
    assert isinstance(text, str)
    return text


async def close_code(ws: WebSocketConnection) -> int:
    """How the server closes it, whatever it says before."""
    with trio.fail_after(10):
        while True:
            try:
                await ws.get_message()
            except ConnectionClosed as closed:
                return int(closed.reason.code) if closed.reason else 0


def opened(text: str) -> dict[str, Any]:
    """The data of an open packet."""
    assert text.startswith("0{"), text
    data: dict[str, Any] = orjson.loads(text[1:])
    return data
