"""The fault sweep: the n-th operation of a scene fails, for every n, with each of several errors; each kind of operation also
goes on failing until the scene is over. Meanwhile another export stands still, which must not notice."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import trio
from conftest import World, held_files

from exportd.jobs.service import Service
from harm import children
from harm.children import Tell, Told
from harm.operations import ALL, Operation, Wire, lay
from harm.promises import Found, History, crash_faults, event_faults
from harm.scenes import LATER, REFUSALS, REQUEST, SCENES, Stage, Template, at, found, listen, look, opened
from harm.tally import MINOR, Tally

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)

CODES = {errno.ENOSPC: "INSUFFICIENT_SPACE", errno.EACCES: "PERMISSION_DENIED"}
"""SPEC §4; of all other errors `UNKNOWN` is what can be said."""

REMOVES = frozenset({"unlink", "rmdir"})
"""Where these fail, or what removes the scratch folder, files may stay, if that is admitted; the next sweep takes them."""

SETTLED = 10
"""Seconds within which the journal has what it could not have before; never reached."""

SHORT_SCENES = ("export", "cancel at a write", "delete")


@dataclass(frozen=True)
class Strike:
    """Which operation fails, and how."""

    number: int
    error: int
    lasting: bool = False
    """Whether all that do the same in the same place fail from then on."""


def sweep(template: Template, world: World, tally: Tally, *, short: bool) -> None:
    for scene in SHORT_SCENES if short else SCENES:
        every = _operations(template, world, scene)
        for strike in _strikes(every, short=short):
            with children.copy_of(template.data) as data:
                told = children.run(partial(_play, at(world, data), scene, template.done, strike))
                _judge(template, told, scene, strike, tally)


def _strikes(every: list[Operation], *, short: bool) -> Iterator[Strike]:
    firsts = [n for n in range(len(every)) if every[n] not in every[:n]]
    if short:
        firsts = [
            n for n in range(len(every)) if every[n].name == "commit" or (n in firsts and every[n].name not in MINOR)
        ]
        yield from (Strike(n, ERRORS[i % len(ERRORS)], lasting=i % 3 == 2) for i, n in enumerate(firsts))
        return
    yield from (Strike(n, error) for n in range(len(every)) for error in ERRORS)
    yield from (Strike(n, error, lasting=True) for n in firsts for error in (errno.ENOSPC, errno.EIO))


def _operations(template: Template, world: World, scene: str) -> list[Operation]:
    with children.copy_of(template.data) as data:
        told = children.run(partial(_play, at(world, data), scene, template.done, None))
        return [Operation(*line) for line in told.of("operation")]


def _play(world: World, scene: str, done: str, strike: Strike | None, tell: Tell) -> None:
    struck: list[Operation] = []

    def fail(number: int, operation: Operation) -> None:
        if strike is None:
            return
        if number == strike.number or (strike.lasting and operation in struck):
            if not struck:
                tell("struck", *operation)
            struck.append(operation)
            raise OSError(strike.error, os.strerror(strike.error))

    wire = Wire(world.settings.data, ALL, fail)
    lay(wire)
    trio.run(_act, world, scene, Stage(None, world, wire, tell, done))  # type: ignore[arg-type]
    if strike is None:
        for operation in wire.passed:
            tell("operation", *operation)


async def _act(world: World, scene: str, stage: Stage) -> None:
    """The scene beside an export that stands still; then what is left of both, as this service and the next one show it."""
    gone = [stage.done]
    async with opened(world, running=2) as service:
        stage.service = service
        listen(service, stage.tell)
        hold = stage.wire.hold(Operation("open", "staging/*.zip").__eq__)
        bystander = await service.start(world.bob, world.project_id, REQUEST)
        stage.tell("bystander", bystander.id)
        await hold.reached.wait()
        await _play_beside(scene, stage)
        gone += [job.id for job in service._registry.all()]
        hold.let_go()
        await stage.ended(bystander)
        stage.tell("files", world.files())
        await settled(service)
        stage.tell("found", await look(service, world, gone))
    if held := held_files():
        stage.tell("held", held)
    async with opened(world) as service:
        stage.tell("found", await look(service, world, gone))


async def _play_beside(scene: str, stage: Stage) -> None:
    retention = stage.service._retention
    retention._now = lambda: stage.service._now() + LATER.get(scene, timedelta())
    try:
        await SCENES[scene](stage)
    except REFUSALS as error:
        stage.tell("raised by the scene", type(error).__name__)
    finally:
        stage.wire.armed = False
        retention._now = stage.service._now
    with trio.fail_after(SETTLED):
        for job in stage.service._registry.active():
            if job.user != stage.world.bob:
                await stage.service._supervisor.wait_concluded(job.id)


async def settled(service: Service) -> None:
    """What the journal is owed is paid, and what could not be removed is swept."""
    with trio.fail_after(SETTLED):
        while service._ledger.owes:
            await trio.sleep(0.05)
    await service._retention.round()


def _judge(template: Template, told: Told, scene: str, strike: Strike, tally: Tally) -> None:
    operation = next((Operation(*line) for line in told.of("struck")), None)
    point = f"{scene}, {'lasting ' if strike.lasting else ''}{errno.errorcode[strike.error]} at {strike.number}: {operation}"
    if told.code != 0:
        tally.covered(operation is not None)
        tally.found(point, [f"the process ended with {told.code}: {told.of('raised')}"])
        return
    history = History.of(told.lines)
    now, after = (found(values[0]) for values in told.of("found"))
    (bystander,) = (line[0] for line in told.of("bystander"))
    history.started.add(bystander)
    mine = [name for name in now.jobs if name not in template.jobs and name != bystander]
    ends = [now.jobs[name].error or now.jobs[name].status for name in mine]
    tally.covered(operation is not None, operation and operation.name, " and ".join(ends) or "no job")
    tally.found(point, crash_faults(template.jobs, history, now, template.reference))
    tally.found(f"{point}; next start", crash_faults(template.jobs, history, after, template.reference))
    tally.found(point, _more(history, now, after, mine, bystander))
    if operation is not None:
        tally.found(point, _code_faults(now, mine, operation, strike))
        tally.found(point, _left_faults(told, now, operation))
    tally.found(point, [f"descriptors are open: {line}" for line in told.of("held")])


def _more(history: History, now: Found, after: Found, mine: list[str], bystander: str) -> Iterator[str]:
    if now.jobs[bystander].status != "completed":
        yield f"the export beside is {now.jobs[bystander].status}"
    if now.jobs != after.jobs:
        changed = [name for name in now.jobs.keys() | after.jobs.keys() if now.jobs.get(name) != after.jobs.get(name)]
        yield f"the next start shows {[after.jobs.get(name) for name in changed]} and not what this one did"
    for name in mine:
        yield from event_faults(history.announced.get(name, []), now.jobs[name].status)


def _code_faults(now: Found, mine: list[str], operation: Operation, strike: Strike) -> Iterator[str]:
    """The error code is what SPEC §4 says of this error."""
    allowed = {CODES.get(strike.error, "UNKNOWN")}
    if operation.place.startswith(("uploads", "catalogue.db")):
        allowed |= {"SOURCE_ERROR"}
    if operation.place.startswith("journal.db"):
        allowed |= {"UNKNOWN"}  # SQLite tells that the disk is full, and of all else that it cannot go on
    for name in mine:
        if now.jobs[name].status == "failed" and now.jobs[name].error not in allowed:
            yield f"failed by {now.jobs[name].error}, which is none of {sorted(allowed)}"


def _left_faults(told: Told, now: Found, operation: Operation) -> Iterator[str]:
    """Files stay only where removing failed, and a cancel admits it."""
    ((files,),) = told.of("files")
    whole = {f"archives/{name}.zip" for name, job in now.jobs.items() if job.status == "completed" and not job.expired}
    if not (left := sorted(set(files) - whole)):
        return
    if operation.name not in REMOVES and ".scratch" not in operation.place:
        yield f"files are left: {left}"
    for job, clean in told.of("cleanup"):
        if clean and any(job in name for name in left):
            yield f"the cancel says that it is cleaned up, and there are {left}"
