"""The answers of the API as types, for OpenAPI. What is sent is made elsewhere; tests hold the two together."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from exportd.core.options import ExportOptions

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]


class Answer(BaseModel):
    """Names on the wire are camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class StageProgress(Answer):
    current: int
    total: int
    current_item: str | None


class JobObject(Answer):
    """One export. Absent values are null, never missing."""

    id: str
    project_id: str
    project_name: str
    user_id: str
    status: Status
    progress: int
    phase: str | None
    stage: str | None
    stage_progress: StageProgress | None
    message: str
    options: ExportOptions
    warnings: list[str]
    created_at: str
    started_at: str | None
    completed_at: str | None
    cancelled_at: str | None
    cancelled_by: Literal["user", "system", "timeout"] | None
    error_code: str | None
    queue_position: int | None
    file_name: str | None
    file_size: int | None
    sha256: str | None
    expires_at: str | None


class Started(Answer):
    success: Literal[True]
    job_id: str
    message: str


class Cancelled(Answer):
    success: Literal[True]
    message: str
    job_id: str
    status: Literal["cancelled"]
    cancelled_at: str
    cleanup_completed: bool


class DownloadToken(Answer):
    """`expiresAt` is in epoch milliseconds."""

    token: str
    expires_at: int


class Estimated(Answer):
    images: int
    annotations: int
    bytes: int
    warnings: list[str]


class AuditRow(BaseModel):
    """One transition of a job."""

    model_config = ConfigDict(populate_by_name=True)

    before: str | None = Field(alias="from")
    to: str
    reason: str
    actor: str
    time: str


class FormatRow(Answer):
    id: str
    name: str
    description: str


class Formats(Answer):
    annotations: list[FormatRow]
    metrics: list[FormatRow]


class Project(Answer):
    """A project that the caller may export."""

    id: str
    title: str
    type: str
    role: str
    owner_email: str | None
    image_count: int
    updated_at: str | None


class ImageRow(Answer):
    """An image as its row tells it: pixels, and `size` in bytes; null where it is not known."""

    id: str
    name: str
    width: int | None
    height: int | None
    size: int | None


class ImagePage(Answer):
    """`total` counts all that match, not only those of this page."""

    total: int
    images: list[ImageRow]


class Fault(Answer):
    path: str
    msg: str


class Error(Answer):
    """Every error. `jobId`, `status` and a time come with what a job's state forbids, `errors` with bad requests,
    `checks` with a service that is not ready."""

    success: Literal[False]
    error: str
    code: str
    job_id: str | None = None
    status: Status | None = None
    cancelled_at: str | None = None
    completed_at: str | None = None
    expired_at: str | None = None
    errors: list[Fault] | None = None
    checks: dict[str, str] | None = None
