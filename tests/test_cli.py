"""The command line without a daemon: parsing, exit codes, settings, users and tokens, what is imported when."""

import errno
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from exportd import errors
from exportd.cli import cli, exporting, users
from exportd.cli.failures import Failure, exit_code, sentence, told
from exportd.cli.output import size
from exportd.cli.where import DAEMON_FILE, Where
from exportd.core.job import Transition
from exportd.core.options import FORMAT_IDS, METRICS_IDS
from exportd.core.states import Reason
from exportd.errors import ExportdError, Problem, ServerRefused
from exportd.masking import mask
from exportd.settings import Settings, load
from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.journal import Journal, SaveJob
from exportd.tokens import load_secret, read_token

ID = "11111111-1111-4111-8111-111111111111"

HEAVY = ("pydantic", "trio", "httpx", "sqlalchemy", "rich", "numpy", "quart", "structlog", "shapely", "orjson")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of whoever runs the tests are not the tests'."""
    for name in ("EXPORTD_URL", "EXPORTD_TOKEN", "EXPORTD_PORT", "EXPORTD_JWT_SECRET", "EXPORTD_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXPORTD_DATA", str(tmp_path / "unused"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], env=env)


# --- help and parsing ----------------------------------------------------------------------------------------------


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


def test_help_imports_nothing_heavy() -> None:
    code = f"import exportd.cli, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_help_teaches_by_example(path: tuple[str, ...]) -> None:
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert " ".join(("exportd", *path[:1])) in done.output.partition("Usage")[2].partition("\n")[2]


def test_every_command_takes_a_data_directory() -> None:
    for path in commands():
        command: Any = cli
        for name in path:
            command = command.commands[name]
        if not isinstance(command, click.Group):
            assert "--data" in {option for parameter in command.params for option in parameter.opts}, path


def test_the_commands_are_those_of_the_contract() -> None:
    of_contract = {"serve", "demo", "import", "user", "share", "token", "export", "jobs", "watch", "cancel", "audit"}
    beside = {"config", "download", "verify", "projects", "init", "doctor", "deploy", "completion"}
    assert set(cli.commands) == of_contract | beside


def test_the_help_names_all_formats() -> None:
    options = {parameter.name: parameter for parameter in exporting.export.params}
    for name, ids in (("formats", FORMAT_IDS), ("metrics", METRICS_IDS)):
        option = options[name]
        assert isinstance(option, click.Option)
        assert all(format_id in (option.help or "") for format_id in ids)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["export"],
        ["export", "no-uuid"],
        ["export", ID, "--format", "tiff"],
        ["export", ID, "--metrics", "pdf"],
        ["export", ID, "--scale", "0"],
        ["export", ID, "--name", " "],
        ["watch", "no-uuid"],
        ["token"],
        ["token", "--user", "a@example.org", "--ttl", "soon"],
        ["token", "--user", "a@example.org", "--ttl", "0s"],
        ["import", "coco", "missing.json", "--owner", "a@example.org"],
        ["demo", "--images", "0"],
        ["serve", "--port", "99999"],
        ["config", "--config", "missing.toml"],
        ["jobs", "--url", "nonsense"],
        ["user", "add", "nobody"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_code_2_and_no_traceback(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, env={"EXPORTD_TOKEN": "token"})
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


# --- exit codes ----------------------------------------------------------------------------------------------------


def tree(kind: type[ExportdError] = ExportdError) -> Iterator[type[ExportdError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


@pytest.mark.parametrize("kind", sorted(set(tree()), key=str))
def test_every_error_has_an_exit_code(kind: type[ExportdError]) -> None:
    error = kind.__new__(kind)
    if isinstance(error, ServerRefused):
        ServerRefused.__init__(error, 500, {})
    assert exit_code(error) in range(1, 6)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("x"), 2),
        (errors.ExportFailed("x", ID, "failed"), 1),
        (errors.ExportCancelled("x", ID, "cancelled"), 3),
        (errors.Unreachable("x"), 4),
        (errors.ProjectForbidden(), 5),
        (errors.NotFound(), 1),
        (ServerRefused(400, {}), 2),
        (ServerRefused(401, {}), 5),
        (ServerRefused(403, {}), 5),
        (ServerRefused(404, {}), 1),
        (ServerRefused(410, {"code": "EXPORT_CANCELLED"}), 3),
        (ServerRefused(410, {"code": "EXPORT_EXPIRED"}), 1),
        (ServerRefused(503, {}), 1),
    ],
)
def test_exit_codes(error: ExportdError, code: int) -> None:
    assert exit_code(error) == code


