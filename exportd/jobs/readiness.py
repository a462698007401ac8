"""Whether an export that is asked for now could be made: what `/readyz` tells."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import asdict, dataclass

import structlog
import trio

from exportd.errors import ExportdError
from exportd.jobs.ledger import Ledger
from exportd.store.artifacts import Artifacts
from exportd.store.catalogue import Catalogue

log = structlog.get_logger("exportd.readiness")

PATIENCE = 2.0
"""Seconds that a check waits behind an earlier one that hangs."""

OK, FAILING, FULL = "ok", "failing", "full"


@dataclass(frozen=True, slots=True)
class Checks:
    """What was looked at, each `ok` or a word that tells what is wrong."""

    catalogue: str
    journal: str
    space: str

    @property
    def ready(self) -> bool:
        """Whether calls can be answered. A full disk refuses new exports one by one (507), and lets the rest go on."""
        return self.catalogue == self.journal == OK

    def as_wire(self) -> dict[str, str]:
        return asdict(self)


class Readiness:
    """Looks. One at a time: where a database hangs, probes must not take the threads of those who ask for exports."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger, artifacts: Artifacts) -> None:
        self._catalogue, self._ledger, self._artifacts = catalogue, ledger, artifacts
        self._one = trio.CapacityLimiter(1)

    async def look(self) -> Checks:
        """A cancel, like `PATIENCE`, ends the waiting for a thread, and not the thread."""
        return Checks(
            await _word("catalogue", trio.to_thread.run_sync(self._catalogue.ping, limiter=self._one)),
            await _word("journal", self._ledger.check()),
            OK if await trio.to_thread.run_sync(self._artifacts.free) > 0 else FULL,
        )


async def _word(name: str, check: Awaitable[None]) -> str:
    try:
        with trio.fail_after(PATIENCE):
            await check
    except (ExportdError, trio.TooSlowError) as error:
        log.warning("not_ready", check=name, error=repr(error.__cause__ or error))
        return FAILING
    return OK
