"""One table of settings: `Settings`. Each is an `EXPORTD_*` environment variable, the same name in lower case without
the prefix in the TOML file, and where it makes sense an option of a command, which wins."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from exportd.errors import SettingsError

PREFIX = "EXPORTD_"
TOML_NAME = "exportd.toml"

_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "kb": 10**3, "mb": 10**6,
          "gb": 10**9, "tb": 10**12}  # fmt: skip


def parse_duration(value: object) -> object:
    """Seconds of `90`, `90s`, `10m`, `1h`, `2d`; anything else is left to the validation that follows."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*", value)
        if not match:
            raise ValueError(f"{value!r} is no duration; write it like 90, 90s, 10m, 1h or 2d")
        return float(match[1]) * _UNITS[match[2]]
    return value


def parse_size(value: object) -> object:
    """Bytes of `1048576`, `1MiB`, `2 GB`."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b|)\s*", value, re.IGNORECASE)
        if not match:
            raise ValueError(f"{value!r} is no size; write it like 500000, 1MiB or 2GB")
        return int(float(match[1]) * _BYTES[match[2].lower()])
    return value


class Reserve(NamedTuple):
    """Free space that is never touched: the smaller of what is given, in bytes and in parts of the disk."""

    bytes: int | None
    fraction: float | None

    def of(self, total: int) -> int:
        """Bytes to keep free on a disk of `total` bytes."""
        limits = [] if self.bytes is None else [self.bytes]
        if self.fraction is not None:
            limits.append(int(total * self.fraction))
        return min(limits)

    def __str__(self) -> str:
        parts = [] if self.bytes is None else [f"{self.bytes} bytes"]
        if self.fraction is not None:
            parts.append(f"{self.fraction * 100:g}%")
        return ", ".join(parts)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_reserve(value: object) -> object:
    """`1GiB`, `5%`, or both parted by a comma: then the smaller counts."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Reserve(value, None)
    if not isinstance(value, str):
        return value
    size: int | None = None
    fraction: float | None = None
    for part in value.split(","):
        if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", part):
            fraction = float(match[1]) / 100
        else:
            size = int(str(parse_size(part)))
    return Reserve(size, fraction)


def _as_list(value: object) -> object:
    return tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]


class Settings(BaseSettings):
    """All settings, validated and frozen. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data: Path = Field(
        Path("~/.local/share/exportd"), description="data directory: catalogue, journal, archives, secret"
    )
    host: str = Field("127.0.0.1", description="where it listens")
    port: int = Field(8765, ge=0, le=65535, description="where it listens; 0 picks a free port and prints it")
    database_url: str | None = Field(None, description="where projects come from; unset: the embedded catalogue")
    uploads: Path | None = Field(None, description="where images are; unset: `uploads` in the data directory")
    jwt_secret: SecretStr | None = Field(
        None, description="signs tokens; unset: made and kept in the data directory, and loopback only"
    )
    jwt_issuer: str = Field("cell-segmentation-api", description="issuer that tokens must name")
    jwt_audience: str = Field("cell-segmentation-app", description="audience that tokens must name")
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_as_list)] = Field(
        (), description="browser origins that may connect, parted by commas, besides the own one"
    )
    max_active_jobs_per_user: int = Field(1, ge=1, description="pending and processing jobs of one user; then 429")
    max_running_jobs: int = Field(
        os.cpu_count() or 1, ge=1, description="jobs that run at once, default the number of cores; the rest waits"
    )
    worker_threads: int = Field(
        min(4, os.cpu_count() or 1),
        ge=1,
        description="threads that work for all running jobs together, default the number of cores, at most 4; with more, "
        "answers take longer",
    )
    max_queued_jobs: int = Field(1000, ge=0, description="jobs that wait; then 503")
    job_timeout: Duration = Field(3600.0, description="longest run of a job; then `cancelled` by `timeout`")
    cleanup_timeout: Duration = Field(5.0, description="longest that a cancel waits for the clean-up")
    drain_timeout: Duration = Field(30.0, description="what running jobs and downloads get on SIGTERM")
    archive_ttl: Duration = Field(86400.0, description="then the archive expires (410)")
    record_ttl: Duration = Field(30 * 86400.0, description="then record and audit rows go")
    disk_reserve: Annotated[Reserve, NoDecode, BeforeValidator(parse_reserve)] = Field(
        Reserve(1 << 30, 0.05), description="free space never touched: a size, a percentage, or the smaller of both"
    )
    max_body: Size = Field(1 << 20, description="longest request body; then 413")
    log_format: Literal["console", "json"] | None = Field(
        None, description="unset: `console` on a terminal, else `json`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="logs go to standard error")

    @field_validator("data", "uploads")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else Path(os.path.abspath(value.expanduser()))  # noqa: PTH100 - keeps symlinks

    @property
    def uploads_directory(self) -> Path:
        return self.uploads or self.data / "uploads"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` merged: it knows where each value came from."""
        return (init_settings,)


class Loaded(NamedTuple):
    """Settings, and for each its origin: `option`, `environment`, `file` or `default`."""

    settings: Settings
    origins: Mapping[str, str]


def load(options: Mapping[str, Any] | None = None, config: Path | None = None) -> Loaded:
    """Settings from options, the environment, the TOML file and the defaults, the first that has a value wins.

    `options` may hold None for what was not given. Without `config` the file is `exportd.toml` in the data directory,
    and may be absent. Raises `SettingsError`, which names the setting and its origin.
    """
    given = {k: v for k, v in (options or {}).items() if v is not None}
    environment = {k: v for k, v in EnvSettingsSource(Settings)().items() if v is not None}
    data = given.get("data") or environment.get("data") or Settings.model_fields["data"].default
    path = config or Path(data).expanduser() / TOML_NAME
    if config is not None and not path.is_file():
        raise SettingsError(f"There is no settings file {path}.")
    try:
        file = dict(TomlConfigSettingsSource(Settings, path)()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error}") from None
    layers = (("option", given), ("environment", environment), ("file", file))
    origins = {
        name: next((where for where, layer in layers if name in layer), "default") for name in Settings.model_fields
    }
    try:
        settings = Settings(**{**file, **environment, **given})
    except ValidationError as error:
        raise SettingsError(_explain(error, origins, path)) from None
    return Loaded(settings, origins)


def _explain(error: ValidationError, origins: Mapping[str, str], path: Path) -> str:
    lines = []
    for fault in error.errors(include_url=False):
        name = str(fault["loc"][0])
        where = {
            "environment": f"{PREFIX}{name.upper()} in the environment",
            "file": f"{name} in {path}",
            "option": f"--{name.replace('_', '-')}",
        }.get(origins.get(name, "file"), f"{name} in {path}")
        lines.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def table() -> str:
    """All settings as a Markdown table, for the README."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{PREFIX}{name.upper()}` | {_shown_default(name, field.default)} | {field.description} |")
    return "\n".join(rows)


def _shown_default(name: str, default: object) -> str:
    if name == "max_running_jobs":
        return "number of cores"
    if name == "worker_threads":
        return "number of cores, at most 4"
    if default is None or default == ():
        return "–"
    if name == "disk_reserve":
        return "`1GiB,5%`"
    if name == "max_body":
        return "`1MiB`"
    if isinstance(default, float):
        return f"`{_duration(default)}`"
    return f"`{default}`"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0 and seconds > length * (unit == "d"):
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