def ending_of(error: BaseException) -> int:
    with pytest.raises(click.exceptions.Exit) as caught, told():
        raise error
    return caught.value.exit_code


def test_an_error_in_a_nursery_is_told_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    inner = ExceptionGroup("inner", [Failure("The export was cancelled.", 3)])
    assert ending_of(BaseExceptionGroup("outer", [inner])) == 3
    assert capsys.readouterr().err == "Error: The export was cancelled.\n"


def test_a_full_disk_is_told_with_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending_of(OSError(errno.ENOSPC, "No space left on device", "a.zip")) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Error: a.zip: No space left on device",
        "  Make room there, or name another place.",
    ]


def test_ctrl_c_where_nothing_can_be_cancelled_is_what_a_shell_expects() -> None:
    assert ending_of(KeyboardInterrupt()) == 130


def test_a_programming_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), told():
        raise ZeroDivisionError


def test_every_fault_of_a_request_is_told() -> None:
    faults = [{"path": "options.annotationFormats[0]", "msg": "unknown"}, {"path": "options.x", "msg": "no such key"}]
    assert sentence(ServerRefused(400, {"errors": faults})).count("\n") == 2
    assert "options.x: no such key" in sentence(errors.InvalidRequest([Problem(**fault) for fault in faults]))


# --- settings ------------------------------------------------------------------------------------------------------


def test_config_tells_each_setting_and_its_origin(data: Path) -> None:
    data.mkdir()
    (data / "exportd.toml").write_text('job_timeout = "2h"\n')
    env = {"EXPORTD_JWT_SECRET": "hidden" * 8, "EXPORTD_DATABASE_URL": "postgresql://me:hidden@db/x?password=hidden"}
    done = run("config", "--data", data, "--json", env=env)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert set(told) == set(Settings.model_fields)
    assert told["data"] == {"value": str(data), "origin": "option"}
    assert told["job_timeout"] == {"value": 7200.0, "origin": "file"}
    assert told["jwt_secret"]["origin"] == "environment"
    assert told["port"] == {"value": 8765, "origin": "default"}
    assert told["allowed_origins"]["value"] == []
    plain = run("config", "--data", data, env=env)
    assert "hidden" not in done.output + plain.output
    assert "EXPORTD_JOB_TIMEOUT\t7200.0\tfile" in plain.stdout


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:secret@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("postgresql://me:se@cret@db/x", "postgresql://me:***@db/x"),
        ("postgresql://db/x?user=me&password=secret&a=b", "postgresql://db/x?user=me&password=***&a=b"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_passwords_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


# --- users and tokens ----------------------------------------------------------------------------------------------


def test_users_are_added_once_and_listed(data: Path) -> None:
    first = run("user", "add", "alice@example.org", "--data", data)
    again = run("user", "add", "Alice@example.org", "--data", data, "--json")
    assert first.exit_code == again.exit_code == 0
    assert json.loads(again.stdout) == {"id": first.stdout.strip(), "email": "alice@example.org"}
    assert run("user", "list", "--data", data).stdout == f"alice@example.org\t{first.stdout}"


def test_a_token_stands_alone_and_names_its_user(data: Path) -> None:
    user_id = run("user", "add", "alice@example.org", "--data", data).stdout.strip()
    done = run("token", "--user", "alice@example.org", "--ttl", "10m", "--data", data)
    assert done.exit_code == 0
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.stdout)
    settings = load({"data": data}).settings
    assert read_token(load_secret(settings), settings, done.stdout.strip()).id == user_id


def test_a_token_for_nobody_says_what_to_do(data: Path) -> None:
    done = run("token", "--user", "bob@example.org", "--data", data)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "exportd user add bob@example.org" in done.stderr


def test_a_share_of_no_project_is_a_failure(data: Path) -> None:
    done = run("share", ID, "bob@example.org", "--data", data)
    assert (done.exit_code, done.stdout) == (1, "")


