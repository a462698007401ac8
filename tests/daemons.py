"""`exportd serve` as a process, over a world's data directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from conftest import World
from raw import ask

FULL = {
    "includeOriginalImages": True,
    "annotationFormats": ["coco", "yolo", "json"],
    "includeDocumentation": True,
}
PATIENCE = 60
"""Seconds after which a process is taken to hang."""

EXPORTD = (sys.executable, "-m", "exportd")


class Daemon:
    """A daemon that serves."""

    def __init__(self, world: World, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.world, self.process, self.url, self.log = world, process, url, log
        self.base = f"/api/projects/{world.project_id}/export"
        data = str(world.settings.data)
        self.token = run("token", "--user", "alice@example.org", "--data", data).stdout.strip()
        headers = {"Authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE)

    def start(self, options: dict[str, Any] = FULL) -> str:
        answer = self.http.post(self.base, json={"options": options})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["jobId"])

    def status(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{self.base}/{job}/status").json()
        return found

    def wait_ended(self, job: str) -> dict[str, Any]:
        return self.wait(job, "completed", "failed", "cancelled")

    def wait(self, job: str, *states: str) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while (found := self.status(job))["status"] not in states:
            assert time.monotonic() < end
        return found

    def download(self, job: str) -> socket.socket:
        """A download of which nothing is read yet."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return ask((host, int(port)), self.token, f"{self.base}/{job}/download")

    def stop(self, sig: signal.Signals) -> int:
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE)


def environment(**settings: str) -> dict[str, str]:
    """This process's, with these settings and no others."""
    given = {"EXPORTD_MAX_ACTIVE_JOBS_PER_USER": "3"} | {f"EXPORTD_{k.upper()}": v for k, v in settings.items()}
    return {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")} | given


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    command = [*EXPORTD, *args]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)


@contextmanager
def serving(world: World, program: Sequence[str] = EXPORTD, **settings: str) -> Iterator[Daemon]:
    """A daemon that is ready; killed when the block is left, if it has not ended."""
    data = world.settings.data
    (data / "daemon.json").unlink(missing_ok=True)
    log = data.parent / "serve.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*program, "serve", "--data", str(data), "--port", "0"], env=environment(**settings), stdout=out, stderr=out
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
