"""One export from its start to the file, and what Ctrl-C does to it.

The first Ctrl-C (or SIGTERM) cancels the job for real and waits for the answer; the second stops the waiting. While the
archive is fetched the export is over already: Ctrl-C then stops the download, and its part stays for `exportd download`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from exportd.cli.backends import Backend
from exportd.cli.delivering import STDOUT
from exportd.cli.failures import CANCELLED, FAILED, NEXT, Failure
from exportd.cli.output import size, tell, warn
from exportd.cli.progress import Display
from exportd.client import Json
from exportd.errors import ExportCompleted, ExportdError, ExportFailed, JobConflict, ServerRefused, SourceError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Session:
    """Runs one export with a display. Use it once."""

    def __init__(self, backend: Backend, shown: Display) -> None:
        self._backend, self._shown = backend, shown
        self._job_id: str | None = None
        self._started = trio.Event()
        self._fetching = False
        self._interrupted = False
        self._why_failed: str | None = None
        self._ending: Failure | None = None

    async def run(self, target_of: Callable[[Json], Path]) -> tuple[Json, Path]:
        """The completed job and where its archive is: there where `target_of` puts it.

        Raises `Failure` when the job failed, was cancelled, or Ctrl-C was pressed, and what the backend raises. A cancel
        leaves the job running.
        """
        result: tuple[Json, Path] | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen, nursery)
            result = await self._work(target_of)
            nursery.cancel_scope.cancel(reason="the export is done")
        if result is not None:
            return result
        raise self._ending or Failure("The export was interrupted.", CANCELLED)

    async def _work(self, target_of: Callable[[Json], Path]) -> tuple[Json, Path] | None:
        self._job_id = await self._backend.start()
        self._started.set()
        job = await self._backend.follow(self._job_id, self._frame)
        if self._interrupted:
            await trio.sleep_forever()  # the answer to the cancel is on its way, and tells what happened
        if job["status"] != "completed":
            self._ending = _ended_badly(job, self._why_failed)
            return None
        target = target_of(job)
        self._fetching = True
        await self._backend.fetch(job, target, self._shown.bytes)
        return job, target

    def _frame(self, frame: dict[str, Any]) -> None:
        if frame["event"] == "export:failed":
            self._why_failed = frame["data"].get("error")
        self._shown.frame(frame)

    async def _listen(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for _ in signals:
                if self._fetching or self._interrupted:
                    self._ending = self._abandoned()
                    nursery.cancel_scope.cancel(reason="interrupted")
                    return
                self._interrupted = True
                tell("Cancelling the export; press Ctrl-C again to stop waiting for it.")
                nursery.start_soon(self._cancel, nursery.cancel_scope, name="cancel the export")

    async def _cancel(self, scope: trio.CancelScope) -> None:
        await self._started.wait()
        assert self._job_id is not None  # noqa: S101 - for the type checker: set before the event
        try:
            answer = await self._backend.cancel(self._job_id)
        except (JobConflict, ServerRefused) as error:
            self._ending = _too_late(error, self._job_id)
        else:
            rest = "nothing of it is left" if answer.get("cleanupCompleted") else "its clean-up is still going on"
            self._ending = Failure(f"The export was cancelled; {rest}.", CANCELLED)
        scope.cancel(reason="the cancel was answered")

    def _abandoned(self) -> Failure:
        if self._fetching:
            return Failure(f"The download was stopped; go on with `exportd download {self._job_id}`.", CANCELLED)
        if self._job_id is None:
            return Failure("Interrupted before the daemon answered; `exportd jobs` tells whether it began.", CANCELLED)
        return Failure(f"Not waited for the cancel of {self._job_id}; `exportd jobs` tells how it ended.", CANCELLED)


def _ended_badly(job: Json, why: str | None) -> Failure:
    if job["status"] == "cancelled":
        return Failure(f"The export was cancelled by {job.get('cancelledBy') or 'somebody'}.", CANCELLED)
    code = job.get("errorCode")
    sentence = why or f"The export failed ({code or 'no reason was given'})."
    return Failure(f"{sentence} {NEXT['SOURCE_ERROR']}" if code == SourceError.code else sentence, FAILED)


def _too_late(error: ExportdError, job_id: str) -> Failure:
    """The refusal of a cancel: what happened first."""
    code = error.body.get("code") if isinstance(error, ServerRefused) else error.code
    if code == ExportCompleted.code:
        sentence = f"Too late to cancel: the export is complete. Fetch it with `exportd download {job_id}`."
        return Failure(sentence, CANCELLED)
    if code == ExportFailed.code:
        return Failure(str(error), FAILED)
    raise error


def target_of(output: Path | None, job: Json) -> Path:
    """Where the archive goes. Under its own name it never replaces a file; under a given one it does."""
    if output is not None and not output.is_dir():
        return output
    # The name comes from the daemon, and may be somebody else's: only its last part counts.
    name = Path(str(job["fileName"]).replace("\\", "/")).name or "export.zip"
    wanted = (output or Path()) / name
    free, number = wanted, 1
    while free.exists():
        number += 1
        free = wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}")
    return free


def report(job: Json, target: Path | None) -> None:
    """What a person wants to know at the end; without `target` the archive was only fetched to be unpacked."""
    warn(job.get("warnings") or [])
    where = "fetched" if target is None else "on standard output" if target == STDOUT else f"in {target}"
    tell(f"{size(job['fileSize'])} {where}, SHA-256 {job['sha256']} verified.")
