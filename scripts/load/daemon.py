"""The daemon that load test and bench drive, seen as a process: its command line, its files, what it holds, its log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psutil
import trio

from load.checks import Resources

EXPORTD = [sys.executable, "-m", "exportd"]
PATIENCE = 30.0
"""Seconds that a start of the daemon may take, and half of what its end may."""
POLL = 0.01
"""Seconds between two looks whether it has started."""


class Daemon:
    """The daemon: one of our own that is started and ended here, or with `url` one that runs already on `data`.

    `program` is what is started as `exportd serve`.
    """

    def __init__(
        self, data: Path, url: str | None, env: dict[str, str], program: Sequence[str | Path] = EXPORTD
    ) -> None:
        self.data, self.url, self._given = data, url or "", url
        self._program = program
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")} | env
        self._log = data.parent / "serve.log"
        self._process: psutil.Process | None = None
        self.took = 0.0
        """Seconds that it took to be ready."""

    def cli(self, *args: object) -> str:
        command = [*EXPORTD, *map(str, args), "--data", str(self.data)]
        run = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=600, check=False)
        if run.returncode:
            raise SystemExit(f"exportd {args[0]}: {run.stderr.strip()[-1000:]}")
        return run.stdout.strip()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        if self._given:
            with contextlib.suppress(
                OSError, ValueError, psutil.Error
            ):  # another machine's daemon: no process to look at
                self._process = psutil.Process(json.loads((self.data / "daemon.json").read_text())["pid"])
            yield
            return
        with self._log.open("wb") as log:
            command = [*self._program, "serve", "--data", str(self.data), "--port", "0"]
            process = subprocess.Popen(command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        began = time.perf_counter()
        try:
            self._wait_ready(process)
            self.took = time.perf_counter() - began
            self._process = psutil.Process(process.pid)
            yield
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE * 2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + PATIENCE
        with httpx.Client(trust_env=False) as http:
            while time.monotonic() < until:
                if process.poll() is not None:
                    raise SystemExit(f"exportd serve ended: {self._log.read_text()[-1000:]}")
                with contextlib.suppress(OSError, ValueError, httpx.HTTPError):
                    self.url = json.loads((self.data / "daemon.json").read_text())["url"]
                    if http.get(self.url + "/readyz").status_code == 200:
                        return
                time.sleep(POLL)
        raise SystemExit(f"exportd serve was not ready within {PATIENCE:.0f} s")

    def files(self, *, uploads: bool = False) -> set[str]:
        """Files below the data directory, and those that have no name any more but are still held; no data bases."""
        names = set()
        for folder, folders, files in os.walk(self.data):
            if not uploads and "uploads" in folders and Path(folder) == self.data:
                folders.remove("uploads")
            names |= {str((Path(folder) / name).relative_to(self.data)) for name in files}
        if self._process is not None:
            for link in Path(f"/proc/{self._process.pid}/fd").glob("*"):
                with contextlib.suppress(OSError):
                    target = str(link.readlink())
                    if target.startswith(str(self.data)) and target.endswith(" (deleted)"):
                        names.add(target)
        return {n for n in names if not re.search(r"\.(db|sqlite3?)(-wal|-shm|-journal)?( \(deleted\))?$", n)}

    @property
    def pid(self) -> int:
        """Raises RuntimeError for one that is not on this machine, or does not run."""
        if self._process is None:
            raise RuntimeError("there is no process to look at")
        return self._process.pid

    def resources(self) -> Resources | None:
        if self._process is None:
            return None
        with self._process.oneshot():
            held, memory = self._process.num_fds(), self._process.memory_info().rss
            return Resources(held, self._process.num_threads(), memory)

    async def idle_cpu(self) -> tuple[float, int]:
        """Seconds of CPU time that it uses in one second, and its child processes."""
        if self._process is None:
            return 0.0, 0
        before = self._process.cpu_times()
        await trio.sleep(1)
        after = self._process.cpu_times()
        return after.user + after.system - before.user - before.system, len(self._process.children(recursive=True))

    def log(self) -> list[str]:
        return [] if self._given else self._log.read_text(errors="replace").splitlines()
