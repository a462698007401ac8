"""What goes wrong on real machines, made real where that is permitted: a disk that is full, originals that vanish or hang, a
data directory that cannot be written, a journal that is damaged, a clock that is set back."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import trio
from conftest import World

from exportd.core import events
from exportd.errors import DataDirectoryUnusable
from exportd.jobs.service import Service
from exportd.store.journal import FILE_NAME
from harm import children
from harm.children import Tell, Told
from harm.failures import settled
from harm.operations import Operation, Wire, lay
from harm.promises import History, crash_faults
from harm.scenes import CLEANUP, REQUEST, Stage, Template, at, found, listen, look, opened, seen
from harm.tally import Tally

PAGE = 4096
DISK = 4 << 20
"""Bytes of the small disk: the data directory and a few exports."""

ENOUGH = 3
"""Exports in a row that had room enough, after which a sweep of the room is over."""

MOST_PAGES = 200
DAY = timedelta(days=1)
BOUND = 10
"""Seconds within which an export ends whose original would hang whoever waits for it."""


def sweep(template: Template, world: World, tally: Tally, *, short: bool) -> None:
    full_disk(template, world, tally, short=short)
    vanishing(template, world, tally)
    hanging(template, world, tally)
    read_only(template, world, tally)
    corrupt(template, world, tally, short=short)
    clock(template, world, tally)


# --- what the conditions share ----------------------------------------------------------------------------------------


@contextmanager
def small_disk(template: Template, now: Any) -> Iterator[Path | None]:
    """A file system of its own with a copy of the data directory; None, and it is said why, where mounting is refused."""
    folder = template.data.parent / "disk"
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "exportd-faults", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        now.skipped = (
            f"a file system cannot be mounted here ({mounted.stderr.strip() or mounted.returncode}); run as root"
        )
        yield None
        return
    try:
        shutil.copytree(template.data, folder / "data")
        yield folder / "data"
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


Condition = Callable[[Stage], Any]


def _play(world: World, condition: Condition, tell: Tell, later: timedelta = timedelta()) -> None:
    """The condition on a service, then what this service shows, and the next one by a clock that is so much later."""

    async def act() -> None:
        async with opened(world, running=2, threads=2) as service:
            listen(service, tell)
            await condition(Stage(service, world, wire, tell, ""))
            await settled(service)
            tell("found", await look(service, world))
        async with opened(world, later) as service:
            tell("found", await look(service, world))

    wire = Wire(world.settings.data, (), lambda *_: None)
    lay(wire)
    trio.run(act)


def _judge(template: Template, told: Told, point: str, tally: Tally, allowed: set[str]) -> set[str]:
    """The statuses or error codes of the exports meanwhile, each of which has to be one of those that are allowed."""
    tally.covered(True)
    if told.code != 0:
        tally.found(point, [f"the process ended with {told.code}: {told.of('raised')}"])
        return set()
    now, after = (found(values[0]) for values in told.of("found"))
    history = History.of(told.lines)
    tally.found(point, crash_faults(template.jobs, history, now, template.reference))
    tally.found(point, crash_faults(template.jobs, history, after, template.reference))
    tally.found(point, ["the next start shows something else"] if now.jobs != after.jobs else [])
    tally.found(point, [str(line[0]) for line in told.of("wrong")])
    ended = {name: job for name, job in now.jobs.items() if name not in template.jobs}
    codes = {job.error or job.status for job in ended.values()}
    tally.found(point, [f"ended {sorted(codes)}, and not one of {sorted(allowed)}"] if not codes <= allowed else [])
    for code in sorted(codes):
        tally.counted(code)
    return codes


# --- a full disk --------------------------------------------------------------------------------------------------


def full_disk(template: Template, world: World, tally: Tally, *, short: bool) -> None:
    """The disk has room for so many pages, and another program takes the rest while the export begins."""
    with tally.sweep("full disk") as now, small_disk(template, now) as data:
        if data is None:
            return
        enough = 0
        for pages in (0, 1, 3, 10, 25) if short else range(MOST_PAGES):
            with children.copy_of(data) as copy:
                told = children.run(partial(_play, at(world, copy), partial(_fill, pages)))
            codes = _judge(template, told, f"{pages} pages", tally, {"INSUFFICIENT_SPACE", "completed"})
            enough = enough + 1 if codes == {"completed"} else 0
            if enough == ENOUGH:
                break


async def _fill(pages: int, stage: Stage) -> None:
    ballast = stage.world.settings.data / "ballast"
    hold = stage.wire.hold(Operation("open", "staging/*.zip").__eq__)
    job = await stage.start()
    await hold.reached.wait()
    room = os.statvfs(stage.world.settings.data)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail - pages) * room.f_bsize)
    hold.let_go()
    await stage.ended(job)
    ballast.unlink()


# --- originals that vanish or hang ---------------------------------------------------------------------------------


def vanishing(template: Template, world: World, tally: Tally) -> None:
    """The uploads directory is gone from some moment of the export on."""
    moments: dict[str, Callable[[Operation], bool]] = {
        "before the first look": Operation("open", "staging/*.zip").__eq__,
        "between looking and copying": lambda operation: operation.name == "read" and "uploads" in operation.place,
        "while metrics are measured": Operation("mkdir", "staging/*.scratch").__eq__,
        "at the flush": Operation("fsync", "staging/*.zip").__eq__,
    }
    with tally.sweep("uploads that vanish"):
        for name, moment in moments.items():
            with children.copy_of(template.data) as data:
                told = children.run(partial(_play, at(world, data), partial(_vanish, moment)))
                _judge(template, told, name, tally, {"SOURCE_ERROR", "completed"})


async def _vanish(moment: Callable[[Operation], bool], stage: Stage) -> None:
    uploads = stage.world.settings.uploads_directory
    elsewhere = uploads.with_name("elsewhere")
    hold = stage.wire.hold(moment)
    job = await stage.start()
    await hold.reached.wait()
    uploads.rename(elsewhere)
    hold.let_go()
    await stage.ended(job)
    elsewhere.rename(uploads)


def hanging(template: Template, world: World, tally: Tally) -> None:
    """An original whose opening waits for somebody else, and one whose reading never ends."""
    with tally.sweep("originals that hang"):
        for condition, allowed in _HANGS:
            with children.copy_of(template.data) as data:
                told = children.run(partial(_play, at(world, data), condition))
                _judge(template, told, condition.__name__.strip("_"), tally, allowed)


async def _pipe(stage: Stage) -> None:
    image = next(stage.world.settings.uploads_directory.rglob("*.png"))
    kept = image.rename(image.with_suffix(".kept"))
    os.mkfifo(image)
    await _ends_soon(stage)
    image.unlink()
    kept.rename(image)


async def _lease(stage: Stage) -> None:
    """The kernel keeps whoever opens the file waiting until the holder of a lease has been asked for it."""
    image = next(stage.world.settings.uploads_directory.rglob("*.png"))
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(image, os.O_WRONLY)
    with suppress(OSError):  # a file system that knows no leases: an export as any other
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    await _ends_soon(stage)
    os.close(fd)


async def _ends_soon(stage: Stage) -> None:
    job = await stage.start()
    with trio.move_on_after(BOUND) as patience:
        await stage.ended(job)
    if patience.cancelled_caught:
        stage.tell("wrong", f"not ended after {BOUND} s")


async def _hang(stage: Stage) -> None:
    """A cancel is answered in time, and says that not all is gone; an export beside goes on."""
    hold = stage.wire.hold(lambda operation: operation.name == "read" and "uploads" in operation.place)
    job = await stage.start()
    await hold.reached.wait()
    beside = await stage.service.start(stage.world.bob, stage.world.project_id, REQUEST)
    stage.tell("started", beside.id)
    if (await stage.ended(beside)).status != "completed":
        stage.tell("wrong", "the export beside has not completed")
    with trio.move_on_after(BOUND * CLEANUP) as patience:
        await stage.cancel(job.id)
    if patience.cancelled_caught:
        stage.tell("wrong", "the cancel was not answered")
    if stage.service._registry.get(job.id).cleanup_completed is not False:
        stage.tell("wrong", "the cancel says that all is gone")
    hold.let_go()
    while stage.service._supervisor.statistics().running:
        await trio.sleep(0.01)
    if left := [name for name in stage.world.files() if job.id in name]:
        stage.tell("wrong", f"left at last: {left}")


_HANGS: tuple[tuple[Condition, set[str]], ...] = (
    (_pipe, {"SOURCE_ERROR"}),
    (_lease, {"SOURCE_ERROR", "completed"}),
    (_hang, {"cancelled", "completed"}),
)


# --- data directories that are no good -------------------------------------------------------------------------------


def read_only(template: Template, world: World, tally: Tally) -> None:
    """A start on a file system that may not be written is refused in a sentence, by the service and by the program."""
    with tally.sweep("read-only data directory") as now, small_disk(template, now) as data:
        if data is None:
            return
        (data.parent / "empty").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", data.parent], check=True)
        for folder in (data, data.parent / "empty"):
            told = children.run(partial(_refused, at(world, folder)))
            tally.covered(True)
            tally.found(
                f"service on {folder.name}", [] if told.of("refused") else [f"{told.of('raised') or told.lines}"]
            )
            program = [sys.executable, "-m", "exportd", "serve", "--port", "0", "--data", str(folder)]
            run = subprocess.run(program, capture_output=True, text=True, timeout=children.PATIENCE, check=False)
            tally.covered(True)
            if run.returncode != 1 or not run.stderr.startswith("Error: The ") or "Traceback" in run.stderr:
                tally.found(f"exportd serve on {folder.name}", [f"exit code {run.returncode}: {run.stderr[-300:]}"])


def _refused(world: World, tell: Tell) -> None:
    """Tells the jobs that a start finds, or that it is refused."""

    async def start() -> None:
        try:
            async with opened(world) as service:
                tell("found", await look(service, world))
        except* DataDirectoryUnusable as group:
            tell("refused", [str(error) for error in group.exceptions])

    try:
        trio.run(start)
    except DataDirectoryUnusable as error:
        tell("refused", str(error))


def corrupt(template: Template, world: World, tally: Tally, *, short: bool) -> None:
    """Each page of the journal is damaged: the start is refused and nothing is touched, or all is as it was."""
    pages = (template.data / FILE_NAME).stat().st_size // PAGE
    with tally.sweep("damaged journal"):
        for page in range(pages):
            for name, damage in list(_DAMAGES.items())[: 1 if short else None]:
                with children.copy_of(template.data) as data:
                    content = bytearray((data / FILE_NAME).read_bytes())
                    damage(content, page)
                    (data / FILE_NAME).write_bytes(content)
                    before = at(world, data).files()
                    told = children.run(partial(_refused, at(world, data)))
                    _judge_damaged(template, told, f"page {page} {name}", tally, at(world, data).files() == before)


def _zeros(content: bytearray, page: int) -> None:
    content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def _noise(content: bytearray, page: int) -> None:
    content[page * PAGE : (page + 1) * PAGE] = bytes((7 * i * i + 13 * page) % 251 for i in range(PAGE))


def _cut(content: bytearray, page: int) -> None:
    del content[page * PAGE + PAGE // 2 :]


_DAMAGES: dict[str, Callable[[bytearray, int], None]] = {"noise": _noise, "zeros": _zeros, "cut off": _cut}


def _judge_damaged(template: Template, told: Told, point: str, tally: Tally, untouched: bool) -> None:
    tally.covered(True, outcome="refused" if told.of("refused") else "opened")
    if told.code != 0:
        tally.found(point, [f"the start ended with {told.code}: {told.of('raised')}"])
    elif told.of("refused"):
        tally.found(point, [] if untouched else ["refused, and files are gone"])
    else:
        ((values,),) = told.of("found")
        tally.found(point, crash_faults(template.jobs, History(), found(values), template.reference))


# --- a clock that is set back --------------------------------------------------------------------------------------


def clock(template: Template, world: World, tally: Tally) -> None:
    """The clock jumps back a day in the middle of an export, and stays there for the next start."""
    with tally.sweep("clock set back"), children.copy_of(template.data) as data:
        told = children.run(partial(_play, at(world, data), _set_back, later=-DAY))
        _judge(template, told, "a day", tally, {"completed"})


async def _set_back(stage: Stage) -> None:
    hold = stage.wire.hold(Operation("fsync", "staging/*.zip").__eq__)
    service: Service = stage.service
    job = await stage.start()
    await hold.reached.wait()
    before = service._now
    for part in (service, service._supervisor, service._retention):
        part._now = lambda: before() - DAY
    hold.let_go()
    job = await stage.ended(job)
    await service._retention.round()
    if (took := events.terminal(job).data["processingTime"]) is None or float(str(took)) < 0:
        stage.tell("wrong", f"the export took {took} s")
    if not 0 < service._retention._pause() <= 3600:
        stage.tell("wrong", f"retention looks again in {service._retention._pause()} s")
    shown = await seen(service, stage.world, job)
    if shown.download != shown.sha256:
        stage.tell("wrong", f"the download is {shown.download}")
