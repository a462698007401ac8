"""Logs as a process writes them: one line for an event, no secret in any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exportd.masking import mask

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOiJhIn0.c2lnbmF0dXJl"
SECRETS = ("hunter2", TOKEN, "s3cret-ticket", "the-local-secret")

PROGRAM = f"""
import logging, sys, structlog
from exportd import logs
from exportd.settings import Settings

logs.configure(Settings(log_format=sys.argv[1]))
log = structlog.get_logger("exportd.test")

def fail():
    password_of_a_frame = "the-local-" + "secret"
    raise ValueError("cannot connect to postgresql://me:hunter2@db/x with Bearer {TOKEN}")

log.info("login", url="http://127.0.0.1:1/login?ticket=s3cret-ticket", job="j1")
logging.getLogger("exportd.http").warning("GET /download?token={TOKEN} %s", 400)
try:
    fail()
except ValueError as error:
    log.error("failed", exc_info=error)
    logging.getLogger("exportd.http").exception("failed below")
print("alive", flush=True)
"""


def run(form: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")}
    command = [sys.executable, "-c", PROGRAM, form]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)


def test_every_line_of_a_json_log_is_json_whoever_wrote_it(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run("json", tmp_path).stderr.splitlines()]
    assert [(line["event"].partition(" ")[0], line["level"]) for line in lines] == [
        ("login", "info"),
        ("GET", "warning"),
        ("failed", "error"),
        ("failed", "error"),
    ]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert all("Traceback" in line["exception"] for line in lines[2:])
    assert lines[0]["job"] == "j1"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_in_any_log(form: str, tmp_path: Path) -> None:
    told = run(form, tmp_path).stderr
    assert "cannot connect to postgresql://me:***@db/x" in told
    assert not [secret for secret in SECRETS if secret in told]


def test_there_are_no_colours_where_there_is_no_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in run("console", tmp_path).stderr


def test_a_log_that_nobody_reads_any_more_stops_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    process.stderr.close()
    answer, _ = process.communicate(timeout=60)
    assert (answer, process.returncode) == ("alive\n", 0)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        (f"token {TOKEN} came", "token *** came"),
        ("/x?token=abc&b=1", "/x?token=***&b=1"),
        ("/socket.io/?EIO=4&sid=abc", "/socket.io/?EIO=4&sid=***"),
        ("Cookie: a=b; access_token=abc; c=d", "Cookie: a=b; access_token=*** c=d"),
        ("EXPORTD_JWT_SECRET=abc x", "EXPORTD_JWT_SECRET=*** x"),
        ("nothing to hide: 4 tokens", "nothing to hide: 4 tokens"),
    ],
)
def test_secrets_are_masked_wherever_they_stand(text: str, masked: str) -> None:
    assert mask(text) == masked
