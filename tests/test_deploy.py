"""The files to run exportd for real with say what is true of exportd."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from exportd.cli import cli
from exportd.cli.deploying import FILES
from exportd.cli.failures import CANCELLED, USAGE
from exportd.daemon import STOP_SLACK
from exportd.settings import PREFIX, Settings
from exportd.web import server
from exportd.web.routes import ROUTES
from exportd.web.socketio.session import PING_INTERVAL, PING_TIMEOUT
from exportd.web.socketio.views import PATH

ROOT = Path(__file__).resolve().parents[1]


def printed(what: str) -> str:
    done = CliRunner().invoke(cli, ["deploy", what])
    assert done.exit_code == 0
    return done.stdout


def unit(name: str) -> list[str]:
    """The values of a directive of the unit."""
    return re.findall(rf"^{name}=(.*)$", printed("systemd"), re.MULTILINE)


def container(instruction: str) -> list[str]:
    """The arguments of an instruction of the container file, its lines joined."""
    joined = printed("container").replace("\\\n", " ")
    return [rest.strip() for rest in re.findall(rf"^{instruction} (.*)$", joined, re.MULTILINE)]


@pytest.mark.parametrize("what", FILES)
def test_every_setting_that_a_file_names_is_one(what: str) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", printed(what)))
    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("what", FILES)
def test_a_file_says_what_it_is_for(what: str) -> None:
    assert printed(what).startswith("# exportd ")


# --- systemd -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    text = printed("systemd").replace("/opt/exportd/bin/exportd", str(Path(sys.executable).with_name("exportd")))
    (tmp_path / "exportd.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "exportd.service")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "exportd.service" in line]) == (0, [])


def test_the_unit_waits_for_the_drain_and_does_not_repeat_what_settings_forbid() -> None:
    default = Settings(data=Path("x"))
    (minutes,) = re.findall(r"(\d+)min", unit("TimeoutStopSec")[0])
    assert int(minutes) * 60 > default.drain_timeout + default.cleanup_timeout + STOP_SLACK
    assert unit("RestartPreventExitStatus") == [str(USAGE)]
    assert unit("SuccessExitStatus") == [str(CANCELLED)]
    assert unit("Type") == ["notify"]


def test_the_unit_starts_a_command_that_exists() -> None:
    _, *arguments = shlex.split(unit("ExecStart")[0])
    assert arguments[0] in cli.commands


# --- container -----------------------------------------------------------------------------------------------------


def test_the_container_copies_what_there_is() -> None:
    sources = [part for line in container("COPY") if not line.startswith("--from") for part in line.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources:
        assert any(f"!{kept}" in ignored for kept in (source, *map(str, Path(source).parents))), source


def test_the_container_has_the_interpreter_of_its_lock() -> None:
    (version,) = {re.findall(r"python:(\d+)\.(\d+)", image)[0] for image in container("FROM")}
    assert f"scripts/locks/py{''.join(version)}.txt" in printed("container")


def test_the_container_is_nobody_special_and_keeps_its_data_outside() -> None:
    assert container("USER") == ["exportd"]
    (volume,) = container("VOLUME")
    (environment,) = container("ENV")
    assert f"EXPORTD_DATA={volume} " in environment
    assert "SECRET" not in environment
    assert container("EXPOSE") == [str(Settings.model_fields["port"].default)]


def test_the_container_runs_and_asks_what_there_is() -> None:
    assert container("ENTRYPOINT") == ['["exportd"]']
    assert re.findall(r'\["(\w+)"\]', container("CMD")[0])[0] in cli.commands
    (path,) = re.findall(r"http://127.0.0.1:8765(/\w+)", container("HEALTHCHECK")[0])
    assert path in {route.path for route in ROUTES if route.open}


# --- nginx ---------------------------------------------------------------------------------------------------------


def test_the_proxy_knows_what_must_not_be_buffered() -> None:
    text = printed("nginx")
    assert text.count("{") == text.count("}")
    rest = re.findall(r"location (=|~|\^~) (\S+) {(.*?)\n    }", text, re.DOTALL)
    by_path = {path: body for _, path, body in rest}
    assert 'Connection "upgrade"' in by_path["/ws"]
    assert 'Connection "upgrade"' in by_path[PATH]
    assert "proxy_buffering off;" in by_path["/api/exports/events"]
    (pattern,) = [path for sign, path, _ in rest if sign == "~" and "download" in path]
    download = next(route.path for route in ROUTES if route.operation == "download_export")
    assert re.search(pattern, download)
    assert "proxy_max_temp_file_size 0;" in by_path[pattern]
    assert not re.search(pattern, download + "-token")
    assert {"/api/exports/events"} <= {route.path for route in ROUTES}


def test_the_proxy_takes_what_exportd_takes_and_lets_go_first() -> None:
    text = printed("nginx")
    assert "client_max_body_size 1m;" in text
    assert Settings.model_fields["max_body"].default == 1 << 20
    (seconds,) = re.findall(r"keepalive_timeout (\d+)s", text)
    assert int(seconds) < server.KEEP_ALIVE
    pings = [int(n) for n in re.findall(r"proxy_read_timeout (\d+)s", text)]
    assert min(pings) > max(server.PING_INTERVAL, PING_INTERVAL + PING_TIMEOUT)