def test_another_database_is_never_written_to(data: Path) -> None:
    done = run("user", "add", "a@example.org", "--data", data, env={"EXPORTD_DATABASE_URL": "postgresql://db/x"})
    assert done.exit_code == 2
    assert "never writes" in done.stderr


# --- which daemon, as whom -----------------------------------------------------------------------------------------


def test_a_daemon_is_found_by_url_then_its_own_note_then_the_settings(data: Path) -> None:
    assert Where(data).daemon_url() == "http://127.0.0.1:8765"
    data.mkdir()
    (data / "exportd.toml").write_text('host = "::1"\nport = 9000\n')
    assert Where(data).daemon_url() == "http://[::1]:9000"
    (data / DAEMON_FILE).write_text('{"url": "http://127.0.0.1:4711", "pid": 1}')
    assert Where(data).daemon_url() == "http://127.0.0.1:4711"
    assert Where(data, url="https://exports.test").daemon_url() == "https://exports.test"
    (data / DAEMON_FILE).write_text("half writ")
    assert Where(data).daemon_url() == "http://[::1]:9000"


def test_who_asks_is_the_named_the_owner_or_the_only_user(data: Path) -> None:
    settings = load({"data": data}).settings
    with pytest.raises(Failure, match="no users yet"):
        users.choose(settings, None, None, None)
    with EmbeddedCatalogue(data) as catalogue:
        alice = catalogue.add_user("alice@example.org")
    assert users.choose(settings, None, None, None) == alice
    with EmbeddedCatalogue(data) as catalogue:
        bob = catalogue.add_user("bob@example.org")
    with pytest.raises(Failure, match="--user"):
        users.choose(settings, None, None, None)
    assert users.choose(settings, "BOB@example.org", None, None) == bob
    with pytest.raises(Failure, match="no project"):
        users.choose(settings, None, ID, None)


def test_the_user_of_a_job_is_found_in_its_audit_trail(data: Path) -> None:
    with EmbeddedCatalogue(data) as catalogue:
        alice = catalogue.add_user("alice@example.org")
        catalogue.add_user("bob@example.org")
    write_audit(data, alice.id)
    assert users.choose(load({"data": data}).settings, None, None, ID) == alice


def test_a_token_is_never_made_up_for_a_daemon_elsewhere(data: Path) -> None:
    done = run("jobs", "--url", "https://exports.test", "--data", data)
    assert done.exit_code == 5
    assert "EXPORTD_TOKEN" in done.stderr
    assert not data.exists()


@pytest.mark.parametrize("command", ["jobs", "watch", "cancel", "download", "export"])
def test_nobody_there_is_code_4(command: str, data: Path) -> None:
    arguments = [] if command == "jobs" else [ID]
    env = {"EXPORTD_URL": "http://127.0.0.1:9", "EXPORTD_TOKEN": "token"}
    done = run(command, *arguments, "--data", data, env=env)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "http://127.0.0.1:9" in done.stderr


# --- audit ---------------------------------------------------------------------------------------------------------


def write_audit(data: Path, user_id: str) -> None:
    from exportd.core.job import Job
    from exportd.core.options import ExportOptions
    from exportd.core.users import User

    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    job = Job(ID, ID, "Nuclei", User(user_id, ""), ExportOptions(include_documentation=True), now)
    data.mkdir(exist_ok=True)
    journal = Journal(data)
    journal.commit([SaveJob(job, Transition(ID, None, "pending", Reason.SUBMITTED, user_id, now))])
    journal.close()


def test_audit_reads_the_journal_itself(data: Path) -> None:
    write_audit(data, "alice")
    done = run("audit", ID, "--data", data, "--json")
    assert done.exit_code == 0
    time = "2026-01-31T12:00:00.000000Z"
    assert json.loads(done.stdout) == [
        {"from": None, "to": "pending", "reason": "submitted", "actor": "alice", "time": time}
    ]
    assert run("audit", ID, "--data", data).stdout == f"{time}\t-\tpending\tsubmitted\talice\n"


def test_audit_of_an_unknown_job_and_of_no_journal_fails(data: Path) -> None:
    assert run("audit", ID, "--data", data).exit_code == 1
    write_audit(data, "alice")
    assert run("audit", ID.replace("1", "2"), "--data", data).exit_code == 1


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_sizes_for_people(count: int, text: str) -> None:
    assert size(count) == text
