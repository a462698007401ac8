"""The real process, as a user meets it: HTTP, signals, `kill -9`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import World

pytestmark = pytest.mark.e2e

FULL = {
    "includeOriginalImages": True,
    "annotationFormats": ["coco", "yolo", "json"],
    "includeDocumentation": True,
}
PATIENCE = 60
"""Seconds after which a process is taken to hang."""


class Daemon:
    """`exportd serve` over a world's data directory."""

    def __init__(self, world: World, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.world, self.process, self.url, self.log = world, process, url, log
        self.base = f"/api/projects/{world.project_id}/export"
        self.http = httpx.Client(base_url=url, headers=self._headers(), trust_env=False, timeout=PATIENCE)

    def _headers(self) -> dict[str, str]:
        data = str(self.world.settings.data)
        token = run("token", "--user", "alice@example.org", "--data", data).stdout.strip()
        return {"Authorization": f"Bearer {token}"}

    def start(self) -> str:
        answer = self.http.post(self.base, json={"options": FULL})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["jobId"])

    def status(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{self.base}/{job}/status").json()
        return found

    def wait_ended(self, job: str) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while (found := self.status(job))["status"] in ("pending", "processing"):
            assert time.monotonic() < end
        return found

    def stop(self, sig: signal.Signals) -> int:
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE)


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")} | {
        "EXPORTD_MAX_ACTIVE_JOBS_PER_USER": "3"
    }


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exportd", *args]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)


@contextmanager
def serving(world: World) -> Iterator[Daemon]:
    data = world.settings.data
    (data / "daemon.json").unlink(missing_ok=True)
    log = data.parent / "serve.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "exportd", "serve", "--data", str(data), "--port", "0"],
            env=environment(),
            stdout=out,
            stderr=out,
        )
    try:
        end = time.monotonic() + PATIENCE
        while not (data / "daemon.json").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
        daemon = Daemon(world, process, json.loads((data / "daemon.json").read_text())["url"], log)
        with daemon.http:
            yield daemon
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_after_a_kill_what_was_completed_is_there_and_what_was_not_is_failed(slow_world: World) -> None:
    world = slow_world
    with serving(world) as daemon:
        done = daemon.wait_ended(daemon.start())
        archive = daemon.http.get(f"{daemon.base}/{done['id']}/download").content
        cancelled = daemon.start()
        assert daemon.http.post(f"{daemon.base}/{cancelled}/cancel").json()["cleanupCompleted"] is True
        torn = daemon.start()
        daemon.stop(signal.SIGKILL)
    with serving(world) as daemon:
        assert daemon.status(done["id"]) == done
        again = daemon.http.get(f"{daemon.base}/{done['id']}/download").content
        assert again == archive
        assert hashlib.sha256(again).hexdigest() == done["sha256"]
        assert daemon.status(cancelled)["status"] == "cancelled"
        assert daemon.http.get(f"{daemon.base}/{cancelled}/download").status_code == 410
        after = daemon.status(torn)
        assert (after["status"], after["errorCode"]) in [("failed", "INTERRUPTED"), ("completed", None)]
        trail = [row["to"] for row in daemon.http.get(f"{daemon.base}/{torn}/audit").json()]
        assert trail[-1] == after["status"]
        whole = {done["id"]} | ({torn} if after["status"] == "completed" else set())
        assert world.files() == sorted(f"archives/{job}.zip" for job in whole)
        assert daemon.stop(signal.SIGTERM) == 0


def test_sigterm_ends_an_idle_daemon_and_the_second_one_a_busy_one(world: World) -> None:
    with serving(world) as daemon:
        with socket.create_connection(("127.0.0.1", int(daemon.url.rsplit(":", 1)[1]))):  # an idle connection
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(PATIENCE) == 0
        assert "Traceback" not in daemon.log.read_text()
    assert not (world.settings.data / "daemon.json").exists()


def test_a_second_daemon_on_the_same_directory_is_refused_in_words(world: World) -> None:
    with serving(world):
        second = run("serve", "--data", str(world.settings.data), "--port", "0")
    assert second.returncode != 0
    assert "Another exportd serves" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_command_line_exports_through_the_daemon_and_without_it(world: World, tmp_path: Path) -> None:
    data = str(world.settings.data)
    with serving(world):
        first = run("export", world.project_id, "-o", str(tmp_path / "a.zip"), "--data", data)
        assert first.returncode == 0, first.stderr
    second = run("export", world.project_id, "-o", str(tmp_path / "b.zip"), "--data", data)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_daemon_elsewhere_knows_titles_and_beginnings_of_ids(world: World, tmp_path: Path) -> None:
    with serving(world) as daemon:
        there = ["--url", daemon.url, "--user", "alice@example.org", "--data", str(world.settings.data)]
        assert run("projects", *there).stdout.startswith(f"{world.project_id}\tSample: nuclei\t")
        done = run("export", "sample", "--format", "coco", "-o", str(tmp_path / "a.zip"), "--json", *there)
        assert done.returncode == 0, done.stderr
        job = json.loads(done.stdout)["id"]
        assert run("watch", job[:8], *there).stderr.endswith(f"completed: {json.loads(done.stdout)['fileName']}\n")
        quiet = run("watch", job[:8], "--quiet", *there)
        assert (quiet.returncode, quiet.stdout + quiet.stderr) == (0, "")
        again = run("download", job[:8], "--extract", str(tmp_path / "a"), "--quiet", *there)
        assert (again.returncode, again.stdout, again.stderr) == (0, f"{tmp_path / 'a'}\n", "")
        unknown = run("export", "nothing", *there)
        assert (unknown.returncode, world.project_id in unknown.stderr) == (2, True)


def test_ctrl_c_in_export_cancels_the_job_on_the_server(slow_world: World, tmp_path: Path) -> None:
    world, data = slow_world, slow_world.settings.data
    with serving(world) as daemon:
        for _ in range(3):
            command = [sys.executable, "-m", "exportd", "export", world.project_id, "-o", str(tmp_path / "c.zip")]
            process = subprocess.Popen(
                [*command, "--data", str(data)], env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE
            )
            known = {job["id"] for job in daemon.http.get("/api/exports").json()}
            while not (new := {j["id"] for j in daemon.http.get("/api/exports").json()} - known):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
            (job,) = new
            # A small export may be over before the signal is heard; then it has to be whole.
            if process.returncode == 3:
                assert daemon.status(job)["status"] == "cancelled", errors
                assert not (tmp_path / "c.zip").exists()
                return
            assert daemon.status(job)["status"] == "completed", errors
    pytest.fail("no export of three was slow enough to be cancelled")


def test_systemd_is_told_when_it_answers_and_how_long_it_may_take_to_stop(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(world) as daemon:
            assert manager.recv(100) == b"READY=1"
            assert daemon.http.get("/readyz").status_code == 200
            assert daemon.stop(signal.SIGTERM) == 0
            assert manager.recv(100) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=65000000"
