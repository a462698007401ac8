"""The README's tour is taken: its commands are run in one shell, and print what stands there.

What differs from run to run is written `…`; ids, checksums and sizes are compared as such.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exportd.store.sample import draw_project

pytestmark = pytest.mark.e2e

README = Path(__file__).resolve().parents[2] / "README.md"
IMAGES = 100
"""So many that an export with overlays is still at work when the next command cancels it."""

PATIENCE = 120
"""Seconds after which a command is taken to hang."""

END = "--- end of"
ADDRESS = "127.0.0.1:8765"
VOLATILE = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"\b\d+(\.\d+)? ([KMG]iB|B|bytes)\b"), "<size>"),
)


def steps() -> Iterator[tuple[str, list[str]]]:
    """Commands of the tour with what stands below each; code in Python is a command, too."""
    for part in re.findall(r"<!-- tour -->\n(.*?)<!-- /tour -->", README.read_text(), re.DOTALL):
        for language, block in re.findall(r"```(console|python)\n(.*?)```", part, re.DOTALL):
            if language == "python":
                yield f"python - <<'CODE' > /dev/null\n{block}CODE", []
                continue
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *printed = step.splitlines()
                yield command, printed


class Shell:
    """A bash that is fed a command at a time."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._count = 0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def run(self, command: str, expected: int) -> str:
        """What it prints; of what runs on in the background the first `expected` lines."""
        self._count += 1
        self._send(command)
        if command.endswith("&"):
            return "".join(self._lines.get(timeout=PATIENCE) for _ in range(expected))
        self._send(f"printf '\\n{END} {self._count}\\n'")
        printed = ""
        while (line := self._lines.get(timeout=PATIENCE)) != f"{END} {self._count}\n":
            printed += line
        return printed

    def close(self) -> None:
        """Ends whatever was started here."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self._reader.join(PATIENCE)
        with self.process:
            pass

    def _send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()


@contextmanager
def shell(folder: Path, port: int) -> Iterator[Shell]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")}
    environment = clean | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EXPORTD_DATA": str(folder / "data"),
        "EXPORTD_PORT": str(port),
        "EXPORTD_LOG_LEVEL": "error",
        "LC_ALL": "C.UTF-8",
    }
    running = Shell(folder, environment)
    try:
        yield running
    finally:
        running.close()


def write_project(folder: Path) -> None:
    """One drawn image many times: it is the number that takes its time."""
    path = draw_project(folder, 1)
    project = json.loads(path.read_text())
    (image,) = project["images"]
    del image["id"]
    project |= {"id": "c3b0a8f2-1a9b-505f-9582-99407108ad3e", "title": "Nuclei"}
    project["images"] = [{**image, "name": f"nuclei_{number:03}.png"} for number in range(IMAGES)]
    path.write_text(json.dumps(project))


def masked(text: str) -> str:
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    return text


def pattern_of(lines: list[str]) -> str:
    """The lines as a regular expression: `…` is anything in a line, and alone on a line any number of lines."""
    parts = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(masked(line)).replace("…", ".*") + r"\n" for line in lines
    ]
    return "".join(parts)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_tour_of_the_readme_is_true(tmp_path: Path) -> None:
    write_project(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    taken = list(steps())
    assert len(taken) > 15
    with shell(tmp_path, int(address.rpartition(":")[2])) as bash:
        for command, lines in taken:
            expected = [line.replace(ADDRESS, address) for line in lines]
            printed = bash.run(command.replace(ADDRESS, address), len(expected))
            printed = "".join(line for line in printed.splitlines(keepends=True) if line.strip())
            assert re.fullmatch(pattern_of(expected), masked(printed)), (
                f"$ {command}\nprints\n{printed}\nand the README has\n" + "\n".join(lines)
            )
