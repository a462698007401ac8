"""Errors -> what went wrong and what to do next, on standard error, and an exit code. By tables."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from exportd import errors
from exportd.cli.output import tell, tell_error
from exportd.errors import ExportdError, ServerRefused

DONE, FAILED, USAGE, CANCELLED, UNREACHABLE, NOT_ALLOWED = range(6)

INTERRUPTED = 130
"""Ctrl-C in a command that had nothing to cancel: what shells give a program that SIGINT ended."""

EXIT_CODES: tuple[tuple[type[ExportdError], int], ...] = (
    (errors.SettingsError, USAGE),
    (errors.InvalidRequest, USAGE),
    (errors.Unreachable, UNREACHABLE),
    (errors.Unauthenticated, NOT_ALLOWED),
    (errors.InvalidToken, NOT_ALLOWED),
    (errors.ProjectForbidden, NOT_ALLOWED),
    (errors.NotAllowed, NOT_ALLOWED),
    (errors.OriginRefused, NOT_ALLOWED),
    (errors.ExportCancelled, CANCELLED),
    (ExportdError, FAILED),
)
"""The first row that fits counts."""

NEXT = {
    "CHECKSUM_MISMATCH": "",
    "DATA_DIRECTORY_IN_USE": "",
    "DATA_DIRECTORY_UNUSABLE": "",
    "EXPORT_ACTIVE": "",
    "EXPORT_CANCELLED": "Begin a new one with `exportd export PROJECT`.",
    "EXPORT_COMPLETED": "Fetch it with `exportd download JOB`.",
    "EXPORT_EXPIRED": "Make it anew with `exportd export PROJECT`; EXPORTD_ARCHIVE_TTL says how long archives are kept.",
    "EXPORT_FAILED": "`exportd audit JOB` tells what happened; begin a new one with `exportd export PROJECT`.",
    "EXPORT_NOT_READY": "`exportd watch JOB` tells when it is.",
    "FORBIDDEN": "`exportd projects` lists what you may export, --user says as whom.",
    "IDEMPOTENCY_KEY_REUSED": "",
    "IMPORT_FAILED": "",
    "INSUFFICIENT_SPACE": "",
    "INTERNAL_ERROR": "The log of the daemon tells why; `exportd doctor` looks at what it stands on.",
    "INVALID_SETTINGS": "",
    "INVALID_TOKEN": "",
    "NOT_ALLOWED": "Act as one of them with --user, or ask them.",
    "NOT_FOUND": "`exportd jobs` and `exportd projects` list what there is.",
    "NOT_READY": "`exportd doctor`, where the daemon runs, tells what is wrong.",
    "ORIGIN_REFUSED": "Name the origin in EXPORTD_ALLOWED_ORIGINS.",
    "QUEUE_FULL": "",
    "SHUTTING_DOWN": "",
    "SOURCE_ERROR": "`exportd doctor` tells which images are missing or unreadable.",
    "SOURCE_UNAVAILABLE": "`exportd doctor`, where the daemon runs, tells whether its database answers.",
    "TOO_MANY_SESSIONS": "",
    "TOO_MANY_ACTIVE_EXPORTS": "`exportd jobs` lists them, `exportd cancel JOB` ends one.",
    "UNAUTHORIZED": "Put a new token into EXPORTD_TOKEN: `exportd token --user EMAIL` prints one where the daemon runs.",
    "UNREACHABLE": "",
    "VALIDATION_ERROR": "`exportd export --help` tells what can be asked for.",
}
"""What to do about an error, by its wire code; empty where the sentence of the error says so itself."""

_NEXT_OF_SYSTEM = {
    errno.ENOSPC: "Make room there, or name another place.",
    errno.EDQUOT: "Make room there, or name another place.",
    errno.EACCES: "Mend its permissions, or name another place.",
    errno.EPERM: "Mend its permissions, or name another place.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOENT: "Name one that exists.",
    errno.EADDRINUSE: "Name another port with --port; 0 picks a free one.",
    errno.EMFILE: "Allow more open files (ulimit -n).",
}

_REFUSALS = {400: USAGE, 401: NOT_ALLOWED, 403: NOT_ALLOWED}


class Failure(Exception):
    """What ends a command: the sentence and the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: ExportdError) -> int:
    """The exit code of an error that ends a command."""
    if isinstance(error, ServerRefused):
        if error.body.get("code") == errors.ExportCancelled.code:
            return CANCELLED
        return _REFUSALS.get(error.status, FAILED)
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def sentence(error: ExportdError) -> str:
    """What a person is told, with every fault of a request on a line of its own."""
    faults: Any = error.body.get("errors") if isinstance(error, ServerRefused) else error.details().get("errors")
    if not isinstance(faults, Sequence) or isinstance(faults, str):
        return str(error)
    lines = [f"  {fault.get('path')}: {fault.get('msg')}" for fault in faults if isinstance(fault, dict)]
    return "\n".join(["The request was refused:", *lines])


def advice(error: ExportdError) -> str:
    """What to do about it, empty where its sentence says so."""
    code = error.body.get("code") if isinstance(error, ServerRefused) else error.code
    return NEXT.get(str(code), "")


@contextmanager
def told() -> Iterator[None]:
    """Whatever a command raises on purpose, also inside a nursery's group, is told in a sentence and ends the command."""
    try:
        yield
    except (BaseExceptionGroup, Failure, ExportdError, OSError, KeyboardInterrupt) as error:
        for leaf in _leaves(error):
            if isinstance(leaf, BrokenPipeError):
                raise leaf from None  # nobody reads on: click ends quietly, if it sees it without its group
            if (ending := _ending(leaf)) is not None:
                message, todo, code = ending
                if message:
                    tell_error(message)
                if todo:
                    tell(f"  {todo}")
                raise click.exceptions.Exit(code) from None
        raise


def _ending(error: BaseException) -> tuple[str, str, int] | None:
    """Sentence, what to do next and exit code; None for what is not raised on purpose."""
    match error:
        case Failure():
            return str(error), "", error.code
        case ExportdError():
            return sentence(error), advice(error), exit_code(error)
        case KeyboardInterrupt():
            return "", "", INTERRUPTED
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}", _NEXT_OF_SYSTEM.get(error.errno or 0, ""), FAILED
        case _:
            return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class Commands(click.Group):
    """A group whose commands end by the table."""

    def invoke(self, ctx: click.Context) -> Any:
        with told():
            return super().invoke(ctx)
