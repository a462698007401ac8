"""The real process, as a user meets it: HTTP, signals, `kill -9`."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
from conftest import World
from daemons import EXPORTD, PATIENCE, environment, run, serving

pytestmark = pytest.mark.e2e


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


def test_it_takes_as_many_descriptors_as_it_is_allowed(world: World) -> None:
    few = ("sh", "-c", 'ulimit -Sn 300 && exec "$@"', "sh", *EXPORTD)
    with serving(world, few) as daemon:
        soft, hard = psutil.Process(daemon.process.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == hard > 300


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
            command = [*EXPORTD, "export", world.project_id, "-o", str(tmp_path / "c.zip")]
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
