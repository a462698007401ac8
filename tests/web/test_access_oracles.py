"""Who has no access cannot tell what there is: not by an answer, not by what is done for it, not by the time it takes."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice, permutations, product
from types import FrameType
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import trio
from cast import QUICK, UNKNOWN, WITHOUT_ACCESS, Cast, performing
from conftest import World, make_world
from serving import heard, opened, serving
from trio_websocket import WebSocketConnection

from exportd.core import events
from exportd.core.job import Job
from exportd.core.options import parse_start
from exportd.core.registry import Registry
from exportd.core.users import User
from exportd.errors import NotFound
from exportd.jobs.hub import Hub
from exportd.jobs.service import Service
from exportd.store.embedded import ShareStatus
from exportd.web.routes import ROUTES, Route

CALLS = [route for route in ROUTES if "{projectId}" in route.path]
ORDERS: list[dict[str, Any]] = [{"options": QUICK}, {"options": {}}, {"options": {"selectedImageIds": ["x"]}, "x": 1}]
NAMED = pytest.mark.parametrize("route", CALLS, ids=lambda route: f"{route.method} {route.operation}")
STRANGER = User("nobody", "nobody@example.org")


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cast, dict[str, str]]]:
    """The cast, and what there is by the names of the addresses."""
    world = make_world(tmp_path_factory.mktemp("oracles") / "data")
    with performing(world) as cast:
        images = cast.ask("owner", "GET", f"/api/projects/{world.project_id}/images").json()["images"]
        known = {"projectId": world.project_id, "jobId": cast.finished("job's user"), "imageId": images[0]["id"]}
        yield cast, known


def addresses(route: Route, known: dict[str, str]) -> dict[str, str]:
    """The address with all that is known, and with each part of it replaced by what is not."""
    parts = {"all": known} | {name: known | {name: UNKNOWN} for name in route.identifiers}
    return {name: route.path.format(**ids) for name, ids in parts.items()}


def told(answer: httpx.Response) -> tuple[object, ...]:
    """All of an answer but its date."""
    return answer.status_code, tuple(h for h in answer.headers.multi_items() if h[0] != "date"), answer.content


@NAMED
@pytest.mark.parametrize("who", WITHOUT_ACCESS)
def test_what_there_is_is_answered_as_what_there_is_not(
    acted: tuple[Cast, dict[str, str]], route: Route, who: str
) -> None:
    cast, known = acted
    done = cast.ask("owner", "GET", f"{cast.daemon.base}/{known['jobId']}/download")
    conditions = [{}, {"If-None-Match": done.headers["etag"]}, {"Range": "bytes=0-0"}, {"Idempotency-Key": "k"}]
    given: list[dict[str, Any]] = [{"headers": headers} for headers in conditions]
    given += [{"json": order} for order in ORDERS if route.body] + [
        {"params": {"limit": "0"}},
        {"params": {"token": ""}},
    ]
    for extra, method in product(given, (route.method, "OPTIONS", "PUT")):
        if method == route.method or extra is given[0]:
            came = {name: told(cast.ask(who, method, at, **extra)) for name, at in addresses(route, known).items()}
            assert set(came.values()) == {came["all"]}, (method, extra)


@contextmanager
def statements() -> Iterator[list[str]]:
    """What the databases are asked within the block."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


CARRIERS = {"exportd.web.direct", "exportd.web.protocol", "exportd.web.server"}
"""They look at no address, and their tasks take turns with each other by chance."""


