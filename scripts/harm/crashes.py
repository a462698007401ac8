"""The crash sweep: the process dies at the n-th operation of a scene, for every n until the scene is over before it; then the
service is opened again on what is left, and every promise is looked at."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial

import trio
from conftest import World

from harm import children
from harm.children import DIED, Tell, Told
from harm.operations import CHANGES, Operation, Wire, lay
from harm.promises import History, crash_faults
from harm.scenes import LATER, SCENES, Stage, Template, at, found, listen, look, opened
from harm.tally import Tally, chosen

SHORT_SCENES = ("export", "cancel at a write", "delete")


def sweep(template: Template, world: World, tally: Tally, *, short: bool) -> None:
    """All scenes, then deaths during the start that follows a death."""
    for scene in SHORT_SCENES if short else SCENES:
        _sweep_scene(template, world, scene, tally, short=short)
    _sweep_start(template, world, tally, short=short)


def _sweep_scene(template: Template, world: World, scene: str, tally: Tally, *, short: bool) -> None:
    every = _operations(template, world, scene)
    for n in chosen(every, short=short):
        with children.copy_of(template.data) as data:
            told = children.run(partial(_play, at(world, data), scene, template.done, n))
            point = f"{scene}, death {n} before {every[n] if n < len(every) else 'its end'}"
            _judge(template, at(world, data), told, point, tally, LATER.get(scene, timedelta()))


def _operations(template: Template, world: World, scene: str) -> list[Operation]:
    """What a scene does when nothing goes wrong. Threads may take turns otherwise another time: a sweep goes on beyond the
    end, too."""
    with children.copy_of(template.data) as data:
        told = children.run(partial(_play, at(world, data), scene, template.done, None))
    return [Operation(*line) for line in told.of("operation")]


def _play(world: World, scene: str, done: str, n: int | None, tell: Tell) -> None:
    """The scene, up to the death before operation `n`; None: up to its end, and tells the operations."""

    def die(number: int, operation: Operation) -> None:
        if number == n:
            tell("died", *operation)
            os._exit(DIED)

    wire = Wire(world.settings.data, CHANGES, die)
    lay(wire)
    trio.run(_act, world, scene, done, wire, tell)
    if n is None:
        for operation in wire.passed:
            tell("operation", *operation)


async def _act(world: World, scene: str, done: str, wire: Wire, tell: Tell) -> None:
    async with opened(world) as service:
        service._retention._now = lambda: service._now() + LATER.get(scene, timedelta())
        listen(service, tell)
        await SCENES[scene](Stage(service, world, wire, tell, done))


def _judge(template: Template, world: World, told: Told, point: str, tally: Tally, later: timedelta) -> None:
    history = History.of(told.lines)
    tally.covered(told.code == DIED)
    if told.code not in (DIED, 0):
        tally.found(point, [f"the process ended with {told.code}: {told.of('raised')}"])
        return
    after = children.run(partial(_look, world, sorted(history.started | template.jobs.keys()), later))
    if after.code != 0:
        tally.found(point, [f"the next start ended with {after.code}: {after.of('raised')}"])
        return
    (values,) = after.of("found")
    tally.found(point, crash_faults(template.jobs, history, found(values[0]), template.reference))


def _look(world: World, gone: list[str], later: timedelta, tell: Tell) -> None:
    async def again() -> None:
        async with opened(world, later) as service:
            tell("found", await look(service, world, gone))

    trio.run(again)


# --- death during the start -------------------------------------------------------------------------------------------


def _sweep_start(template: Template, world: World, tally: Tally, *, short: bool) -> None:
    """What has died once, between the rename and the journal's row, dies again while it is put in order."""
    with children.copy_of(template.data) as torn:
        told = children.run(partial(_tear, at(world, torn)))
        (torn / "staging" / "5ab1e000-0000-4000-8000-00000000dead.scratch").mkdir()
        once = Template(torn, template.project_id, template.jobs, template.reference)
        every = _start_operations(once, world)
        for n in chosen(every, short=short):
            with children.copy_of(torn) as data:
                second = children.run(partial(_start, at(world, data), n))
                both = Told(second.code, told.lines + second.lines)
                point = f"start, death {n} before {every[n] if n < len(every) else 'its end'}"
                _judge(once, at(world, data), both, point, tally, timedelta())


def _start_operations(template: Template, world: World) -> list[Operation]:
    with children.copy_of(template.data) as data:
        return [Operation(*line) for line in children.run(partial(_start, at(world, data), None)).of("operation")]


def _tear(world: World, tell: Tell) -> None:
    renamed = False

    def die(_: int, operation: Operation) -> None:
        nonlocal renamed
        if renamed and operation.name == "commit":
            os._exit(DIED)
        renamed = renamed or operation.name == "rename"

    wire = Wire(world.settings.data, CHANGES, die)
    lay(wire)
    trio.run(_act, world, "export", "", wire, tell)


def _start(world: World, n: int | None, tell: Tell) -> None:
    def die(number: int, _: Operation) -> None:
        if number == n:
            os._exit(DIED)

    async def start() -> None:
        async with opened(world):
            wire.armed = False

    wire = Wire(world.settings.data, CHANGES, die)
    lay(wire)
    wire.armed = True
    trio.run(start)
    if n is None:
        for operation in wire.passed:
            tell("operation", *operation)
