"""Speaks to a running daemon: every call of its HTTP API, its events over WebSocket, and downloads that resume.

What a lost connection breaks is taken up again where that is safe: a start carries an `Idempotency-Key`, so a repeated
one is not a second job; a watch goes on after the last event it saw; a download goes on at the byte where it stopped.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeAlias
from urllib.parse import SplitResult, urlsplit

import httpx
import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

from exportd.core.events import TERMINAL
from exportd.core.states import FINAL
from exportd.errors import ChecksumMismatch, ServerRefused, SettingsError, Unreachable

Json: TypeAlias = dict[str, Any]
OnFrame: TypeAlias = Callable[[Json], None]
OnBytes: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes of the whole."""

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
"""Seconds without a byte. Longer than a cancel waits for the clean-up by default."""

PAUSES = (0.1, 0.5)
"""Seconds before the second and the third attempt of a call."""

POLL = 0.5
"""Seconds between two looks at a job whose events do not come through."""

SILENCE = 5.0
"""Seconds without an event after which a watch asks for the status: a dead connection looks like a quiet job."""

PATIENCE = 30.0
"""Seconds that a watch or a download waits for a daemon that has gone away, for example to be restarted."""

CHANCES = 3
"""Connections without a single event after which a watch only polls."""

MAX_FRAME = 16 << 20
"""Bytes. `export:started` repeats the options, and those may name 100,000 images."""

GREETING = 5.0
"""Seconds for the opening and for the closing of a WebSocket connection."""

LOST = (ConnectionClosed, HandshakeError, trio.TooSlowError, json.JSONDecodeError)
"""What the way to the events can end with."""

CHUNK = 1 << 20
"""Bytes of a file at a time."""


