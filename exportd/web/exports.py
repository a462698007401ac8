"""The calls of SPEC §3: who asks, which ids, the body, then the service."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

import orjson
from quart import Response, request
from quart.wrappers import Request

from exportd.core.job import wire_time
from exportd.core.options import parse_start
from exportd.core.users import User
from exportd.errors import InvalidRequest, Problem
from exportd.formats.table import FORMATS, METRICS, Row
from exportd.formats.thumbnails import MEDIA_TYPE
from exportd.jobs.gallery import Wanted
from exportd.jobs.service import Service
from exportd.tokens import make_download_token, read_download_token
from exportd.web import problems
from exportd.web.auth import Auth
from exportd.web.bodies import ArchiveBody, Reader
from exportd.web.connection import resources
from exportd.web.downloads import Plan, disposition, file_name, matches_weakly, plan

View = Callable[..., Awaitable[Response]]

DEFAULT_LIMIT = 10
DEFAULT_IMAGES = 60
MAX_LIMIT = 100

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KEY = re.compile(r"[\x20-\x7e]{1,200}")
_LIMIT = re.compile(r"[0-9]{1,4}")
_OFFSET = re.compile(r"[0-9]{1,9}")
MAX_SEARCH = 200
NAMES = {"project_id": "projectId", "job_id": "jobId"}


class Exports:
    """The views of all calls, by operation."""

    def __init__(self, service: Service, auth: Auth, secret: bytes) -> None:
        self._service, self._auth, self._secret = service, auth, secret
        self._reader = Reader()

    def views(self) -> dict[str, View]:
        """View by operation id. All but the download, which also takes a token, want an identity."""
        guarded: list[View] = [
            self.start_export,
            self.estimate_export,
            self.export_history,
            self.export_status,
            self.cancel_export,
            self.create_download_token,
            self.delete_export,
            self.export_audit,
            self.list_formats,
            self.list_projects,
            self.list_exports,
            self.list_images,
            self.image_thumbnail,
        ]
        views = {view.__name__: self._guarded(view) for view in guarded}
        views["download_export"] = self.download_export
        return views

    def _guarded(self, view: View) -> View:
        async def answer(**ids: str) -> Response:
            user = self._auth.user(_request())
            uuids = canonical_ids({name: value for name, value in ids.items() if name in NAMES})
            return await view(user, **(ids | uuids))

        return answer

    # --- one export -------------------------------------------------------------------------------------------------

    async def start_export(self, user: User, project_id: str) -> Response:
        key = idempotency_key(request.headers.get("Idempotency-Key"))
        order = parse_start(await _body())
        job = await self._service.start(user, project_id, order, key)
        in_background = _prefers_async(request.headers.getlist("Prefer"))
        response = _json(
            {"success": True, "jobId": job.id, "message": "Export job started successfully"},
            202 if in_background else 200,
        )
        response.headers["Location"] = f"/api/projects/{project_id}/export/{job.id}/status"
        if in_background:
            response.headers["Preference-Applied"] = "respond-async"
        return response

    async def estimate_export(self, user: User, project_id: str) -> Response:
        order = parse_start(await _body())
        return _json((await self._service.estimate(user, project_id, order)).as_wire())

    async def export_status(self, user: User, project_id: str, job_id: str) -> Response:
        return _json(await self._service.status(user, project_id, job_id))

    async def cancel_export(self, user: User, project_id: str, job_id: str) -> Response:
        resources(_request()).enter_context(self._service.hurry())
        job, decided = await self._service.cancel(user, project_id, job_id)
        message = "Export job cancelled successfully" if decided else "Export job was already cancelled"
        return _json(
            {
                "success": True,
                "message": message,
                "jobId": job.id,
                "status": job.status,
                "cancelledAt": wire_time(job.cancelled_at),
                "cleanupCompleted": job.cleanup_completed,
            }
        )

    async def delete_export(self, user: User, project_id: str, job_id: str) -> Response:
        await self._service.delete(user, project_id, job_id)
        response = Response(b"", 204)
        for name in ("Content-Type", "Content-Length"):  # RFC 9110 8.6: no length on a 204
            response.headers.pop(name, None)
        return response

    async def export_audit(self, user: User, project_id: str, job_id: str) -> Response:
        return _json(await self._service.audit(user, project_id, job_id))

    # --- its archive ------------------------------------------------------------------------------------------------

    async def create_download_token(self, user: User, project_id: str, job_id: str) -> Response:
        await self._service.check_download(user, project_id, job_id)
        token, expires = make_download_token(self._secret, user, project_id, job_id)
        return _json({"token": token, "expiresAt": expires})

    async def download_export(self, project_id: str, job_id: str) -> Response:
        project_id, job_id = project_id.lower(), job_id.lower()  # as the token names them
        user = self._downloader(project_id, job_id)
        canonical_ids({"project_id": project_id, "job_id": job_id})
        download = await self._service.open_download(user, project_id, job_id)
        resources(_request()).callback(download.close)
        job = download.job
        planned = plan(
            request.method, request.headers, download.size, job.sha256 or "", job.completed_at or job.created_at
        )
        if planned.status == 416:
            return _range_refused(planned, job.id)
        response = Response(ArchiveBody(download.fd, planned.start, planned.length, self._reader), planned.status)
        response.headers.update(planned.headers)
        if planned.status == 304:
            response.headers.pop("Content-Type", None)
        else:
            response.headers["Content-Type"] = "application/zip"
            name = file_name(request.args.get("filename"), job.file_name or "")
            response.headers["Content-Disposition"] = disposition(name)
        response.timeout = None  # a slow line may take its time; a dead one is ended by TCP
        return response

    def _downloader(self, project_id: str, job_id: str) -> User:
        """By the link's token, if there is one (an empty one is none, and several are no link), else as everywhere."""
        token = " ".join(request.args.getlist("token"))
        if not token:
            return self._auth.user(_request())
        return read_download_token(self._secret, token, project_id, job_id)

    # --- lists ------------------------------------------------------------------------------------------------------

    async def export_history(self, user: User, project_id: str) -> Response:
        limit = parse_limit(request.args.get("limit"))
        return _json(await self._service.history(user, project_id, limit))

    async def list_images(self, user: User, project_id: str) -> Response:
        wanted = Wanted(
            parse_offset(request.args.get("offset")),
            parse_limit(request.args.get("limit"), DEFAULT_IMAGES),
            parse_search(request.args.get("search")),
        )
        return _json((await self._service.images(user, project_id, wanted)).as_wire())

    async def image_thumbnail(self, user: User, project_id: str, image_id: str) -> Response:
        """Browsers keep it, and ask each time: who has lost access does not see it any longer."""
        condition = request.headers.get("If-None-Match")

        def known(tag: str) -> bool:
            return condition is not None and matches_weakly(condition, f'"{tag}"')

        picture = await self._service.thumbnail(user, project_id, image_id, known)
        response = Response(picture.content or b"", 200 if picture.content else 304, content_type=MEDIA_TYPE)
        response.headers["ETag"] = f'"{picture.tag}"'
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    async def list_formats(self, user: User) -> Response:  # noqa: ARG002 - only for those who are logged in
        return _json({"annotations": _rows(FORMATS), "metrics": _rows(METRICS)})

    async def list_projects(self, user: User) -> Response:
        return _json(await self._service.projects(user))

    async def list_exports(self, user: User) -> Response:
        return _json(await self._service.exports(user))


