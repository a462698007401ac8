"""`kill -9` from outside, at random moments of the real daemon under load: users who start, wait, download, cancel and delete
over HTTP, in a process of their own, which tells what was answered."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Mapping
from functools import partial

import httpx
import trio
from conftest import World
from pydantic import SecretStr

from exportd import daemon
from exportd.settings import Settings
from exportd.tokens import make_token
from harm import children
from harm.children import Tell
from harm.promises import History, Seen, crash_faults
from harm.scenes import REQUEST, Template, at, found, look, opened
from harm.tally import Tally

SECRET = "of this sweep alone, and long enough for HS256"
USERS = 3
LONGEST = 0.8
"""Seconds after the daemon's start up to which a kill falls: some ten exports are in them."""
KEPT = 12
"""Jobs that go on from one kill to the next; the rest is deleted."""
READY = 30
"""Seconds that a start may take; never reached."""
POLL = 0.005
BODY = {"options": REQUEST.options.model_dump(mode="json", by_alias=True, exclude_none=True)}


def sweep(template: Template, world: World, tally: Tally, kills: int, seed: int) -> None:
    """So many kills of daemons on one data directory, one after the other; looks at all of it after each."""
    chance = random.Random(seed)
    with children.copy_of(template.data) as data:
        world = at(world, data)
        known: Mapping[str, Seen] = template.jobs
        for number in range(kills):
            moment = chance.uniform(0.0, LONGEST)
            lines, ready = _run(world, moment, chance.random())
            point = f"kill {number}, {moment * 1000:.0f} ms after the start"
            tally.covered(ready)
            history = History.of(lines)
            after = children.run(partial(_look, world, sorted(history.started | known.keys())))
            if not ready or after.code != 0:
                tally.found(point, [f"the daemon did not start: {ready}, {after.of('raised')}"])
                return
            (values,) = after.of("found")
            seen = found(values[0])
            for what in ("cancel", "delete"):
                tally.counted(f"{what}s answered", sum(history.did(what, job) for job in history.answered))
            tally.counted("exports started", len(history.started))
            tally.counted("ends announced", len(history.announced))
            tally.found(point, crash_faults(known, history, seen, template.reference))
            tally.found(point, [f"{line[1]}" for line in lines if line[0] == "wrong"])
            kept = {line[0] for line in after.of("kept")}
            known = {name: job for name, job in seen.jobs.items() if name in kept}


def _settings(world: World) -> Settings:
    return world.settings.model_copy(update={"port": 0, "jwt_secret": SecretStr(SECRET), "log_level": "error"})


def _run(world: World, moment: float, seed: float) -> tuple[list[list[object]], bool]:
    """A daemon from its start to its kill; what its users were told, and whether it came to serve at all."""
    where = world.settings.data / daemon.WHERE
    where.unlink(missing_ok=True)
    serving = children.begin(partial(_serve, world))
    until = time.monotonic() + READY
    while not where.exists() and time.monotonic() < until:
        time.sleep(POLL)
    ready = where.exists()
    using = children.begin(partial(_use, world, seed)) if ready else None
    time.sleep(moment)
    os.kill(serving[0], signal.SIGKILL)
    served = children.end(*serving)
    lines = children.end(*using).lines if using else []
    if served.code != -signal.SIGKILL:
        lines.append(["wrong", f"the daemon ended by itself with {served.code}: {served.of('raised')}"])
    return lines, ready


def _serve(world: World, _: Tell) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    daemon.run(_settings(world))


def _use(world: World, seed: float, tell: Tell) -> None:
    url = json.loads((world.settings.data / daemon.WHERE).read_text())["url"]
    trio.run(_use_at, url, world, seed, tell)


async def _use_at(url: str, world: World, seed: float, tell: Tell) -> None:
    settings = _settings(world)
    headers = {"Authorization": f"Bearer {make_token(SECRET.encode(), settings, world.alice, 3600)}"}
    base = f"{url}/api/projects/{world.project_id}/export"
    async with (
        httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=READY) as http,
        trio.open_nursery() as nursery,
    ):
        for user in range(USERS):
            nursery.start_soon(_User(http, random.Random(f"{seed} {user}"), tell).run)


class _User:
    """Starts, waits, cancels, downloads and deletes until the daemon is dead."""

    def __init__(self, http: httpx.AsyncClient, chance: random.Random, tell: Tell) -> None:
        self._http, self._chance, self._tell = http, chance, tell

    async def run(self) -> None:
        try:
            while True:
                await self._once()
        except (httpx.TransportError, httpx.RemoteProtocolError):
            pass  # it was killed

    async def _once(self) -> None:
        answer = await self._http.post("", json=BODY)
        if answer.status_code != 200:
            await trio.sleep(0.01)  # over the cap: of three users who are one
            return
        job = answer.json()["jobId"]
        self._tell("started", job)
        if self._chance.random() < 0.5:
            await trio.sleep(self._chance.uniform(0.0, 0.1))
            await self._cancel(job)
        elif await self._completed(job) and self._chance.random() < 0.5:
            self._tell("asked", "delete", job)
            if (await self._http.delete(f"/{job}")).status_code == 204:
                self._tell("answered", "delete", job)

    async def _cancel(self, job: str) -> None:
        self._tell("asked", "cancel", job)
        answer = await self._http.post(f"/{job}/cancel")
        if answer.status_code == 200:
            self._tell("answered", "cancel", job)
        elif answer.json().get("code") != "EXPORT_COMPLETED":
            self._tell("wrong", f"cancel: {answer.status_code} {answer.text}")

    async def _completed(self, job: str) -> bool:
        while (now := (await self._http.get(f"/{job}/status")).json())["status"] in ("pending", "processing"):
            await trio.sleep(POLL)
        self._tell("event", f"export:{now['status']}", job)
        archive = await self._http.get(f"/{job}/download")
        if hashlib.sha256(archive.content).hexdigest() != now["sha256"]:
            self._tell("wrong", f"download of {job}: {archive.status_code}, {len(archive.content)} bytes")
        return bool(now["status"] == "completed")


def _look(world: World, gone: list[str], tell: Tell) -> None:
    """What is left, as a service shows it that is opened on it; then all but the newest jobs are deleted."""

    async def again() -> None:
        async with opened(world) as service:
            tell("found", await look(service, world, gone))
            jobs = service._registry.all()
            for job in jobs[:-KEPT]:
                await service.delete(world.alice, world.project_id, job.id)
            for job in jobs[-KEPT:]:
                tell("kept", job.id)

    trio.run(again)
