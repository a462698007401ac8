"""The options that every command has, and what follows from them: settings, which daemon, and as whom."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from exportd.errors import Unauthenticated

if TYPE_CHECKING:
    from exportd.client import Client
    from exportd.settings import Loaded, Settings

P = ParamSpec("P")
R = TypeVar("R")

TOKEN_LIFE = 24 * 3600.0
"""Seconds. Longer than a job may wait and run, so that a watch does not lose its right in the middle."""

DAEMON_FILE = "daemon.json"


@dataclass(frozen=True)
class Place:
    """A data directory and its settings."""

    data: Path | None = None
    config: Path | None = None

    def load(self, **options: object) -> Loaded:
        """Raises `SettingsError`."""
        from exportd.settings import load

        return load({"data": self.data, **options}, self.config)

    @functools.cached_property
    def settings(self) -> Settings:
        return self.load().settings


@dataclass(frozen=True)
class Where(Place):
    """A daemon, and who asks."""

    url: str | None = None
    user: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether a daemon was named, wherever it is, rather than that of the data directory meant."""
        return self.url is not None

    def running_url(self) -> str | None:
        """What a daemon that serves the data directory wrote down; it may have been killed since."""
        try:
            return str(json.loads((self.settings.data / DAEMON_FILE).read_text())["url"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def daemon_url(self) -> str:
        """`--url`, or EXPORTD_URL, or what the daemon wrote down, or where it would listen by the settings."""
        if self.url is not None:
            return self.url
        settings = self.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return self.running_url() or f"http://{host}:{settings.port}"

    def token(self, *, project_id: str | None = None, job_id: str | None = None) -> str:
        """EXPORTD_TOKEN, or one made here for `--user`, the project's owner, the job's user or the only user."""
        given = os.environ.get("EXPORTD_TOKEN")
        if given and self.user is None:
            return given
        from exportd.cli import users

        settings = self.settings
        if self.is_remote and not users.has_secret(settings):
            raise Unauthenticated("Set EXPORTD_TOKEN to a token of that daemon (`exportd token` prints one there).")
        return users.token(settings, users.choose(settings, self.user, project_id, job_id), TOKEN_LIFE)

    def client(self, *, project_id: str | None = None, job_id: str | None = None) -> Client:
        from exportd.client import Client

        return Client(self.daemon_url(), self.token(project_id=project_id, job_id=job_id))


def place_options(command: Callable[Concatenate[Place, P], R]) -> Callable[P, R]:
    """`--data` and `--config`, handed to the command as its first argument, a `Place`."""

    @functools.wraps(command)
    def wrapped(*args: Any, data: Path | None, config: Path | None, **kwargs: Any) -> R:
        return command(Place(data, config), *args, **kwargs)

    return _with_options(wrapped, _DATA, _CONFIG)


def daemon_options(command: Callable[Concatenate[Where, P], R]) -> Callable[P, R]:
    """`--url`, `--user`, `--data` and `--config`, handed to the command as its first argument, a `Where`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any, data: Path | None, config: Path | None, url: str | None, user: str | None, **kwargs: Any
    ) -> R:
        return command(Where(data, config, url or None, user), *args, **kwargs)

    return _with_options(wrapped, _URL, _USER, _DATA, _CONFIG)


_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)

_DATA = click.option("--data", metavar="DIR", type=_DIRECTORY, help="Data directory.  [env: EXPORTD_DATA]")
_CONFIG = click.option("--config", metavar="FILE", type=_FILE, help="Settings, instead of exportd.toml in there.")
_URL = click.option(
    "--url", metavar="URL", envvar="EXPORTD_URL", help="A daemon elsewhere.  [env: EXPORTD_URL, with EXPORTD_TOKEN]"
)
_USER = click.option("--user", metavar="EMAIL", help="Act as this user of the data directory.")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Tell nothing but errors and the answer.")
json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


def _with_options(command: Callable[..., R], *options: Callable[[Any], Any]) -> Callable[..., R]:
    for option in reversed(options):
        command = option(command)
    return command
