"""The platform's own clients under Node against the real daemon: socket.io-client, axios and fetch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import World, make_world

from exportd.core.users import User
from exportd.tokens import load_secret, make_token

FOLDER = Path(__file__).with_name("node")
PATIENCE = 120
"""Seconds after which a process is taken to hang."""

CLIENTS = 500

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("node") is None or not (FOLDER / "node_modules").is_dir(),
        reason="there are no Node clients: run scripts/node",
    ),
]

every_transport = pytest.mark.parametrize(
    "transports",
    [["websocket", "polling"], ["polling", "websocket"], ["polling"], ["websocket"]],
    ids=["websocket first", "polling first", "polling", "websocket"],
)


@dataclass(frozen=True)
class Daemon:
    """`exportd serve` over a world, and what Node is told of it."""

    world: World
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def given(self, transports: list[str]) -> dict[str, str]:
        users = {"alice": self.world.alice, "bob": self.world.bob, "stranger": User("nobody", "nobody@example.org")}
        secret = load_secret(self.world.settings)
        tokens = {name: make_token(secret, self.world.settings, user, 600) for name, user in users.items()}
        facts = {"url": self.url, "project": self.world.project_id, "transports": transports, **tokens}
        return os.environ | {"GIVEN": json.dumps(facts)}

    def play(self, scenario: str, *arguments: str, transports: list[str] | None = None) -> dict[str, Any]:
        """What came of a scenario; then nothing of its sessions is left."""
        command = ["node", str(FOLDER / "scenarios.mjs"), scenario, *arguments]
        played = subprocess.run(
            command, env=self.given(transports or []), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert played.returncode == 0, played.stderr
        self.wait_unwatched()
        assert "Traceback" not in self.log.read_text()
        came: dict[str, Any] = json.loads(played.stdout)
        return came

    @contextmanager
    def listening(self, transports: list[str]) -> Iterator[subprocess.Popen[str]]:
        """A client that is connected, and tells why it no longer is."""
        command = ["node", str(FOLDER / "scenarios.mjs"), "drained"]
        with subprocess.Popen(command, env=self.given(transports), stdout=subprocess.PIPE, text=True) as node:
            try:
                assert node.stdout is not None
                assert node.stdout.readline() == "ready\n"
                yield node
            finally:
                node.kill()

    def wait_unwatched(self) -> None:
        """Until nobody is told events: as soon as a line breaks, and within a poll of one who polls."""
        end = time.monotonic() + PATIENCE
        while "exportd_watchers 0.0" not in httpx.get(f"{self.url}/metrics", trust_env=False).text:
            assert time.monotonic() < end
            time.sleep(0.02)


@contextmanager
def serving(world: World) -> Iterator[Daemon]:
    data = world.settings.data
    log = data.parent / "serve.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXPORTD_")}
    with log.open("wb") as out:
        command = [sys.executable, "-m", "exportd", "serve", "--data", str(data), "--port", "0"]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        end = time.monotonic() + PATIENCE
        while not (data / "daemon.json").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.02)
        yield Daemon(world, process, json.loads((data / "daemon.json").read_text())["url"], log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests: each has sockets and exports of its own, and leaves none."""
    with serving(make_world(tmp_path_factory.mktemp("node") / "data")) as served:
        yield served


