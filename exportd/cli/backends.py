"""Who carries out an export of the command line: a running daemon, or the same pipeline inside this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import trio

from exportd.cli.delivering import opened
from exportd.client import CHUNK, Client, Json, OnBytes, OnFrame
from exportd.core.events import TERMINAL
from exportd.core.options import parse_start

if TYPE_CHECKING:
    from exportd.core.users import User
    from exportd.jobs.downloads import Download
    from exportd.jobs.service import Service


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be exported; `options` are those of the wire."""

    project_id: str
    options: Mapping[str, Any]
    name: str | None = None

    def with_formats(self, names: Sequence[str]) -> Order:
        """The same with these annotation formats."""
        return replace(self, options={**self.options, "annotationFormats": list(names)})

    def with_images(self, ids: Sequence[str]) -> Order:
        """The same of these images alone."""
        return replace(self, options={**self.options, "selectedImageIds": list(ids)})


class Backend(Protocol):
    """Carries out one order. Errors are those of `exportd.errors`."""

    order: Order

    async def images(self, offset: int) -> list[tuple[str, str]]:
        """Ids and names of some images of the project from there on; none behind the last."""
        ...

    async def start(self) -> str:
        """The job id."""
        ...

    async def follow(self, job_id: str, on_frame: OnFrame) -> Json:
        """Calls back for the job's events until it has ended; the job object."""
        ...

    async def cancel(self, job_id: str) -> Json:
        """Waits until the export is over; the answer of the wire. Raises a refusal with status or code of a conflict."""
        ...

    async def fetch(self, job: Json, target: Path, on_bytes: OnBytes) -> None:
        """Brings the archive to `target`, whole and verified, or not at all; what `-` has taken cannot be taken back."""
        ...


class Remote:
    """By a daemon."""

    def __init__(self, client: Client, order: Order) -> None:
        self._client, self.order = client, order

    async def images(self, offset: int) -> list[tuple[str, str]]:
        page = await self._client.images(self.order.project_id, offset)
        return [(row["id"], row["name"]) for row in page["images"]]

    async def start(self) -> str:
        return await self._client.start(self.order.project_id, self.order.options, self.order.name)

    async def follow(self, job_id: str, on_frame: OnFrame) -> Json:
        return await self._client.follow(self.order.project_id, job_id, on_frame)

    async def cancel(self, job_id: str) -> Json:
        return await self._client.cancel(self.order.project_id, job_id)

    async def fetch(self, job: Json, target: Path, on_bytes: OnBytes) -> None:
        await self._client.fetch(job, partial(opened, target), on_bytes)


class Local:
    """By a service in this process."""

    def __init__(self, service: Service, user: User, order: Order) -> None:
        self._service, self._user, self.order = service, user, order

    async def images(self, offset: int) -> list[tuple[str, str]]:
        from exportd.jobs.gallery import Wanted

        page = await self._service.images(self._user, self.order.project_id, Wanted(offset, sys.maxsize))
        return [(row.id, row.name) for row in page.rows]

    async def start(self) -> str:
        body: Json = {"options": dict(self.order.options)}
        if self.order.name is not None:
            body["projectName"] = self.order.name
        request = parse_start(json.dumps(body).encode())
        job = await self._service.start(self._user, self.order.project_id, request, None)
        return job.id

    async def follow(self, job_id: str, on_frame: OnFrame) -> Json:
        with self._service.watch(self._user) as feed:
            feed.subscribe(job_id=job_id, since=0)
            while True:
                frame = await feed.receive()
                on_frame(json.loads(frame.payload))
                if frame.event in TERMINAL:
                    break
        return await self._service.status(self._user, self.order.project_id, job_id)

    async def cancel(self, job_id: str) -> Json:
        job, _ = await self._service.cancel(self._user, self.order.project_id, job_id)
        return {"jobId": job.id, "status": job.status, "cleanupCompleted": job.cleanup_completed}

    async def fetch(self, job: Json, target: Path, on_bytes: OnBytes) -> None:
        with await self._service.open_download(self._user, self.order.project_id, job["id"]) as download:
            await trio.to_thread.run_sync(_copy, download, target, on_bytes)


def _copy(download: Download, target: Path, on_bytes: OnBytes) -> None:
    part = opened(target, download.job.sha256 or "")
    try:
        part.rewind()  # what an earlier attempt left is not worth a look: this is a local copy
        while chunk := os.pread(download.fd, CHUNK, part.size):
            trio.from_thread.check_cancelled()
            part.write(chunk)
            on_bytes(part.size, download.size)
        part.finish()
    finally:
        part.close()
