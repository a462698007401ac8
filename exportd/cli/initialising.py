"""`init`: three questions, and the settings file that the answers make."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import click

from exportd.cli.failures import USAGE, Failure
from exportd.cli.output import answer, answer_json, tell
from exportd.cli.where import Place, json_option, place_options

HEADER = """\
# Settings of exportd, made by `exportd init`. `exportd config` shows all of them and where each comes from;
# EXPORTD_* variables win over this file.
"""

NO_QUESTIONS = "Without questions: `exportd init --yes` takes the defaults, `exportd init --help` tells of the rest."

SECRET_NOTE = "# Signs tokens. A platform whose tokens exportd takes has to sign with the same one."  # noqa: S105 - a sentence


@click.command(short_help="Ask three questions and write the settings file.")
@click.option("--projects", metavar="URL", help="Answers the second question.")
@click.option("--uploads", metavar="DIR", help="Where the images of that database are.")
@click.option("--listen", metavar="HOST:PORT", help="Answers the third question.")
@click.option("--yes", is_flag=True, help="Take the defaults of what is not answered.")
@click.option("--force", is_flag=True, help="Replace a settings file that is there.")
@json_option
@place_options
def init(
    place: Place, projects: str | None, uploads: str | None, listen: str | None, yes: bool, force: bool, as_json: bool
) -> None:
    """Ask three questions and write the settings file: where data lie, where projects come from, who may connect.

    \b
    exportd init
    exportd init --yes --data /srv/exportd
    exportd init --projects postgresql://reader@db/platform --uploads /srv/uploads --listen 0.0.0.0:8765
    """
    if place.config is not None:
        raise click.UsageError("The file is exportd.toml in the data directory: leave out --config.")
    folder = place.data or _ask("1. Where should exportd keep its data?", _default_data(), yes)
    data = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 - keeps symlinks
    path = data / "exportd.toml"
    if path.exists() and not force:
        raise Failure(f"{path} is there already: edit it, or replace it with --force.", USAGE)
    if projects is None:
        projects = _ask("2. Which database are the projects in? (empty: exportd keeps them itself)", "", yes)
    if projects and uploads is None:
        uploads = _ask("   And in which folder are its images?", str(data / "uploads"), yes)
    if listen is None:
        listen = _ask("3. Where should it listen? (0.0.0.0:8765: for other machines too)", "127.0.0.1:8765", yes)
    values = _values(projects, uploads, listen)
    _write(path, values)
    _report(data, path, values, as_json)


def _default_data() -> str:
    from exportd.settings import load

    return str(load().settings.data)


def _ask(question: str, default: str, yes: bool) -> str:
    if yes:
        return default
    try:
        return str(click.prompt(question, default=default, show_default=bool(default), err=True)).strip()
    except click.Abort:
        tell("")
        raise Failure(f"Nothing is written. {NO_QUESTIONS}") from None


def _values(projects: str, uploads: str | None, listen: str) -> dict[str, str | int]:
    """The settings. Raises `Failure` for an address that is none."""
    from exportd.settings import is_loopback

    host, separator, port = listen.rpartition(":")
    if not separator:
        host, port = listen, "8765"
    host = host.strip("[]")
    if not host or not port.isascii() or not port.isdigit():
        raise Failure(f"{listen!r} is no place to listen; write it like 127.0.0.1:8765.", USAGE)
    values: dict[str, str | int] = {"host": host, "port": int(port)}
    if projects:
        values["database_url"] = projects
    if uploads:
        values["uploads"] = str(Path(os.path.abspath(Path(uploads).expanduser())))  # noqa: PTH100
    if not is_loopback(host):
        values["jwt_secret"] = secrets.token_urlsafe(48)
    return values


def as_toml(values: Mapping[str, str | int]) -> str:
    """A settings file. Texts are written as JSON writes them, which TOML reads."""
    lines = [HEADER]
    for name, value in values.items():
        if name == "jwt_secret":
            lines.append(SECRET_NOTE)
        lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _write(path: Path, values: Mapping[str, str | int]) -> None:
    """All of it or nothing, for nobody else's eyes, and only what can be read again. Raises `SettingsError`."""
    from exportd.settings import load

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(as_toml(values))
            file.flush()
            os.fsync(file.fileno())
        load({"data": path.parent}, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _report(data: Path, path: Path, values: Mapping[str, str | int], as_json: bool) -> None:
    shown = {name: "***" if name == "jwt_secret" else value for name, value in values.items()}
    if as_json:
        answer_json({"file": str(path), "data": str(data), "settings": shown})
        return
    answer(path)
    if str(data) != _default_data():
        tell(f"Say where it is with --data {data}, or once and for all: export EXPORTD_DATA={data}")
    bring = (
        ""
        if "database_url" in values
        else "Bring a project: exportd import project project.json --owner you@example.org\n"
    )
    tell(f"Check it:        exportd doctor\n{bring}Serve it:        exportd serve")


COMMANDS = (init,)