@contextmanager
def steps() -> Iterator[list[str]]:
    """The functions of exportd that this thread calls within the block, in their order; but not those of `CARRIERS`."""
    called: list[str] = []
    begun: set[FrameType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and frame not in begun and name.startswith("exportd.") and name not in CARRIERS:
            begun.add(frame)  # a coroutine that goes on is no call
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("share", [None, ShareStatus.PENDING, ShareStatus.REVOKED])
async def test_the_same_is_done_for_what_there_is_and_what_there_is_not(
    world: World, share: ShareStatus | None
) -> None:
    """The same statements, the same functions: there is nothing that could take another time."""
    if share is not None:
        world.share(world.bob.email, share)
    async with serving(world) as w, w.client(STRANGER if share is None else world.bob) as client:
        known = await what_there_is(w.service, world)
        for route, remembered in product(CALLS, (False, True)):
            seen = {}
            for _ in range(2):  # the first call of a kind fills caches, and opens connections
                for name, at in addresses(route, known).items():
                    if not remembered:
                        w.service._accesses._known.clear()
                    with statements() as asked, steps() as called:
                        await client.request(route.method, at, json=ORDERS[0] if route.body else None)
                    seen[name] = (asked, called)
            assert len(seen["all"][0]) == (0 if remembered else 1), "who has access is asked, and nothing else"
            assert len(seen["all"][1]) > 10
            assert [name for name, done in seen.items() if done != seen["all"]] == [], route


async def what_there_is(service: Service, world: World) -> dict[str, str]:
    """By the names of the addresses; the job has ended."""
    job = await service.start(world.alice, world.project_id, parse_start(json.dumps(ORDERS[0]).encode()))
    with trio.fail_after(30):
        while not job.is_final:
            await trio.sleep(0.01)
            job = service._registry.get(job.id)
    images = service.catalogue.images(world.project_id, None)
    return {"projectId": world.project_id, "jobId": job.id, "imageId": images[0].id}


ROUNDS = 400
NOISE = 0.15
"""How far two samples of one distribution may be from a coin's toss: seven times the standard deviation. A statement more
makes it 0.37."""


async def test_time_does_not_tell_either(world: World) -> None:
    """A rank test of samples that are taken in turns: how often does what there is take longer than what there is not?

    Without HTTP, in whose noise a stranger would have to look for it.
    """
    async with world.service() as service:
        known = await what_there_is(service, world)
        project, job = known["projectId"], known["jobId"]
        calls = {"all": (project, job), "no project": (UNKNOWN, job), "no job": (project, UNKNOWN)}
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for order in islice(cycle(permutations(calls)), ROUNDS):
            for name in order:
                begun = time.perf_counter()
                with pytest.raises(NotFound):
                    await service.status(STRANGER, *calls[name])
                taken[name].append(time.perf_counter() - begun)
    for name in calls:
        assert abs(slower(taken["all"], taken[name]) - 0.5) < NOISE, name


def slower(first: list[float], second: list[float]) -> float:
    """The share of pairs of which the first is the greater one: Mann and Whitney's U over the number of pairs."""
    return sum((a > b) + (a == b) / 2 for a in first for b in second) / (len(first) * len(second))


def test_nobody_looks_into_the_events_of_somebody_elses_export() -> None:
    """To be told again of an export by its id: the same is done when there are events of it as when there are none."""
    hub = Hub(Registry(max_active_per_user=1, max_active=1))
    options = parse_start(json.dumps(ORDERS[0]).encode()).options
    job = Job(str(uuid.UUID(int=1)), UNKNOWN, "P", User("u1", ""), options, datetime.now(UTC))
    hub.publish(events.started(job), job)
    done = {}
    with hub.watch(STRANGER) as feed:
        for asked in (job.id, UNKNOWN):
            with steps() as done[asked]:
                feed.subscribe(job_id=asked, since=0)
                feed.resume(asked, 1)
                assert feed.take_nowait() is None
    assert done[job.id] == done[UNKNOWN] != []


async def test_socket_io_answers_for_what_there_is_as_for_what_there_is_not(world: World) -> None:
    async with serving(world) as w:
        known = await what_there_is(w.service, world)
        project, job = known["projectId"], known["jobId"]
        world.share(world.bob.email, ShareStatus.REVOKED)
        for who in (STRANGER, world.bob):
            async with w.socket("/socket.io/?EIO=4&transport=websocket", who) as ws:
                opened(await heard(ws))
                await ws.send_message("40")
                await heard(ws)
                for asked in ((project, UNKNOWN), (UNKNOWN, job), (UNKNOWN, UNKNOWN), ("???", "???")):
                    told = [await _refusals(ws, *ids) for ids in ((project, job), asked)]
                    assert told[0] == told[1]


async def _refusals(ws: WebSocketConnection, project: str, job: str) -> list[str]:
    """What comes of joining the project and of cancelling the job, but for the id that was sent."""
    await ws.send_message(f'421["join-project","{project}"]')
    await ws.send_message(f'422["export:cancel",{{"projectId":"{project}","jobId":"{job}"}}]')
    return [(await heard(ws)).replace(job, "…") for _ in range(4)]
