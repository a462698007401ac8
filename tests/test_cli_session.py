"""One export of the command line, with a backend at the outer edge that does as it is told, and real signals."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from exportd.cli.backends import Order
from exportd.cli.failures import Failure
from exportd.cli.output import printable
from exportd.cli.progress import Bar, Lines
from exportd.cli.session import Session, target_of
from exportd.errors import ExportCompleted, ExportFailed, ServerRefused, Unreachable

JOB = "22222222-2222-4222-8222-222222222222"


class Told:
    """A backend whose export ends when it is told to."""

    order = Order("11111111-1111-4111-8111-111111111111", {})

    def __init__(self) -> None:
        self.started, self.ended, self.fetched, self.answered = (trio.Event() for _ in range(4))
        self.status = "completed"
        self.cancels = 0
        self.refusal: Exception | None = None

    async def images(self, _offset: int) -> list[tuple[str, str]]:
        return []

    async def start(self) -> str:
        await self.started.wait()
        return JOB

    async def follow(self, job_id: str, on_frame: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        on_frame({"event": "export:progress", "seq": 1, "data": {"progress": 10, "stage": "images"}})
        await self.ended.wait()
        if self.status == "failed":
            on_frame({"event": "export:failed", "seq": 2, "data": {"error": "The disk is full."}})
        return {"id": job_id, "status": self.status, "fileName": "a.zip", "fileSize": 3, "cancelledBy": "timeout"}

    async def cancel(self, _job_id: str) -> dict[str, Any]:
        self.cancels += 1
        await self.answered.wait()
        if self.refusal is not None:
            raise self.refusal
        return {"cleanupCompleted": True}

    async def fetch(self, _job: dict[str, Any], target: Path, on_bytes: Callable[[int, int], None]) -> None:
        await self.fetched.wait()
        on_bytes(3, 3)
        await trio.Path(target).write_bytes(b"zip")


@pytest.fixture
def told() -> Told:
    return Told()


async def failure_of(session: Session, *steps: Callable[[], object]) -> Failure:
    """How the session fails when these steps are taken beside it, each when nothing moves any more."""
    failures: list[Failure] = []

    async def run() -> None:
        with pytest.raises(Failure) as caught:
            await session.run(here)
        failures.append(caught.value)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            for step in steps:
                await wait_all_tasks_blocked(0.01)
                step()
    return failures[0]


def here(job: dict[str, Any]) -> Path:
    return target_of(None, job)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


async def test_a_completed_export_is_fetched(told: Told, tmp_path: Path) -> None:
    for event in (told.started, told.ended, told.fetched):
        event.set()
    with Lines() as shown:
        job, target = await Session(told, shown).run(partial(target_of, tmp_path))
    assert (job["status"], target) == ("completed", tmp_path / "a.zip")
    assert target.read_bytes() == b"zip"
    assert told.cancels == 0


async def test_a_failed_export_tells_why(told: Told) -> None:
    told.status = "failed"
    failure = await failure_of(Session(told, Lines()), told.started.set, told.ended.set)
    assert (str(failure), failure.code) == ("The disk is full.", 1)


async def test_an_export_that_somebody_else_cancelled_is_code_3(told: Told) -> None:
    told.status = "cancelled"
    failure = await failure_of(Session(told, Lines()), told.started.set, told.ended.set)
    assert (str(failure), failure.code) == ("The export was cancelled by timeout.", 3)


async def test_ctrl_c_cancels_the_job_and_waits_for_the_answer(told: Told) -> None:
    failure = await failure_of(Session(told, Lines()), told.started.set, ctrl_c, told.answered.set)
    assert (str(failure), failure.code) == ("The export was cancelled; nothing of it is left.", 3)
    assert told.cancels == 1


async def test_the_answer_is_waited_for_even_when_the_end_is_seen_first(told: Told) -> None:
    told.status = "cancelled"
    failure = await failure_of(Session(told, Lines()), told.started.set, ctrl_c, told.ended.set, told.answered.set)
    assert str(failure) == "The export was cancelled; nothing of it is left."


async def test_ctrl_c_before_the_start_was_answered_cancels_what_was_started(told: Told) -> None:
    failure = await failure_of(Session(told, Lines()), ctrl_c, told.started.set, told.answered.set)
    assert failure.code == 3
    assert told.cancels == 1


async def test_a_second_ctrl_c_stops_the_waiting(told: Told) -> None:
    failure = await failure_of(Session(told, Lines()), told.started.set, ctrl_c, ctrl_c)
    assert failure.code == 3
    assert "Not waited" in str(failure)
    assert told.cancels == 1


async def test_a_second_ctrl_c_before_the_start_was_answered_gives_up(told: Told) -> None:
    failure = await failure_of(Session(told, Lines()), ctrl_c, ctrl_c)
    assert (failure.code, told.cancels) == (3, 0)


@pytest.mark.parametrize(
    "refusal",
    [
        ExportCompleted("The export is completed already.", JOB, "completed"),
        ServerRefused(409, {"code": "EXPORT_COMPLETED", "error": "The export is completed already."}),
    ],
)
async def test_a_cancel_that_lost_says_so(told: Told, refusal: Exception) -> None:
    told.refusal = refusal
    failure = await failure_of(Session(told, Lines()), told.started.set, ctrl_c, told.ended.set, told.answered.set)
    assert failure.code == 3
    assert f"exportd download {JOB}" in str(failure)


async def test_a_cancel_of_a_failed_export_is_a_failure(told: Told) -> None:
    told.refusal = ExportFailed("The export failed. The disk is full.", JOB, "failed")
    failure = await failure_of(Session(told, Lines()), told.started.set, ctrl_c, told.answered.set)
    assert (str(failure), failure.code) == ("The export failed. The disk is full.", 1)


async def test_a_daemon_that_is_gone_when_the_cancel_is_sent_is_told(told: Told) -> None:
    told.refusal = Unreachable("No exportd answers.")
    told.started.set()
    told.answered.set()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Session(told, Lines()).run, here)
            await wait_all_tasks_blocked(0.01)
            ctrl_c()

    with pytest.RaisesGroup(Unreachable, flatten_subgroups=True):
        await run()


async def test_ctrl_c_while_the_archive_is_fetched_stops_that_only(told: Told) -> None:
    failure = await failure_of(Session(told, Lines()), told.started.set, told.ended.set, ctrl_c)
    assert failure.code == 3
    assert "exportd download" in str(failure)
    assert told.cancels == 0


def test_an_archive_under_its_own_name_replaces_nothing(tmp_path: Path) -> None:
    job = {"fileName": "a.zip"}
    assert target_of(tmp_path, job) == tmp_path / "a.zip"
    (tmp_path / "a.zip").touch()
    (tmp_path / "a (2).zip").touch()
    assert target_of(tmp_path, job) == tmp_path / "a (3).zip"
    assert target_of(tmp_path / "a.zip", job) == tmp_path / "a.zip", "what was named is meant"


@pytest.mark.parametrize("name", ["../../evil.zip", "/etc/evil.zip", "..\\evil.zip", "C:\\evil.zip"])
def test_the_name_of_an_archive_never_leads_out(tmp_path: Path, name: str) -> None:
    assert target_of(tmp_path, {"fileName": name}) == tmp_path / "evil.zip"


def test_a_daemon_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\u202ec\td\n") == "a\ufffd[2Jb\ufffdc\td\n"


def test_lines_are_told_once_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        for percent in (1, 2, 3, 21, 22):
            stage = {"current": percent, "total": 50, "currentItem": "a.png"}
            data = {"progress": percent, "stage": "images", "stageProgress": stage}
            lines.frame({"event": "export:progress", "seq": percent, "data": data})
        lines.bytes(1, 100)
        lines.bytes(100, 100)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "  1 % images 1/50 a.png",
        " 21 % images 21/50 a.png",
        "  1 % downloading",
        "100 % downloading",
    ]


def test_a_bar_takes_every_frame(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar() as bar:
        bar.frame({"event": "export:progress", "seq": None, "data": {"progress": 0, "queuePosition": 3}})
        bar.frame({"event": "export:started", "seq": 1, "data": {}})
        bar.frame({"event": "export:progress", "seq": 2, "data": {"progress": 30, "stage": "images", "message": "x"}})
        bar.frame({"event": "export:completed", "seq": 3, "data": {}})
        bar.bytes(5, 10)
    said = capsys.readouterr()
    assert said.out == ""
    assert "exported" in said.err


def test_a_bar_is_one_line_of_one_length_whatever_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = []
    for item in ("a.png", "a long name of an image " * 5):
        with Bar() as bar:
            data = {"progress": 30, "stage": "images", "stageProgress": {"current": 1, "total": 2, "currentItem": item}}
            bar.frame({"event": "export:progress", "seq": 1, "data": data | {"estimatedTimeRemaining": 3}})
        lines.append(capsys.readouterr().err.splitlines()[-1])
    assert all("30% 3 s left  images 1/2 a" in line for line in lines)
    assert lines[0].index("30%") == lines[1].index("30%")