def canonical_ids(ids: dict[str, str]) -> dict[str, str]:
    """The ids as the service knows them. Raises `InvalidRequest`, which names each that is no UUID."""
    found = {name: canonical_uuid(value) for name, value in ids.items()}
    faults = [Problem(NAMES[name], "this is no UUID") for name, value in found.items() if value is None]
    if faults:
        raise InvalidRequest(faults)
    return {name: value for name, value in found.items() if value is not None}


def canonical_uuid(text: str) -> str | None:
    """The UUID in lower case: either case is read (RFC 9562 §4). None when it is none."""
    return text.lower() if _UUID.fullmatch(text) else None


def idempotency_key(value: str | None) -> str | None:
    """Raises `InvalidRequest` for a key that is empty, too long or not printable ASCII."""
    if value is not None and not _KEY.fullmatch(value):
        raise InvalidRequest([Problem("Idempotency-Key", "it has to be 1 to 200 printable ASCII characters")])
    return value


def parse_limit(value: str | None, default: int = DEFAULT_LIMIT) -> int:
    """Raises `InvalidRequest`."""
    if value is None:
        return default
    limit = int(value) if _LIMIT.fullmatch(value) else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest([Problem("limit", f"it has to be a number from 1 to {MAX_LIMIT}")])
    return limit


def parse_offset(value: str | None) -> int:
    """Raises `InvalidRequest`."""
    if value is None:
        return 0
    if not _OFFSET.fullmatch(value):
        raise InvalidRequest([Problem("offset", "it has to be a number from 0 to 999999999")])
    return int(value)


def parse_search(value: str | None) -> str:
    """Raises `InvalidRequest`."""
    if value is not None and len(value) > MAX_SEARCH:
        raise InvalidRequest([Problem("search", f"it has at most {MAX_SEARCH} characters")])
    return value or ""


def _prefers_async(values: Iterable[str]) -> bool:
    """RFC 7240: a list of preferences, each with parameters that we do not need."""
    asked = (part.partition(";")[0].strip().lower() for value in values for part in value.split(","))
    return "respond-async" in asked


def _rows(table: Iterable[Row]) -> list[dict[str, object]]:
    return [{"id": row.id, "name": row.name, "description": row.description} for row in table]


def _range_refused(planned: Plan, job_id: str) -> Response:
    message = "The archive has none of the bytes that were asked for."
    response = problems.json_response(problems.body(message, problems.HTTP_CODES[416], jobId=job_id), 416)
    response.headers.update(planned.headers)
    return response


def _json(value: object, status: int = 200) -> Response:
    return problems.json_response(orjson.dumps(value), status)


async def _body() -> bytes:
    data = await request.get_data(cache=False)
    return data if isinstance(data, bytes) else data.encode()


def _request() -> Request:
    """The request itself, not the proxy for it."""
    return request._get_current_object()  # type: ignore[attr-defined,no-any-return]