@pytest.fixture(scope="module")
def slow_daemon(large: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The same with a project whose export takes long enough to be cancelled."""
    data = tmp_path_factory.mktemp("node") / "data"
    shutil.copytree(large.settings.data, data)
    with serving(replace(large, settings=large.settings.model_copy(update={"data": data}))) as served:
        yield served


def check_order(events: list[list[Any]], job: str, end: str) -> None:
    """SPEC §4: started, then progress that never goes down, then one end, then nothing."""
    names = [name for name, _ in events]
    assert names[0] == "export:started"
    assert names[-1] == end
    assert set(names[1:-1]) <= {"export:progress", "export:phase-changed"}
    assert {data["jobId"] for _, data in events} == {job}
    assert all(data["projectId"] and data["timestamp"] for _, data in events)
    progress = [data["progress"] for name, data in events if name == "export:progress"]
    assert progress == sorted(progress)


@every_transport
def test_every_session_of_a_user_is_told_an_export_and_nobody_else(daemon: Daemon, transports: list[str]) -> None:
    came = daemon.play("complete", transports=transports)
    for told in (came["first"], came["second"]):
        check_order(told, came["job"], "export:completed")
    assert came["first"][-1] == came["second"][-1]
    completed, status = came["first"][-1][1], came["status"]
    assert {k: completed[k] for k in ("fileName", "fileSize", "sha256")} == {
        k: status[k] for k in ("fileName", "fileSize", "sha256")
    }
    assert (completed["summary"]["totalImages"], status["projectName"]) == (3, "Nuclei")
    assert (came["bob"], came["stranger"]) == ([], [])
    if len(transports) == 1:
        assert came["transport"] == transports[0]


@every_transport
def test_after_a_cancel_comes_the_cancelled_event_and_nothing_more(slow_daemon: Daemon, transports: list[str]) -> None:
    came = slow_daemon.play("cancel", transports=transports)
    first, second = came["answers"]
    assert [(a["status"], a["body"]["message"]) for a in (first, second)] == [
        (200, "Export job cancelled successfully"),
        (200, "Export job was already cancelled"),
    ]
    assert came["status"]["status"] == "cancelled"
    for told in (came["first"], came["second"]):
        check_order(told, came["job"], "export:cancelled")
    assert came["first"][-1][1] == came["second"][-1][1]
    assert came["first"][-1][1]["cancelledBy"] == "user"


def test_a_cancel_by_the_socket_is_one(slow_daemon: Daemon) -> None:
    came = slow_daemon.play("cancelBySocket", transports=["websocket"])
    assert came["accepted"] == {"success": True}
    assert (came["refused"]["success"], came["refused"]["code"]) == (False, "NOT_FOUND")
    assert [name for name, _ in came["stranger"]] == ["export:cancel-error"]
    assert came["status"]["status"] == "cancelled"


@every_transport
def test_a_client_comes_back_by_itself(daemon: Daemon, transports: list[str]) -> None:
    came = daemon.play("reconnect", transports=transports)
    assert came["reason"] in {"forced close", "transport close"}
    assert came["before"] != came["after"]
    assert [name for name, _ in came["events"]][:: len(came["events"]) - 1] == ["export:started", "export:completed"]


@every_transport
def test_without_a_good_token_there_is_a_connect_error(daemon: Daemon, transports: list[str]) -> None:
    came = daemon.play("refused", transports=transports)
    assert set(came["messages"].values()) == {"Authentication failed: log in first."}
    assert came["jobId"]


@every_transport
def test_rooms_are_joined_where_there_is_access(daemon: Daemon, transports: list[str]) -> None:
    came = daemon.play("rooms", transports=transports)
    assert (came["joined"], came["left"]) == ({"success": True}, {"success": True})
    assert (came["refused"]["success"], came["refused"]["code"]) == (False, "FORBIDDEN")
    assert [name for name, _ in came["stranger"]] == ["unauthorized"]
    assert came["events"][-1][0] == "export:completed"


def test_an_export_goes_on_while_polls_become_a_line(slow_daemon: Daemon) -> None:
    came = slow_daemon.play("upgrade", transports=["polling", "websocket"])
    assert came["transport"] == "websocket"
    check_order(came["events"], came["events"][0][1]["jobId"], "export:completed")


def test_five_hundred_clients_are_all_told_the_end(daemon: Daemon) -> None:
    came = daemon.play("many", str(CLIENTS))
    assert (came["ends"], len(came["ids"])) == (CLIENTS, 1)
    assert min(came["before"]) >= 2, "and the start"


@every_transport
def test_who_goes_without_a_word_leaves_nothing(daemon: Daemon, transports: list[str]) -> None:
    with daemon.listening(transports) as node:
        node.kill()
        daemon.wait_unwatched()


def test_a_stop_sends_clients_away_to_come_back(world: World) -> None:
    with serving(world) as daemon, daemon.listening(["websocket"]) as line, daemon.listening(["polling"]) as polls:
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(15) == 0
        for node in (line, polls):
            assert node.stdout is not None
            assert json.loads(node.stdout.read()) == {"reason": "transport close"}


FAULT = {"success": False}
ANSWERS: list[tuple[str, int, dict[str, object]]] = [
    ("formats", 200, {}),
    ("start", 200, {"success": True, "message": "Export job started successfully"}),
    ("start while one runs", 429, FAULT | {"code": "TOO_MANY_ACTIVE_EXPORTS"}),
    ("status", 200, {"projectName": "Nuclei"}),
    ("download too early", 409, FAULT | {"code": "EXPORT_NOT_READY"}),
    ("status when completed", 200, {"status": "completed", "progress": 100}),
    ("download token", 200, {}),
    ("link", 200, {}),
    ("link with an empty token", 200, {}),
    ("link with a wrong token", 401, FAULT | {"code": "INVALID_TOKEN"}),
    ("download", 200, {}),
    ("cancel when completed", 409, FAULT | {"code": "EXPORT_COMPLETED", "status": "completed"}),
    ("second start", 200, {"success": True}),
    ("cancel", 200, {"success": True, "message": "Export job cancelled successfully", "cleanupCompleted": True}),
    ("cancel again", 200, {"success": True, "message": "Export job was already cancelled", "status": "cancelled"}),
    ("status when cancelled", 200, {"status": "cancelled", "cancelledBy": "user"}),
    ("download when cancelled", 410, FAULT | {"code": "EXPORT_CANCELLED"}),
    ("token when cancelled", 410, FAULT | {"code": "EXPORT_CANCELLED"}),
    ("history", 200, {}),
    ("nothing chosen", 400, FAULT | {"code": "VALIDATION_ERROR"}),
    ("no options", 400, FAULT | {"code": "VALIDATION_ERROR"}),
    ("unknown project", 403, FAULT | {"code": "FORBIDDEN"}),
    ("no project", 400, FAULT | {"code": "VALIDATION_ERROR"}),
    ("unknown job", 404, FAULT | {"code": "NOT_FOUND"}),
    ("no login", 401, FAULT | {"code": "UNAUTHORIZED"}),
]


@pytest.mark.parametrize("library", ["axios", "fetch"])
def test_calls_of_the_pages_get_their_answers(slow_daemon: Daemon, library: str) -> None:
    came = slow_daemon.play("answers", library)
    rows = came["rows"]
    assert list(rows) == [name for name, _, _ in ANSWERS]
    for name, status, body in ANSWERS:
        assert (name, rows[name]["status"]) == (name, status)
        if body:
            assert {key: rows[name]["body"].get(key) for key in body} == body, name
    done = rows["status when completed"]["body"]
    for name in ("link", "link with an empty token", "download"):
        assert rows[name]["body"] == {"bytes": done["fileSize"], "sha256": done["sha256"]}
        assert rows[name]["type"] == "application/zip"
    assert 'filename="Nuclei_2026-01-31.zip"' in rows["link"]["disposition"]
    assert 0 < rows["download token"]["body"]["expiresAt"] / 1000 - time.time() <= 600
    assert {"coco", "yolo", "json"} <= {row["id"] for row in rows["formats"]["body"]["annotations"]}
    assert {"excel", "csv", "json"} <= {row["id"] for row in rows["formats"]["body"]["metrics"]}
    assert [(job["id"], job["status"]) for job in rows["history"]["body"][:2]] == [
        (came["gone"], "cancelled"),
        (came["done"], "completed"),
    ]
    assert rows["second start"]["body"]["jobId"] == came["gone"]
    assert rows["nothing chosen"]["body"]["errors"]