class Client:
    """A daemon and who we are there. `async with Client(url, token) as client: ...`

    All calls raise `Unreachable` when no daemon answers and `ServerRefused` when it says no. A cancel gives up waiting
    for an answer; what the daemon was asked for may happen all the same.
    """

    def __init__(self, url: str, token: str | None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Opens nothing yet. Raises `SettingsError` when `url` is no http(s) address. `transport` is for tests."""
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{url!r} is no address of a daemon; write it like http://127.0.0.1:8765.")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=self._headers,
            timeout=TIMEOUT,
            transport=transport,
            trust_env=not _is_loopback(parts.hostname),  # a proxy cannot reach what listens on our own loopback
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    # --- the calls of the API --------------------------------------------------------------------------------------

    async def start(self, project_id: str, options: Mapping[str, Any], name: str | None = None) -> str:
        """Starts an export; its job id. Sent again after a lost connection, it is still one job."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = await self._call("POST", _project(project_id), _request(options, name), headers)
        return str(answer["jobId"])

    async def estimate(self, project_id: str, options: Mapping[str, Any], name: str | None = None) -> Json:
        return await self._object("POST", f"{_project(project_id)}/estimate", _request(options, name))

    async def status(self, project_id: str, job_id: str) -> Json:
        """The job object."""
        return await self._object("GET", f"{_job(project_id, job_id)}/status")

    async def cancel(self, project_id: str, job_id: str) -> Json:
        """Cancels for real: when this returns, the export is over. 409 when it completed or failed first."""
        return await self._object("POST", f"{_job(project_id, job_id)}/cancel")

    async def delete(self, project_id: str, job_id: str) -> None:
        """Not repeated after a lost connection: the second answer would be 404."""
        await self._send("DELETE", _job(project_id, job_id), attempts=1)

    async def history(self, project_id: str, limit: int = 10) -> list[Json]:
        return await self._list(f"{_project(project_id)}/history?limit={limit}")

    async def audit(self, project_id: str, job_id: str) -> list[Json]:
        return await self._list(f"{_job(project_id, job_id)}/audit")

    async def images(self, project_id: str, offset: int = 0, limit: int = 100) -> Json:
        """Images of the project in the order of the archive, and how many there are in all."""
        return await self._object("GET", f"/api/projects/{project_id}/images?offset={offset}&limit={limit}")

    async def projects(self) -> list[Json]:
        return await self._list("/api/projects")

    async def exports(self) -> list[Json]:
        """Our own jobs over all projects."""
        return await self._list("/api/exports")

    async def formats(self) -> Json:
        return await self._object("GET", "/api/export/formats")

    async def is_alive(self) -> bool:
        """Whether an exportd answers at the address at all."""
        try:
            await self._send("GET", "/healthz", attempts=1)
        except (Unreachable, ServerRefused):
            return False
        return True

    # --- watching and downloading ------------------------------------------------------------------------------------

    async def follow(self, project_id: str, job_id: str, on_frame: OnFrame) -> Json:
        """Calls back for each event of a job until it has ended; the job object then.

        After a lost connection it goes on where it was. While no events come (the job waits, or WebSockets do not come
        through), frames are made of the status and have no `seq`. A cancel only stops the watching.
        """
        return await _Follower(self, project_id, job_id, on_frame).run()

    async def listen(self, job_id: str, since: int, on_frame: Callable[[Json], bool]) -> None:
        """One connection for the events of a job after `since`, until `on_frame` returns False or the line is quiet.

        Errors come in a group: `LOST`, and those of `on_frame`.
        """
        parts = urlsplit(self.url)
        headers = [(k.encode(), v.encode()) for k, v in self._headers.items()]
        # The stream is ours, because trio-websocket does not close that of a refused handshake.
        async with await _connect(parts) as stream, trio.open_nursery() as nursery:
            with trio.fail_after(GREETING):
                socket = await wrap_client_stream(
                    nursery,
                    stream,
                    parts.netloc.rpartition("@")[2],
                    f"{parts.path}/ws",
                    extra_headers=headers,
                    max_message_size=MAX_FRAME,
                )
            await socket.send_message(json.dumps({"action": "subscribe", "jobId": job_id, "since": since}))
            listening = True
            while listening:
                with trio.move_on_after(SILENCE) as quiet:
                    listening = on_frame(json.loads(await socket.get_message()))
                listening = listening and not quiet.cancelled_caught
            with trio.move_on_after(GREETING):
                await socket.aclose()
            nursery.cancel_scope.cancel(reason="nothing more to hear")

    async def download(self, job: Json, target: Path, on_bytes: OnBytes = lambda _done, _total: None) -> None:
        """Fetches the archive of a completed job into `target`, which appears whole and verified or not at all.

        What was fetched before a cancel or a failure stays as `<target>.<digest>.part`, and the next call goes on from
        there. Raises `ChecksumMismatch` (the part is gone then) and OSError of the file.
        """
        await self.fetch(job, lambda sha256: Part(target, sha256), on_bytes)

    async def fetch(
        self, job: Json, opens: Callable[[str], Sink], on_bytes: OnBytes = lambda _done, _total: None
    ) -> None:
        """Like `download`, into what `opens` makes for the archive's SHA-256, in a worker thread."""
        path = f"{_job(job['projectId'], job['id'])}/download"
        if job.get("sha256") is None:
            await self._send("GET", path)  # the daemon says best why there is no archive
            raise ServerRefused(409, {"error": "The export has no archive."})
        part = await trio.to_thread.run_sync(opens, job["sha256"])
        try:
            await self._fetch_all(path, part, job["fileSize"], on_bytes)
            await trio.to_thread.run_sync(part.finish)
        finally:
            part.close()

    async def _fetch_all(self, path: str, part: Sink, total: int, on_bytes: OnBytes) -> None:
        heard = trio.current_time()
        while part.size < total:
            before = part.size
            try:
                await self._fetch(path, part, total, on_bytes)
            except httpx.TransportError as error:
                if part.size > before:
                    heard = trio.current_time()
                elif trio.current_time() - heard > PATIENCE:
                    raise self._unreachable(error) from None
                await trio.sleep(POLL)

    async def _fetch(self, path: str, part: Sink, total: int, on_bytes: OnBytes) -> None:
        headers = {"Accept-Encoding": "identity"}
        if part.size:
            headers |= {"Range": f"bytes={part.size}-", "If-Range": f'"{part.sha256}"'}
        async with self._http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                await response.aread()
                raise _refusal(response)
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                part.rewind()
            async for chunk in response.aiter_raw():  # as they come: a chunker would lose what it holds at a break
                await trio.to_thread.run_sync(part.write, chunk)
                on_bytes(part.size, total)

    # --- sending -----------------------------------------------------------------------------------------------------

    async def _object(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = await self._call(method, path, body)
        return answer if isinstance(answer, dict) else {}

    async def _list(self, path: str) -> list[Json]:
        answer = await self._call("GET", path)
        return answer if isinstance(answer, list) else []

    async def _call(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        response = await self._send(method, path, body, headers)
        try:
            return response.json()
        except ValueError:
            raise Unreachable(f"What answers at {self.url} is no exportd; check the address.") from None

    async def _send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: int = len(PAUSES) + 1,
    ) -> httpx.Response:
        for pause in PAUSES[: attempts - 1]:
            try:
                return await self._send_once(method, path, body, headers)
            except httpx.TransportError:
                await trio.sleep(pause)
        try:
            return await self._send_once(method, path, body, headers)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    async def _send_once(
        self, method: str, path: str, body: Json | None, headers: Mapping[str, str] | None
    ) -> httpx.Response:
        response = await self._http.request(method, path, json=body, headers=headers)
        if not response.is_success:
            raise _refusal(response)
        return response

    def _unreachable(self, error: Exception) -> Unreachable:
        why = str(error) or type(error).__name__
        return Unreachable(f"No exportd answers at {self.url} ({why}); is `exportd serve` running there?")


class _Follower:
    """One watch over as many connections as it takes."""

    def __init__(self, client: Client, project_id: str, job_id: str, on_frame: OnFrame) -> None:
        self._client, self._project_id, self._job_id, self._on_frame = client, project_id, job_id, on_frame
        self._seen = 0
        self._ended = False
        self._chances = CHANCES

    async def run(self) -> Json:
        heard: float | None = None
        while True:
            before = self._seen
            try:
                if self._chances:
                    await self._listen()
                job = await self._client.status(self._project_id, self._job_id)
            except Unreachable:
                if heard is None or trio.current_time() - heard > PATIENCE:
                    raise
            else:
                heard = trio.current_time()
                if job["status"] in FINAL:
                    if not self._ended:
                        self._on_frame(_as_frame(job))
                    return job
                if self._seen == before:
                    self._on_frame(_as_frame(job))
            await trio.sleep(POLL)

    async def _listen(self) -> None:
        self._chances -= 1
        try:
            await self._client.listen(self._job_id, self._seen, self._take)
            self._chances = CHANCES
        except* LOST:
            pass  # the status, asked for next, tells whether it is the daemon or only the way to its events

    def _take(self, frame: Json) -> bool:
        data = frame.get("data") or {}
        seq = frame.get("seq") or 0
        if data.get("jobId") == self._job_id and seq > self._seen:
            self._chances = CHANCES
            self._seen = seq
            self._ended = frame["event"] in TERMINAL
            self._on_frame(frame)
        return not self._ended


class Sink(Protocol):
    """What takes an archive, chunk by chunk. Blocking, but for `close`."""

    sha256: str
    size: int

    def rewind(self) -> None:
        """Begins again from nothing."""

    def write(self, chunk: bytes) -> None: ...

    def finish(self) -> None:
        """All is there. Raises `ChecksumMismatch` when it is not what was announced."""

    def close(self) -> None: ...


class Part:
    """A file that is being fetched, beside its target and under a name that tells whose bytes it holds. Blocking."""

    def __init__(self, target: Path, sha256: str) -> None:
        """Opens what an earlier attempt left, or begins. Raises OSError; call it in a worker thread."""
        self.target, self.sha256 = target, sha256
        self._path = target.with_name(f"{target.name}.{sha256[:8]}.part")
        self._file = self._path.open("a+b")
        self._hash = hashlib.sha256()
        self.size = 0
        try:
            self._read_back()
        except BaseException:
            self._file.close()
            raise

    def _read_back(self) -> None:
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            trio.from_thread.check_cancelled()
            self._hash.update(chunk)
            self.size += len(chunk)

    def rewind(self) -> None:
        """Begins again from nothing."""
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def finish(self) -> None:
        """Gives the file its name, when it is what was announced. Raises `ChecksumMismatch`: then it is gone."""
        if self._hash.hexdigest() != self.sha256:
            self._path.unlink(missing_ok=True)
            raise ChecksumMismatch(
                f"What arrived is not the archive that the daemon announced (SHA-256 {self.sha256[:12]}...); "
                "it was removed. Try again."
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.replace(self.target)

    def close(self) -> None:
        """Keeps what is there, if there is anything; again is fine."""
        self._file.close()
        if not self.size:
            self._path.unlink(missing_ok=True)


async def _connect(address: SplitResult) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """Raises `HandshakeError`."""
    host = address.hostname or ""
    try:
        with trio.fail_after(GREETING):
            if address.scheme == "https":
                return await trio.open_ssl_over_tcp_stream(host, address.port or 443, https_compatible=True)
            return await trio.open_tcp_stream(host, address.port or 80)
    except OSError as error:
        raise HandshakeError from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _project(project_id: str) -> str:
    return f"/api/projects/{project_id}/export"


def _job(project_id: str, job_id: str) -> str:
    return f"{_project(project_id)}/{job_id}"


def _request(options: Mapping[str, Any], name: str | None) -> Json:
    body: Json = {"options": dict(options)}
    return body if name is None else {**body, "projectName": name}


def _refusal(response: httpx.Response) -> ServerRefused:
    try:
        body = response.json()
    except ValueError:
        body = None
    return ServerRefused(response.status_code, body if isinstance(body, dict) else {})


def _as_frame(job: Json) -> Json:
    """What a job's status tells, in the form of an event; `seq` is None."""
    event = f"export:{job['status']}" if job["status"] in FINAL else "export:progress"
    names = ("progress", "phase", "stage", "stageProgress", "message", "queuePosition", "errorCode")
    return {"event": event, "seq": None, "data": {"jobId": job["id"], "projectId": job["projectId"]}
            | {name: job[name] for name in names if job.get(name) is not None}}  # fmt: skip
