"""Structured logs on standard error: one line per event, coloured on a terminal, JSON elsewhere.

Whatever a line is made of, secrets in it are masked, and none of it holds the values of local variables.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from exportd.masking import mask
from exportd.settings import Settings


def configure(settings: Settings) -> None:
    """Sets up structlog, and the standard library's logging of the server below, for this process."""
    level = getattr(logging, settings.log_level.upper())
    terminal = sys.stderr.isatty()
    console = settings.log_format == "console" or (settings.log_format is None and terminal)
    ending = _console(coloured=terminal and not os.environ.get("NO_COLOR")) if console else _json()
    out = cast("TextIO", _Lasting(sys.stderr))
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, stamp],
            processors=[ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])


def be_quiet() -> None:
    """Warnings only, on standard error, for a program that has not said how it wants to log."""
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )


def _console(*, coloured: bool) -> Sequence[Processor]:
    # The default would print the locals of every frame of a traceback: secrets among them.
    formatter = structlog.dev.plain_traceback
    return [_masked(structlog.dev.ConsoleRenderer(colors=coloured, exception_formatter=formatter))]


def _json() -> Sequence[Processor]:
    return [structlog.processors.format_exc_info, _masked(structlog.processors.JSONRenderer())]


def _masked(renderer: Processor) -> Processor:
    """Masks the finished line: what is in it may have come from anywhere, tracebacks too."""

    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return mask(str(renderer(logger, name, event)))

    return render


class _Lasting:
    """A stream whose end does not matter: that nobody reads the log any more is no reason for an export to fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
