"""How the daemon ends: what gets its time, what is cut, what the exit code tells, and that nobody can hold it up."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
from conftest import World
from daemons import Daemon, serving
from raw import content, enlarge
from trio_websocket import ConnectionClosed, open_websocket_url

from exportd.core.options import FORMAT_IDS, METRICS_IDS
from exportd.daemon import CUT, ENDED, FAREWELL, HUNG

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]

EVERYTHING = {
    "includeOriginalImages": True,
    "includeVisualizations": True,
    "annotationFormats": list(FORMAT_IDS),
    "metricsFormats": list(METRICS_IDS),
    "includeDocumentation": True,
}
PATIENT, EVER = 60, "1h"
"""Seconds after which an end is taken not to come; and a drain that does not end by itself within a test."""


def ended(daemon: Daemon, what: str) -> int:
    """The exit code; tells how long it took."""
    began = time.monotonic()
    code = daemon.process.wait(PATIENT)
    print(f"{what}: ended {time.monotonic() - began:.2f} s later with {code}")
    assert "Traceback" not in daemon.log.read_text()
    return code


def terminate(daemon: Daemon) -> None:
    """Returns when it is heard: two signals that wait together are one."""
    heard = daemon.log.read_text().count("draining")
    daemon.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + PATIENT
    while daemon.log.read_text().count("draining") == heard and daemon.process.poll() is None:
        assert time.monotonic() < end


def terminate_again(daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGTERM)


def working(daemon: Daemon) -> str:
    """An export that will take seconds yet."""
    job = daemon.start(EVERYTHING)
    daemon.wait(job, "processing")
    return job


async def watched(daemon: Daemon, act: Callable[[], None]) -> tuple[list[str], int]:
    """What a watcher is told from `act` on, without progress, and the code of the close."""
    headers = [(b"authorization", f"Bearer {daemon.token}".encode())]
    told: list[str] = []
    with trio.fail_after(PATIENT):
        async with open_websocket_url(daemon.url.replace("http", "ws") + "/ws", extra_headers=headers) as socket:
            await socket.send_message('{"action": "ping"}')
            try:
                while True:
                    frame: dict[str, Any] = orjson.loads(await socket.get_message())
                    if frame["event"] == "pong":
                        act()
                    elif frame["event"] not in ("export:progress", "export:phase-changed"):
                        told.append(frame["event"])
            except ConnectionClosed as closed:
                await socket._stream.aclose()
                return told, closed.reason.code if closed.reason else 0


async def test_what_runs_gets_its_time_and_nothing_new_begins(slow_world: World) -> None:
    with serving(slow_world, drain_timeout=EVER) as daemon:
        job = working(daemon)

        def act() -> None:
            terminate(daemon)
            ready = daemon.http.get("/readyz")
            start = daemon.http.post(daemon.base, json={"options": EVERYTHING})
            for answer in (ready, start):
                assert (answer.status_code, answer.json()["code"]) == (503, "SHUTTING_DOWN")
                assert 3000 < int(answer.headers["Retry-After"]) <= 3600

        assert await watched(daemon, act) == (["export:completed"], 1012)
        assert ended(daemon, "an export that ends by itself") == ENDED
    with serving(daemon.world) as again:
        assert again.status(job)["status"] == "completed"


async def test_what_does_not_end_in_time_is_cancelled_by_the_system_and_told(slow_world: World) -> None:
    with serving(slow_world, drain_timeout="200ms", max_running_jobs="1") as daemon:
        jobs = [working(daemon), daemon.start(EVERYTHING)]
        told, code = await watched(daemon, lambda: terminate(daemon))
        assert (told, code) == (["export:cancelled"] * 2, 1012)
        assert ended(daemon, "an export that does not end, and one that waits") == CUT
        assert daemon.world.files() == []
    with serving(daemon.world) as again:
        for job in jobs:
            found = again.status(job)
            assert (found["status"], found["cancelledBy"]) == ("cancelled", "system")
            last = again.http.get(f"{again.base}/{job}/audit").json()[-1]
            assert (last["to"], last["reason"], last["actor"]) == ("cancelled", "shutdown", "system")
        assert again.stop(signal.SIGTERM) == ENDED


async def test_the_second_signal_cancels_what_runs_at_once(slow_world: World) -> None:
    with serving(slow_world, drain_timeout=EVER) as daemon:
        working(daemon)

        def act() -> None:
            terminate(daemon)
            terminate_again(daemon)

        assert await watched(daemon, act) == (["export:cancelled"], 1012)
        assert ended(daemon, "an export and a second signal") == CUT
        assert daemon.world.files() == []


def test_a_download_in_flight_is_finished(world: World) -> None:
    enlarge(world.settings.uploads_directory)
    with serving(world, drain_timeout=EVER) as daemon:
        job = daemon.wait_ended(daemon.start())
        with daemon.download(job["id"]) as raw:
            assert raw.recv(1) == b"H"
            terminate(daemon)
            with pytest.raises(subprocess.TimeoutExpired):
                daemon.process.wait(2 * FAREWELL)
            assert hashlib.sha256(content(raw)).hexdigest() == job["sha256"]
        assert ended(daemon, "a download that is finished") == ENDED


@pytest.mark.parametrize("signals", [1, 2])
def test_a_client_that_never_reads_is_cut(world: World, signals: int) -> None:
    enlarge(world.settings.uploads_directory)
    with serving(world, drain_timeout="500ms" if signals == 1 else EVER) as daemon:
        job = daemon.wait_ended(daemon.start())
        with daemon.download(job["id"]) as raw:
            assert raw.recv(1) == b"H"
            terminate(daemon)
            if signals == 2:
                terminate_again(daemon)
            assert ended(daemon, f"a client that never reads, {signals} signals") == CUT
        assert daemon.world.files() == [f"archives/{job['id']}.zip"]


HANGING = """
import threading
from exportd import cli, daemon
from exportd.store.sources import Uploads

daemon.HANGING = 0.5
Uploads.open = lambda *_: threading.Event().wait()
cli.main()
"""


def test_an_uploads_directory_that_hangs_cannot_hold_it(world: World, tmp_path: Path) -> None:
    program = (sys.executable, "-c", HANGING)
    with serving(world, program, drain_timeout="200ms", cleanup_timeout="300ms") as daemon:
        job = daemon.start()
        daemon.wait(job, "processing")
        terminate(daemon)
        assert ended(daemon, "a disk that hangs") == HUNG
    with serving(world) as again:
        assert again.status(job)["status"] == "cancelled"
        assert world.files() == []
        assert again.stop(signal.SIGTERM) == ENDED
