"""Errors -> one sentence on standard error and an exit code, by one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from exportd import errors
from exportd.cli.output import tell
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


@contextmanager
def told() -> Iterator[None]:
    """Whatever a command raises on purpose, also inside a nursery's group, is told in a sentence and ends the command."""
    try:
        yield
    except (BaseExceptionGroup, Failure, ExportdError, OSError, KeyboardInterrupt) as error:
        for leaf in _leaves(error):
            if (ending := _ending(leaf)) is not None:
                message, code = ending
                if message:
                    tell(f"Error: {message}")
                raise click.exceptions.Exit(code) from None
        raise


def _ending(error: BaseException) -> tuple[str, int] | None:
    """Sentence and exit code, None for what is not raised on purpose."""
    match error:
        case Failure():
            return str(error), error.code
        case ExportdError():
            return sentence(error), exit_code(error)
        case KeyboardInterrupt():
            return "", INTERRUPTED
        case BrokenPipeError():
            return None  # nobody reads on: click ends quietly
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}", FAILED
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
